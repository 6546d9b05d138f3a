"""What an edit or a file's mappings would change: in the fleet, and in sum.

The functions' own modules decide it: `publish` rows (`rehearsal.py`), `decide` instances. Nothing is written.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.instances.observe import Unreadable
from rolekeeper.instances.window import approved_budget, counted
from rolekeeper.mappings.impact import MOVES, PHRASES, WORDS, Impact
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Action, Target
from rolekeeper.model.mapping import Control, MappingKey
from rolekeeper.model.problem import Advice, Kind, Remedy, advice
from rolekeeper.permissions import comparison
from rolekeeper.permissions.comparison import Difference, PolicyReader
from rolekeeper.storage import layout
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import refusal
from rolekeeper_cli.instance.revoked_policy import LIVES
from rolekeeper_cli.instance.seen import Enforced, Seen, left_out, pages
from rolekeeper_cli.mapping.rehearsal import PlannedRow, Proposal, foresee
from rolekeeper_cli.row import use as mappings
from rolekeeper_cli.row.edits import OpenEdit, RowPlan
from rolekeeper_cli.row.effect import DONE, withheld
from rolekeeper_cli.row.view import EditEntryView, PacedView
from rolekeeper_cli.shell.layout import amount, second, several
from rolekeeper_cli.target.use import Places

# ---- the fleet, counted while its instances go by ----

# The most mappings, rows, and kinds of changes that are named one by one.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Move:
    """Instances of an account that go from one profile to another, by ARN, and get this role; each empty for none."""

    before: str
    after: str
    role: str
    account: str

    @property
    def roles(self) -> tuple[str, str]:
        """The two as `PolicyReader` takes them."""
        return self.before, self.role or self.after


@dataclass(slots=True)
class FleetPlan:
    """What would change in the fleet, counted while the instances go by."""

    deployment: Deployment
    proposal: Proposal = field(default_factory=Proposal)  # the edits as if they were published
    narrowed: bool = False  # whether these are only some instances: then nothing is said about the window of changes
    # How many instances each target has, and `changed`, how many of them change.
    there: Counter[Target] = field(default_factory=Counter)
    changed: Counter[Target] = field(default_factory=Counter)
    actions: Counter[Action] = field(default_factory=Counter)
    moves: Counter[Move] = field(default_factory=Counter)
    # The roles that each revision takes away; `taken_in`, those of each target, by whether a mapping to `NONE` takes
    # them away.
    taken: Counter[tuple[MappingKey, int]] = field(default_factory=Counter)
    taken_in: Counter[tuple[Target, bool]] = field(default_factory=Counter)
    foreign: int = 0  # how many carry a foreign role that matters
    _readers: dict[str, PolicyReader] = field(default_factory=dict)

    @property
    def instances(self) -> int:
        return self.there.total()

    @property
    def changes(self) -> int:
        return self.changed.total()

    def count(self, seen: Seen) -> None:
        decision, target = seen.decision, seen.instance.key.target
        self.there[target] += 1
        self.actions[decision.action] += 1
        self.foreign += decision.takes_over or decision.code == "occupied"
        if decision.action.mutates:
            self.changed[target] += 1
            self._move(seen)

    def becomes(self, then: Seen) -> Action:
        """Count an instance as it would be; returns its change, whether that is made at once or later."""
        action = Action.NOTHING
        if then.should_carry != then.carries:
            action = Action.DETACH if not then.should_carry else Action.REPLACE if then.carries else Action.ATTACH
            self._move(then)
        self.there.setdefault(then.instance.key.target, 0)
        self.actions[action] += 1
        self.foreign += bool(then.carries) and not then.managed
        return action

    def _move(self, seen: Seen) -> None:
        decision, target = seen.decision, seen.instance.key.target
        role = decision.role if decision.profile_arn else ""
        move = Move(seen.carries, seen.should_carry, role, account=target.account)
        if move in self.moves or len(self.moves) < MOVES:
            self.moves[move] += 1
        if decision.action.mutates and (counted_for := decision.counted_for):
            self.taken[counted_for, decision.revision] += 1
            self.taken_in[target, decision.quarantines] += 1

    def changing(self, seen: Iterable[Seen]) -> Iterator[Seen]:
        """The instances that don't stay as they are, while all are counted."""
        for each in seen:
            self.count(each)
            if each.decision.action is not Action.NOTHING:
                yield each

    def permissions(self) -> Iterator[tuple[Move, int, Difference]]:
        """What each change of role gains and loses, those of the most instances first."""
        for move, instances in self.moves.most_common():
            yield move, instances, self.reader(move.account).difference(*move.roles)

    def reader(self, account: str) -> PolicyReader:
        if account not in self._readers:
            target = next(each for each in self.there if each.account == account)
            self._readers[account] = PolicyReader(self.deployment.at(target).app.iam)
        return self._readers[account]

    def paced(self) -> list[PacedView]:
        """The mappings that take roles away, if together they take more than the window lets through at once."""
        if self.narrowed or not self.taken:
            return []
        deployment, limits = self.proposal.deployment or self.deployment, self.deployment.settings.limits
        budgets = {key: layout.budget_key(key) for key, _ in self.taken}
        windows = {each: layout.changes_key(each[0], quarantines=each[1]) for each in self.taken_in}
        items = deployment.app.store.get([*windows.values(), *budgets.values()])

        def room_in(key: layout.Key, instances: int) -> int:
            taken = counted(items.get(key, {}), limits.minutes, deployment.now())
            return max(0, limits.allowed(instances) - taken)

        room = sum(min(self.taken_in[each], room_in(key, self.there[each[0]])) for each, key in windows.items())
        approved = {
            (key, revision): min(changes, approved_budget(items.get(budgets[key], {}), revision))
            for (key, revision), changes in self.taken.items()
        }
        if self.taken.total() <= room + sum(approved.values()):
            return []
        return [
            PacedView(
                mapping=str(revision[0]),
                changes=changes,
                approved=approved[revision],
                at_once=room,
                minutes=limits.minutes,
            )
            for revision, changes in self.taken.most_common()
        ]


def in_words(found: Difference) -> str:
    return comparison.in_words(found, WORDS)


def pace_in_words(pace: Sequence[PacedView]) -> str:
    by = several([f"{each.mapping} {each.changes:,}" for each in pace])
    approved = sum(each.approved for each in pace)
    too = f", and {approved:,} that are approved" if approved else ""
    taken = sum(each.changes for each in pace)
    return (
        f"{amount(taken, 'role')} {'is' if taken == 1 else 'are'} taken away ({by}), {pace[0].at_once:,} of them in "
        f"{pace[0].minutes} minutes{too}; the others wait their turn"
    )


# ---- in sum, for a person who is asked whether to do it ----


@dataclass(frozen=True, slots=True)
class Preview:
    """What something would do to instances."""

    impact: Impact = field(default_factory=Impact)
    approval: Impact = field(default_factory=Impact)  # what it would do once a person approves it, beside `impact`
    # Instances concerned that carry a foreign role; None: not counted, as in the verdict on a held edit.
    foreign: int | None = 0
    notes: tuple[str | Advice, ...] = ()  # what else to know, each a sentence
    unknown: str = ""  # why nothing of it is known; empty if it is
    withheld: bool = False  # whether these are changes that would be made, and then aren't
    # Those of the rows, if it is about rows, and `unpublished` why some wouldn't be published as written.
    statuses: Sequence[Status] = ()
    unpublished: Sequence[str] = ()
    paused: bool = False  # whether no changes are made now

    def lines(self) -> Iterator[str]:
        difference = Difference.of_all([self.impact.difference, self.approval.difference], PHRASES)
        if self.unknown:
            yield f"What it would do to instances isn't known: {self.unknown}."
        else:
            foreign = f"; {self.foreign:,} with a foreign role" if self.foreign else ""
            yield f"{'Withheld' if self.withheld else 'Instances'}: {_counts(self.impact)}{foreign}."
            if self.approval.changes:
                yield f"Once approved: {_counts(self.approval)}."
        if (self.impact.changes or self.approval.changes) and not self.withheld:
            compared = Difference(difference.gained, difference.lost)
            if compared != Difference():
                yield f"Permissions: {in_words(compared)}."
            if difference.unknown:
                yield f"Not all permissions could be compared: {difference.unknown}."
            elif compared == Difference():
                yield "Permissions: no change."
        yield from self.unpublished
        yield from map(str, self.notes)


def outlives(deployment: Deployment, instance: str = "INSTANCE") -> Advice:
    """Until when software may use a role that is taken away now, and what ends that."""
    until = deployment.now() + LIVES
    return advice(
        f"Software may use the former role's credentials until {second(until)} at the latest; to end them, "
        "once the role is taken away: ",
        Remedy(Kind.REVOKE, (instance,)),
    )


def of_edit(deployment: Deployment, wanted: RowPlan | Sequence[OpenEdit]) -> Preview:
    """What writing rows, or approving held edits, would do; of a lone one at least what the function counted."""
    held = () if isinstance(wanted, RowPlan) else wanted
    try:
        return of_proposal(deployment, foresee(deployment, wanted), approved=bool(held))
    except AccessDeniedError as error:
        counted = _as_held(mappings.history(deployment, held[0].key, 50), held[0].revision) if len(held) == 1 else None
        return counted or Preview(unknown=refusal(error).what)


def of_switch(deployment: Deployment, after: Control, seconds: float) -> Preview:
    """What changing the control item would do: the changes that it lets through, or withholds.

    It looks at the fleet for this many seconds: a person who has to stop everything can't wait for 100,000 instances.
    """
    will = after.withholds(deployment.settings.mode)
    until = deployment.now().timestamp() + seconds
    plan, damaged, places = FleetPlan(deployment), list[str](), Places.chosen(deployment)
    try:
        found = places.look(pages, Enforced.of)
        for seen in takewhile(lambda _: deployment.now().timestamp() < until, found):
            if isinstance(seen, Unreadable):
                damaged.append(f"{left_out(seen)}.")
            else:
                plan.count(seen)
        whole = deployment.now().timestamp() < until
    except AccessDeniedError as error:
        return Preview(unknown=refusal(error).what)
    were = "was" if plan.instances == 1 else "were"
    number = f"{'' if whole else 'the first '}{amount(plan.instances, 'instance')} {were}"
    differences = [] if will else [found for _, _, found in islice(plan.permissions(), _NAMED)]
    until_now = "They were withheld until now" if plan.changes else ""
    note = (
        f"From then on, no changes are made: {will.reason}" if will else until_now or "Nothing was withheld until now"
    )
    return Preview(
        _impact(plan.actions, differences),
        foreign=plan.foreign,
        notes=(
            f"{note}. {number[0].upper()}{number[1:]} counted.",
            *(f"{each}." for each in places.unseen_in_words()),
            *_first(damaged),
        ),
        withheld=bool(will),
    )


# What happens to a row that isn't published as written.
_OUTCOMES: Mapping[Status, str] = {
    Status.HELD: "wait for approval",
    Status.REJECTED: "be rejected",
    Status.CONFLICT: "be in conflict",
    Status.WAITING: "wait for AWS",
}

type Consequence = Callable[[Impact], str]
"""What a task does to instances at once, as the end of its question."""


def question(task: str, preview: Preview, consequence: Consequence | None = None) -> str:
    """Whether to do a task, and what comes of it unless every row is published as written."""
    does = consequence(preview.impact) if consequence and not preview.paused else ""
    sentences = [f"{task}{does}?"]
    for status, text in _OUTCOMES.items():
        count = preview.statuses.count(status)
        rows = "It" if len(preview.statuses) == 1 else "1 row" if count == 1 else f"{count:,} rows"
        sentences += [f"{rows} will {text}."] if count else []
    return " ".join(sentences)


def changes(impact: Impact) -> str:
    return f", which changes {amount(impact.changes, 'instance')}" if impact.changes else ""


def takes(impact: Impact) -> str:
    taken = f" and take the role from {amount(impact.detach, 'instance')}" if impact.detach else ""
    return taken + (f" and give {amount(impact.replace, 'instance')} another role" if impact.replace else "")


def of_proposal(deployment: Deployment, proposed: Proposal, *, approved: bool = False) -> Preview:
    """The sum over rows that were judged, and why others wouldn't be published; `approved`: those that are held are."""
    statuses = [Status.PUBLISHED if approved and each.needs_approval else each.status for each in proposed.edits]
    bad = [each for each, status in zip(proposed.edits, statuses, strict=True) if status not in DONE]
    why_not = [f"{each.key} would be {each.status}: {each.note()}." for each in bad]
    notes = [f"{each}." for each in proposed.unseen]
    done = [(each, each.impact) for each in proposed.edits if each.applies and each.impact]
    later = [f"{each.key}: at {text}." for each, impact in done for text in impact.later_in_words]
    notes += _first([*later, *(_waves(each) for each in proposed.edits if each.verdict.progress)])
    why = _why_not_now(deployment)
    held = any(each.needs_approval for each in proposed.edits)
    at_once = _sum([impact for each, impact in done if approved or each.takes_effect])
    former = [outlives(deployment)] if at_once.detach and not why else []
    return Preview(
        at_once,
        _sum([impact for each, impact in done if each.needs_approval and not approved]),
        foreign=None if held else sum(each.foreign for each in proposed.edits),
        notes=(*notes, *why, *former),
        statuses=statuses,
        unpublished=_first(why_not),
        paused=bool(why),
    )


def _waves(row: PlannedRow) -> str:
    """In which waves a row would move its instances, and how long that takes."""
    progress = row.verdict.progress
    assert progress is not None  # it goes out in waves
    counts, minutes = ", ".join(f"{count:,}" for count in progress.counts), progress.minutes * len(progress.counts)
    return f"{row.key} goes out in waves, over after {minutes:,} minutes: {counts} of {progress.total:,} instances."


def _sum(impacts: Sequence[Impact]) -> Impact:
    total = Impact(difference=Difference.of_all([each.difference for each in impacts], PHRASES))
    for each in impacts:
        total.include(each)
    return total


def _counts(impact: Impact) -> str:
    verbs = {"attach": impact.attach, "replace": impact.replace, "detach": impact.detach}
    counts = [
        f"{number:,} to {verb}" for verb, number in (verbs | {"change only later": impact.only_later}).items() if number
    ]
    return ", ".join(counts) or "no change"


def _first(sentences: Sequence[str]) -> list[str]:
    """As many as a person reads, and then how many more there are."""
    others = [f"And {len(sentences) - _NAMED:,} more."] if len(sentences) > _NAMED else []
    return [*sentences[:_NAMED], *others]


def _as_held(history: Iterable[EditEntryView], number: int) -> Preview | None:
    for entry in history:
        if entry.revision == number and (it := entry.effect):
            difference = Difference(tuple(it.gained), tuple(it.lost), it.unknown)
            impact = Impact(it.attach, it.replace, it.detach, only_later=it.only_later, difference=difference)
            counted = f"It was counted at {(entry.at or '')[:19]}Z."
            moments = [f"More instances change at {moment.at[:19]}Z." for moment in it.later]
            return Preview(impact, notes=(counted, *_first(moments)))
    return None


def _impact(actions: Mapping[Action, int], differences: Sequence[Difference]) -> Impact:
    attach, replaced, detach = (actions.get(each, 0) for each in (Action.ATTACH, Action.REPLACE, Action.DETACH))
    return Impact(attach, replaced, detach, difference=Difference.of_all(differences, PHRASES))


def of_several(plan: FleetPlan, notes: Sequence[str | Advice]) -> Preview:
    """The sum over the instances of a plan, each counted as it would be (`FleetPlan.becomes`)."""
    differences = [found for _, _, found in plan.permissions()]
    notes = (*notes, *_why_not_now(plan.deployment))
    return Preview(_impact(plan.actions, differences), foreign=plan.foreign, notes=notes)


def _why_not_now(deployment: Deployment) -> list[str]:
    why = withheld(deployment)
    return [f"No changes will be made now: {why}."] if why else []
