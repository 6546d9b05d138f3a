"""A plan as Markdown, fit for a comment on a pull request at GitHub or GitLab: what matters most comes first."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rolekeeper.mappings.verdict import Status
from rolekeeper.model.problem import Kind, Remedy
from rolekeeper.model.text import shown, split_key
from rolekeeper_cli.mapping.preview import pace_in_words
from rolekeeper_cli.plan.use import headline
from rolekeeper_cli.plan.view import PermissionsView, PlannedChangeView, PlanView
from rolekeeper_cli.row.effect import GOOD
from rolekeeper_cli.row.view import ColumnChangeView, ImpactView, LaterImpactView, PlannedEditView
from rolekeeper_cli.shell.layout import amount
from rolekeeper_cli.shell.markdown import code
from rolekeeper_cli.target.view import UnseenTargetView

# A script finds the comment by it.
MARKER = "<!-- rolekeeper plan -->"
# A comment at GitHub has at most 65,536 characters: this leaves room for what a script puts around the page.
LONGEST = 60_000
# The most rows of a part, and those above which it is folded.
_ROWS, _UNFOLDED = 200, 15
# The most characters of a name, and of a reason or a command; the most permissions of one kind of a change of roles.
_NAME, _SENTENCE, _PHRASES = 80, 1_000, 8
# The most later moments of an edit.
_MOMENTS = 3
_DONE = GOOD | {Status.REMOVED}
_ACTIONS = {"Attach": "attach", "Replace": "replace", "Detach": "detach", "Wait": "waiting", "Hold": "blocked"}
_COUNTED = ("attach", "replace", "detach")
_UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the page: what it lists, and how it is written."""

    title: str
    items: Sequence[Any]
    row: Callable[[Any], str]  # writes one of `items`
    head: str = ""  # what is above the rows: a sentence, or the head of their table
    folded: bool = False  # whether it always is; `urgent`, whether it is open where it can be folded
    urgent: bool = False

    def text(self, rows: Sequence[str], command: str) -> str:
        """The part with its first rows, how many more there are, and the command that shows all."""
        title, more = f"{self.title} ({len(self.items):,})", len(self.items) - len(rows)
        lines = [self.head] if self.head else []
        lines += [*rows, *([f"\nand {more:,} more: {code(command)}"] if more else [])]
        body = "\n".join(lines)
        if self.folded or len(self.items) > _UNFOLDED:
            return f"\n<details{' open' if self.urgent else ''}><summary>{title}</summary>\n\n{body}\n\n</details>\n"
        return f"\n#### {title}\n\n{body}\n"


def page(plan: PlanView, place: str, command: str) -> str:
    """A plan's document as a page of at most `LONGEST` characters; if there is more, the last parts give way first.

    `place` says of which deployment it is, and `command` is the command line that shows all of it.
    """
    command = shown(command, _SENTENCE)
    parts = [each for each in _parts(plan) if each.items]
    where = f"What Rolekeeper would do in {code(shown(place))}."
    lines = [MARKER, f"### Rolekeeper plan: {_headline(plan)}", "", where]
    if plan.withheld:
        lines.append(f"**Nothing is changed now:** {code(shown(plan.withheld))}.")
    top = "\n".join([*lines, ""])
    room = LONGEST - len(top) - sum(len(each.text((), command)) for each in parts)
    texts = [top]
    for part in parts:
        rows: list[str] = []
        for row in map(part.row, part.items[:_ROWS]):
            if len(row) >= room:
                break
            room -= len(row) + 1
            rows.append(row)
        texts.append(part.text(rows, command))
    return "".join(texts)


def _parts(plan: PlanView) -> Iterator[_Part]:
    """The parts, the most important one first."""
    edits, moves = plan.mappings, plan.permissions
    bad = [each for each in edits if each.status not in _DONE and not each.needs_approval]
    yield _Part("Not in effect as written", bad, _bad, urgent=True)
    yield _Part("To approve", [each for each in edits if each.needs_approval], _held, head=_APPROVAL, urgent=True)
    yield _Part("Severe permissions", [each for each in moves if each.severe], _move, urgent=True)
    yield _Part("Mappings", edits, _edit, head=_table("mapping", "change", "instances", "result"))
    yield _Part("Targets that are left out", plan.unseen, _unseen)
    accounts = _accounts(plan) if len(plan.summary.accounts) > 1 else []
    yield _Part("Accounts", accounts, _account, head=_table("account", *_ACTIONS.values(), "instances"))
    yield _Part("Pace", [pace_in_words(plan.paced)] if plan.paced else [], _sentence)
    waiting = ["; ".join(missing.brief for missing in row.not_in_effect or ()) for row in plan.waiting]
    yield _Part("Rows that aren't in effect as written, and aren't counted", waiting, _sentence)
    yield _Part("Permissions", [each for each in moves if not each.severe], _move)
    # Those that are blocked or wait first, and of the others those that lose a role.
    changes = sorted(plan.changes, key=lambda each: tuple(_ACTIONS).index(each.action), reverse=True)
    head = _table("action", "instance", "name", "from", "to", "reason")
    several = len({(each.account, each.region) for each in changes}) > 1
    yield _Part("Instances", changes, partial(_instance, several=several), head=head, folded=True)


def _headline(plan: PlanView) -> str:
    """What the plan comes to, in one line."""
    summary, edits = plan.summary, plan.mappings
    edited = [each for each in edits if each.kind != _UNCHANGED]
    odd = Counter(each.status for each in edited if each.status not in _DONE)
    statuses = ", ".join(f"{count:,} {status}" for status, count in odd.items())
    instances = f"{summary.changes:,} of {amount(summary.instances, 'instance')} would change"
    changes = [f"{amount(len(edited), 'mapping')} edited{f' ({statuses})' if odd else ''}"] if edited else []
    changes += [instances] if summary.changes else ["no instance would change"] if edits else ["nothing changes"]
    beside = {
        "to gain severe permissions": sum(each.instances for each in plan.permissions if each.severe),
        "not edited, and not in effect": sum(each.kind == _UNCHANGED and each.status not in _DONE for each in edits),
    }
    more = [f"{count:,} {what}" for what, count in beside.items() if count]
    more += [f"{amount(len(plan.unseen), 'target')} left out"] if plan.unseen else []
    return "; ".join(filter(None, (", ".join(changes), headline(plan.changes, _name), ", ".join(more))))


_APPROVAL = (
    "Once it is written, each of these waits until a person whose policy allows it (`rolekeeper guard approvers`) "
    "approves it, with the command or on its page in `rolekeeper console`. The plan counts it as approved.\n"
)


def _bad(edit: PlannedEditView) -> str:
    # The reason has the steps, which the note lacks.
    return f"- {_name(edit.mapping)} would be **{edit.status}**: {code(shown(edit.reason, _SENTENCE))}"


def _held(edit: PlannedEditView) -> str:
    tag_key, _, tag_value = split_key(edit.mapping)
    approve = code(str(Remedy(Kind.APPROVE, (tag_key, tag_value))))
    who = ", as another identity than the one that made this plan" if edit.own_edit else ""
    return f"- {_name(edit.mapping)}: {_reason(edit)}; to approve it{who}: {approve}"


def _reason(edit: PlannedEditView) -> str:
    return code(shown(edit.note or edit.reason, _SENTENCE))


def _edit(edit: PlannedEditView) -> str:
    kind, status = edit.kind, edit.status
    columns = [f"{name}: {_column(both, kind)}" for name, both in edit.columns.items()]
    change = "<br>".join([*([] if kind == "changed" and columns else [kind]), *columns])
    # The reasons of the others are in a part of their own.
    note = f": {_reason(edit)}" if edit.note and status in GOOD else ""
    result = f"{status.lower()}{note}" if status in _DONE else f"**{status}**"
    return _row(_name(edit.mapping), change, _effect(edit.effect), result)


def _column(both: ColumnChangeView, kind: str) -> str:
    before, after = _name(both.from_, "none"), _name(both.to, "none")
    return {"new": after, "deleted": before}.get(kind, f"{before} → {after}")


def _effect(effect: ImpactView | None) -> str:
    """What an edit does to instances, now and at each later moment."""
    if not effect:
        return ""
    later = [f"at {moment.at[:19]}Z: {_numbers(moment)}" for moment in effect.later[:_MOMENTS]]
    later += [f"and at {len(effect.later) - _MOMENTS:,} more moments"] if len(effect.later) > _MOMENTS else []
    return "<br>".join(filter(None, (_numbers(effect), *later))) or "none"


def _numbers(counts: ImpactView | LaterImpactView) -> str:
    return ", ".join(f"{each} {number:,}" for each in _COUNTED if (number := getattr(counts, each)))


def _sentence(text: str) -> str:
    return f"- {code(shown(text, _SENTENCE))}"


def _move(move: PermissionsView) -> str:
    arrow = f"{_name(move.from_, 'none')} → {_name(move.to, 'none')}"
    lines = [f"- {arrow} on {amount(move.instances, 'instance')} in account {code(move.account)}"]
    for title, phrases in {"**severe**": move.severe, "gained": move.gained, "lost": move.lost}.items():
        if phrases:
            named = ", ".join(code(shown(each)) for each in phrases[:_PHRASES])
            more = f", and {len(phrases) - _PHRASES:,} more" if len(phrases) > _PHRASES else ""
            lines.append(f"  - {title}: {named}{more}")
    if move.unknown:
        lines.append(f"  - not compared: {code(shown(move.unknown))}")
    return "\n".join(lines) if len(lines) > 1 else f"{lines[0]}: the same permissions"


def _unseen(target: UnseenTargetView) -> str:
    return f"- {code(f'{target.account}/{target.region}')}: {code(shown(target.reason))}"


def _accounts(plan: PlanView) -> list[tuple[str, Counter[str], int]]:
    """The accounts with an instance that doesn't stay as it is, those with the most changes first."""
    found: dict[str, Counter[str]] = {}
    for each in plan.changes:
        found.setdefault(each.account, Counter())[each.action] += 1
    accounts = sorted(plan.summary.accounts, key=lambda each: -each.changes)
    names = (each for each in accounts if each.account in found)
    return [(each.account, found[each.account], each.instances) for each in names]


def _account(counted: tuple[str, Counter[str], int]) -> str:
    account, actions, instances = counted
    return _row(code(account), *(f"{actions[each]:,}" for each in _ACTIONS), f"{instances:,}")


def _instance(change: PlannedChangeView, *, several: bool) -> str:
    """An instance; with `several` targets, by the whole name that a command takes."""
    target = f"{change.account}/{change.region}/" if several else ""
    names = (_name(change.name), _name(change.from_, "none"), _name(change.to, "none"))
    reason = code(shown(change.reason))
    return _row(_ACTIONS[change.action], code(f"{target}{change.instance}"), *names, reason)


def _name(text: str | None, absent: str = "") -> str:
    return code(shown(text, _NAME)) if text else absent


def _table(*names: str) -> str:
    return f"{_row(*names)}\n{_row(*('---' for _ in names))}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
