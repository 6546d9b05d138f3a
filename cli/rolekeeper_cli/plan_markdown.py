"""A plan as Markdown, fit for a comment on a pull request at GitHub or GitLab: what matters most comes first."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekeeper.mappings.verdict import Status
from rolekeeper.model.problem import Kind, Remedy
from rolekeeper.model.text import shown, split_key
from rolekeeper_cli.markdown import code
from rolekeeper_cli.uses.edits import GOOD
from rolekeeper_cli.uses.mappings import role_in_words

# A script finds the comment by it.
MARKER = "<!-- rolekeeper plan -->"
# GitHub takes 65,536 characters of a comment (GitHub REST API, "Issue comments"); the rest is for who adds to the page.
LONGEST = 60_000
# The most rows of a part, those above which it is folded, and the characters of a name, a reason and a command.
_ROWS, _FOLDED = 500, 15
_NAME, _REASON, _COMMAND = 80, 600, 300
# The most permissions that are named of one change of roles.
_PHRASES = 8
_DONE = GOOD | {Status.REMOVED}
_ACTIONS = {"Attach": "attach", "Replace": "replace", "Detach": "detach", "Wait": "waiting", "Hold": "blocked"}


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the page.

    Attributes:
        head: what stands above the rows: a sentence, or the head of their table.
        gives_way: when rows are left out for lack of room: those of the part with the highest number first.
    """

    title: str
    rows: Sequence[str]
    gives_way: int
    head: str = ""
    folded: bool = False

    def text(self, count: int, command: str) -> str:
        """The part with its first `count` rows, how many are left out, and the command that shows all."""
        left = len(self.rows) - count
        more = f"\n\nand {left:,} more: {code(shown(command, _COMMAND))}" if left else ""
        title = f"{self.title} ({len(self.rows):,})"
        body = "\n".join(filter(None, (self.head, *self.rows[:count]))) + more
        if self.folded or len(self.rows) > _FOLDED:
            return f"\n<details><summary>{title}</summary>\n\n{body}\n\n</details>\n"
        return f"\n#### {title}\n\n{body}\n"


def page(plan: Mapping[str, Any], command: str) -> str:
    """A plan's document as a page of at most `LONGEST` characters.

    If there is more, these give way in this order: instances, permissions that aren't severe, rows that wait, the pace,
    accounts, targets that couldn't be looked into, severe permissions, edits, those that need approval, those that
    wouldn't be in effect.

    Args:
        command: the command line that shows all of it.
    """
    parts = [each for each in _parts(plan) if each.rows]
    top = "\n".join([MARKER, f"### Rolekeeper plan: {_headline(plan)}", *_notes(plan), ""])
    room = LONGEST - len(top) - sum(len(each.text(0, command)) for each in parts)
    counts = {}
    for part in sorted(parts, key=lambda each: each.gives_way):
        counts[part.title] = 0
        for row in part.rows[:_ROWS]:
            if len(row) >= room:
                break
            room -= len(row) + 1
            counts[part.title] += 1
    return top + "".join(each.text(counts[each.title], command) for each in parts)


def _parts(plan: Mapping[str, Any]) -> Iterator[_Part]:
    edits, severe = plan["mappings"], [each for each in plan["permissions"] if each["severe"]]
    others = [each for each in plan["permissions"] if not each["severe"]]
    bad = [each for each in edits if _is_bad(each)]
    yield _Part("Not in effect as written", [_bad(each) for each in bad], 0)
    yield _Part("Need approval", [_held(each) for each in edits if each["needs_approval"]], 1, head=_APPROVAL)
    yield _Part("Mappings", [_edit(each) for each in edits], 2, head=_table("mapping", "change", "instances", "result"))
    yield _Part("Severe permissions", [_move(each) for each in severe], 3)
    yield _Part(
        "Left out targets", [_unseen(each) for each in plan["unseen"]], 4, head="These couldn't be looked into:\n"
    )
    yield _Part("Accounts", _accounts(plan), 5, head=_table("account", *_ACTIONS.values(), "change", "of"))
    yield _Part("Pace", [_paced(each) for each in plan["paced"]], 6, head=_pace(plan["paced"]))
    yield _Part("Rows that wait", [_waiting(each) for each in plan["waiting"]], 7, head="They aren't counted here:\n")
    yield _Part("Other permissions", [_move(each) for each in others], 8)
    head = _table("action", "instance", "name", "from", "to", "reason")
    yield _Part("Instances", _instances(plan["changes"]), 9, head=head, folded=True)


# ---- the top ----


def _headline(plan: Mapping[str, Any]) -> str:
    """What the plan comes to, in one line."""
    summary, edits = plan["summary"], plan["mappings"]
    unseen = f" in the targets that were looked at ({len(plan['unseen']):,} left out)" if plan["unseen"] else ""
    changes = [f"{_counted(len(edits), 'mapping')} edited"] if edits else []
    if summary["changes"]:
        changes.append(f"{summary['changes']:,} of {_counted(summary['instances'], 'instance')} would change")
    elif edits:
        changes.append("no instance would change")
    beside = {
        "to fix": sum(map(_is_bad, edits)),
        "to approve": sum(each["needs_approval"] for each in edits),
        "with severe permissions": sum(each["instances"] for each in plan["permissions"] if each["severe"]),
        "waiting": summary["wait"],
        "blocked": summary["hold"],
    }
    more = [f"{count:,} {what}" for what, count in beside.items() if count]
    return "; ".join([(", ".join(changes) or "nothing changes") + unseen, *([", ".join(more)] if more else [])])


def _notes(plan: Mapping[str, Any]) -> Iterator[str]:
    if plan["withheld"]:
        yield f"\n> **No changes will be made now:** {code(plan['withheld'])}"


# ---- mappings ----


_APPROVAL = (
    "Once it is written, each of these waits until a person approves it who isn't its author, with the command or on "
    "its page in `rolekeeper console`. The plan counts them as approved.\n"
)


def _is_bad(edit: Mapping[str, Any]) -> bool:
    return edit["status"] not in _DONE and not edit["needs_approval"]


def _bad(edit: Mapping[str, Any]) -> str:
    return f"- {_name(edit['mapping'])} would be **{edit['status']}**: {_reason(edit)}"


def _held(edit: Mapping[str, Any]) -> str:
    key, _, value = split_key(edit["mapping"])
    who = ", by another person than who made this plan" if edit["own_edit"] else ""
    approve = code(str(Remedy(Kind.APPROVE, (key, value))))
    return f"- {_name(edit['mapping'])}: {_reason(edit)}; to approve it{who}: {approve}"


def _edit(edit: Mapping[str, Any]) -> str:
    kind, done = edit["kind"], edit["status"] in _DONE
    columns = [f"{name}: {_column(both, kind)}" for name, both in edit["columns"].items() if kind != "deleted"]
    change = "<br>".join([*([] if kind == "changed" and columns else [kind]), *columns])
    # The reasons of the others are above.
    note = f": {_reason(edit)}" if edit["note"] and edit["status"] in GOOD else ""
    result = f"{edit['status'].lower()}{note}" if done else f"**{edit['status']}**"
    return _row(_name(edit["mapping"]), change, _effect(edit["effect"]), result)


def _column(both: Mapping[str, str], kind: str) -> str:
    to = _name(both["to"], "none")
    return to if kind == "new" else f"{_name(both['from'], 'none')} → {to}"


def _effect(effect: Mapping[str, Any] | None) -> str:
    if not effect:
        return ""
    counts = [f"{effect[each]:,} {each}" for each in ("attach", "replace", "detach") if effect[each]]
    if later := effect.get("later"):
        then = (f"{later[each]:,} {each}" for each in ("attach", "replace", "detach") if later[each])
        counts.append(f"at {later['at'][:16]}Z {', '.join(then)}")
    return ", ".join(counts) or "none"


def _reason(edit: Mapping[str, Any]) -> str:
    return code(shown(edit["note"] or edit["reason"], _REASON))


def _waiting(row: Mapping[str, Any]) -> str:
    return f"- {_name(row['mapping'])}: {code(shown(role_in_words(row), _REASON))}"


def _pace(pace: Sequence[Mapping[str, Any]]) -> str:
    if not pace:
        return ""
    changes, approved = (sum(each[name] for each in pace) for name in ("changes", "approved"))
    at_once, minutes = pace[0]["at_once"], pace[0]["minutes"]
    too = f" and {approved:,} that are approved" if approved else ""
    return f"{changes:,} roles are taken away: {at_once:,} in {minutes} minutes{too}; the others wait their turn.\n"


def _paced(mapping: Mapping[str, Any]) -> str:
    approved = f", {mapping['approved']:,} of them approved" if mapping["approved"] else ""
    return f"- {_name(mapping['mapping'])}: {mapping['changes']:,}{approved}"


# ---- permissions and instances ----


def _move(move: Mapping[str, Any]) -> str:
    number = _counted(move["instances"], "instance")
    lines = [f"- {_arrow(move)} on {number} in account {_name(move['account'])}"]
    for what in ("severe", "gained", "lost"):
        if phrases := move[what]:
            more = f", and {len(phrases) - _PHRASES:,} more" if len(phrases) > _PHRASES else ""
            named = ", ".join(code(shown(each)) for each in phrases[:_PHRASES])
            lines.append(f"  - {f'**{what}**' if what == 'severe' else what}: {named}{more}")
    if move["unknown"]:
        lines.append(f"  - not compared: {code(shown(move['unknown']))}")
    return "\n".join(lines if len(lines) > 1 else [f"{lines[0]}: the same permissions"])


def _unseen(target: Mapping[str, Any]) -> str:
    return f"- {code(f'{target["account"]}/{target["region"]}')}: {code(shown(target['reason']))}"


def _accounts(plan: Mapping[str, Any]) -> list[str]:
    actions = Counter((each["account"], each["action"]) for each in plan["changes"])
    most_first = sorted(plan["summary"]["accounts"], key=lambda each: -each["changes"])
    return [
        _row(
            code(each["account"]),
            *(f"{actions[each['account'], action]:,}" for action in _ACTIONS),
            f"{each['changes']:,}",
            f"{each['instances']:,}",
        )
        for each in most_first
        if any(actions[each["account"], action] for action in _ACTIONS)
    ]


def _instances(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    several = len({(each["account"], each["region"]) for each in changes}) > 1
    return [
        _row(
            _ACTIONS[each["action"]],
            code(f"{each['account']}/{each['region']}/{each['instance']}" if several else each["instance"]),
            _name(each["name"]),
            _name(each["from"], "none"),
            _name(each["to"], "none"),
            code(shown(each["reason"], _REASON)),
        )
        for each in changes
    ]


# ---- Markdown ----


def _arrow(move: Mapping[str, Any]) -> str:
    return f"{_name(move['from'], 'none')} → {_name(move['to'], 'none')}"


def _name(text: str | None, absent: str = "") -> str:
    return code(shown(text, _NAME)) if text else absent


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _table(*names: str) -> str:
    return f"{_row(*names)}\n{_row(*('---' for _ in names))}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
