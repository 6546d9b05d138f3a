"""plan --output markdown: a page for the comment on a pull request."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from fixtures.mappings import Desk, mapping_file
from fixtures.terminal import Terminal
from rolekeeper_cli.plan.markdown import LONGEST, MARKER, page
from rolekeeper_cli.plan.view import AccountChangesView, PermissionsView, PlanCountsView, PlannedChangeView, PlanView
from rolekeeper_cli.row.view import (
    ColumnChangeView,
    ImpactView,
    MappingView,
    NotInEffectView,
    PacedView,
    PlannedEditView,
)
from rolekeeper_cli.target.view import UnseenTargetView

COMMAND = "rolekeeper plan -o json"


def plan(text: str = "x", many: int = 1, instances: int = 1, **parts: Any) -> PlanView:
    """A plan with this many of everything, in which all that others wrote is this text."""
    at: dict[str, Any] = {"account": "111111111111", "region": "us-east-1"}
    moment = {"at": "2030-01-01T00:00:00+00:00", "expires": text, "attach": 0, "replace": 0, "detach": 3}
    columns = {"role": ColumnChangeView(from_=text, to=text)}
    effect = ImpactView.of({"replace": 3, "later": [moment]})
    edit = PlannedEditView.of_nothing().but(mapping=text, reason=text, note=text, columns=columns, effect=effect)
    edit = edit.but(kind="changed", status="Published")
    held = edit.but(status="Held", needs_approval=True, own_edit=True)
    bad = edit.but(kind="new", status="Rejected", effect=None)
    permissions: dict[str, Any] = {"gained": [text] * 20, "lost": [text], "unknown": text, "severe": []}
    move = PermissionsView(account=at["account"], from_=text, to=text, instances=3, **permissions)
    change = PlannedChangeView.of_nothing().but(**at, instance="i-1", name=text, from_=text, to=text, reason=text)
    change = change.but(action="Replace")
    missing = NotInEffectView.of_nothing().but(brief=f"{text} isn't judged yet")
    waiting = MappingView.of_nothing().but(mapping=text, not_in_effect=[missing])
    account = AccountChangesView(account=at["account"], instances=instances, changes=instances)
    counts = PlanCountsView.of_nothing().but(changes=instances, instances=instances)
    whole = PlanView(
        changes=[change] * instances,
        mappings=[edit, held, bad] * many,
        permissions=[move, move.but(severe=[text])] * many,
        paced=[PacedView(mapping=text, changes=3, approved=1, at_once=2, minutes=10)] * many,
        waiting=[waiting] * many,
        withheld=text,
        unseen=[UnseenTargetView(**at, reason=text)] * many,
        summary=counts.but(accounts=[account, account.but(account="222222222222")]),
    )
    return whole.but(**parts)


def shown(**parts: Any) -> str:
    """The page of a plan that has these parts alone."""
    return page(plan(many=0, instances=0, withheld="").but(**parts), "here", COMMAND)


def several_changes() -> list[PlannedChangeView]:
    """Of each kind some."""
    some, blocked = plan().changes[0].but(to="web"), plan().changes[0].but(action="Hold")
    kept = [blocked, blocked.but(action="Wait"), *[blocked.but(code="occupied")] * 2]
    return [some, some.but(action="Attach"), some.but(action="Detach", to=None), *kept]


def headings(text: str) -> list[str]:
    """The parts of a page, in order."""
    found = (each.removeprefix("#### ").rpartition("<summary>")[2] for each in text.splitlines())
    titles = [each.partition("</summary>")[0] for each in found]
    return [each for each in titles if each.endswith(")") and each[-2].isdigit() and not each.startswith(("-", "|"))]


# ---- the page ----

EDIT, HELD, _ = plan().mappings


def test_what_needs_attention_comes_first() -> None:
    assert headings(page(plan(), "here", COMMAND)) == [
        "Not in effect as written (1)",
        "To approve (1)",
        "Severe permissions (1)",
        "Mappings (3)",
        "Targets that are left out (1)",
        "Accounts (1)",
        "Pace (1)",
        "Rows that aren't in effect as written, and aren't counted (1)",
        "Permissions (1)",
        "Instances (1)",
    ]


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({}, "nothing changes"),
        ({"mappings": [EDIT]}, "1 mapping edited, no instance would change"),
        (
            {"mappings": plan().mappings, "permissions": plan().permissions},
            "3 mappings edited (1 Held, 1 Rejected), no instance would change; 3 to gain severe permissions",
        ),
        ({"unseen": plan().unseen}, "nothing changes; 1 target left out"),
        (
            {"summary": plan().summary.but(changes=3, instances=9_000), "changes": several_changes()},
            "3 of 9,000 instances would change; `web` on 2 instances, no role on 1; 1 blocked, 2 foreign, 1 waiting",
        ),
    ],
)
def test_the_first_line_says_what_it_comes_to(parts: dict[str, Any], line: str) -> None:
    assert shown(**parts).splitlines()[:2] == [MARKER, f"### Rolekeeper plan: {line}"]


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({"mappings": [EDIT]}, "| replace 3<br>at 2030-01-01T00:00:00Z: detach 3 | published: `x` |"),
        ({"mappings": [HELD.but(own_edit=False)]}, "; to approve it: `rolekeeper mapping approve x=`\n"),
        (
            {"mappings": [HELD.but(needs_approval=False, reason="a held deletion; to keep it: discard", note="short")]},
            "- `x` would be **Held**: `a held deletion; to keep it: discard`\n",
        ),
        ({"paced": plan("web").paced}, "- `3 roles are taken away (web 3), 2 of them in 10 minutes, and 1 that are"),
        ({"waiting": plan("web").waiting}, "- `web isn't judged yet`\n"),
        ({"unseen": plan("web").unseen}, "- `111111111111/us-east-1`: `web`\n"),
    ],
    ids=["expires", "another's", "deletion", "pace", "row that waits", "target"],
)
def test_each_part_says_what_it_is_about(parts: dict[str, Any], line: str) -> None:
    assert line in shown(**parts)


def test_severe_permissions_are_apart_and_only_some_of_many_are_named() -> None:
    severe = shown(permissions=plan().permissions).partition("#### Permissions (1)")[0]
    lines = ["  - **severe**: `x`", f"  - gained: {', '.join(['`x`'] * 8)}, and 12 more", "  - lost: `x`"]
    assert severe.splitlines()[-6:-1] == [
        "- `x` → `x` on 3 instances in account `111111111111`",
        *lines,
        "  - not compared: `x`",
    ]


def test_each_account_has_its_own_counts_and_each_instance_its_whole_name() -> None:
    change = plan().changes[0]
    actions = {"111111111111": ["Attach", "Wait"], "222222222222": ["Detach", "Detach", "Hold"]}
    changes = [change.but(account=of, action=each) for of, some in actions.items() for each in some]
    accounts = [
        AccountChangesView(account=of, changes=changes, instances=9)
        for of, changes in zip(actions, (1, 2), strict=True)
    ]
    accounts.append(AccountChangesView(account="333333333333", changes=0, instances=9))
    lines = shown(changes=changes, summary=plan().summary.but(accounts=accounts)).splitlines()
    at = lines.index("#### Accounts (2)")
    assert lines[at + 4 : at + 7] == [
        "| `222222222222` | 0 | 0 | 2 | 0 | 1 | 9 |",
        "| `111111111111` | 1 | 0 | 0 | 1 | 0 | 9 |",
        "",
    ]
    assert [each.rsplit(" | `x`", 4)[0] for each in lines if "us-east-1" in each] == [
        "| blocked | `222222222222/us-east-1/i-1`",
        "| waiting | `111111111111/us-east-1/i-1`",
        "| detach | `222222222222/us-east-1/i-1`",
        "| detach | `222222222222/us-east-1/i-1`",
        "| attach | `111111111111/us-east-1/i-1`",
    ]


# ---- it is short enough for a comment ----


def test_a_long_part_can_be_folded_and_is_open_if_it_needs_attention() -> None:
    many = shown(mappings=plan(many=20).mappings)
    assert "<details><summary>Mappings (60)</summary>\n\n| mapping |" in many
    assert "<details open><summary>Not in effect as written (20)</summary>\n\n- `x` would be" in many
    assert "<details" not in shown(mappings=plan(many=5).mappings)


def test_what_is_left_out_is_counted_with_the_command_that_shows_it() -> None:
    text = page(plan("web", instances=5_000), "here", COMMAND)
    assert text.count(" more: ") == 1
    assert f"\nand 4,800 more: `{COMMAND}`\n\n</details>\n" in text


def test_instances_give_way_first() -> None:
    text = page(plan("a role with a long name " * 20, many=40, instances=5_000), "here", COMMAND)
    assert f"and 5,000 more: `{COMMAND}`" in text
    first = text.partition("To approve")[0]
    assert first.count("would be **Rejected**") == 40


@settings(deadline=None, max_examples=25)
@given(
    text=st.text(min_size=1, max_size=400),
    many=st.integers(0, 1_000),
    instances=st.integers(0, 8_000),
    place=st.text(max_size=4_000),
)
@example(text="long name", many=1_000, instances=8_000, place="-f a/very/long/path" * 400)
def test_it_is_never_too_long(text: str, many: int, instances: int, place: str) -> None:
    found = page(plan(text * 3, many, instances), place, place)
    assert len(found) <= LONGEST
    assert len(headings(found)) == (8 if many else 0) + (2 if instances else 0), "no part is left out"


# ---- no text of others' makes markup ----

_HOSTILE = (
    *("@team", " #1 ", "GH-1", "0053b57f", "`", "``", "|", "\\", "<b>", "</details>", "-->", "<!--", "![", "<br>", " "),
    *("[x](javascript:x)", "![x](https://e.org)", "http://e.org", "www.e.org", "a@b.org", "&#64;team", ":+1:", "x"),
    *("\u202e", "\u200b", "\ufe0f", "\n", "\n\n# h", "\r\n/close", "$`x`$", "{+x+}", "*x*", "_x_", "~~x~~"),
)


def outside(text: str) -> list[tuple[str, str]]:
    """All of a page but what code shows: its elements and its own text."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        found.append((token.type, "" if token.type == "inline" else token.content))
        found += [(each.type, each.content if each.type != "code_inline" else "") for each in token.children or ()]
    return found


@settings(deadline=None, max_examples=200)
@given(text=st.lists(st.sampled_from(_HOSTILE), min_size=1, max_size=6).map("".join))
def test_no_text_of_others_draws(text: str) -> None:
    found = page(plan(text), text, text)
    assert outside(found) == outside(page(plan(), "x", "x"))
    assert all(each.isprintable() or each == "\n" for each in found)


# ---- where it is an output ----


def test_what_it_leaves_out_is_shown_by_the_same_plan(terminal: Terminal, desk: Desk, tmp_path: Path) -> None:
    desk.role("web")
    desk.edit("app=web", role="web")
    for _ in range(201):
        desk.world.running(app="web")
    file = mapping_file(tmp_path, "tag_key: app, tag_value: web, role: web")
    ran = terminal("plan", "-f", file, "--prune", "--target", "us-east-1", "-o", "markdown")
    assert f"and 1 more: `rolekeeper plan -f {file} --prune --target us-east-1 -o json`" in ran.stdout
