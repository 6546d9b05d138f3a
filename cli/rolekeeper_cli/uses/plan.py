"""What would change in the fleet, now or if a file's mappings were published: as documents, and counted."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.instances.window import approved_budget, counted
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Action, Target
from rolekeeper.model.mapping import MappingKey
from rolekeeper.permissions import compare
from rolekeeper.permissions.compare import Difference, PolicyReader
from rolekeeper.storage import layout
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.uses import mappings
from rolekeeper_cli.uses.fleet import Seen, profile_name, withheld
from rolekeeper_cli.uses.instances import name_of, where
from rolekeeper_cli.uses.proposal import Proposal
from rolekeeper_cli.uses.rows import mapping_rows
from rolekeeper_cli.uses.targets import Places

# The most changes of role that are told apart.
_MOVES = 50
# The most mappings that a sentence names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Move:
    """Instances of an account that go from one profile to another, by ARN; empty for none.

    `role` is the one that they get.
    """

    before: str
    after: str
    role: str
    account: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What a plan is over.

    Attributes:
        narrowed: whether these are only some: then nothing is said of what a window lets through.
    """

    seen: Iterable[Seen]
    places: Places
    narrowed: bool = False


@dataclass(slots=True)
class Tally:
    """What is counted while the instances go by.

    `accounts` has for each how many there are and how many change, `targets` one of its targets. `taken` are the roles
    that each revision takes away, `taken_in` those of each target, by whether a mapping to `NONE` takes them away; a
    target has so many instances as `there`.
    """

    instances: int = 0
    accounts: dict[str, Counter[str]] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    actions: Counter[str] = field(default_factory=Counter)
    moves: Counter[Move] = field(default_factory=Counter)
    taken: Counter[tuple[MappingKey, int]] = field(default_factory=Counter)
    taken_in: Counter[tuple[Target, bool]] = field(default_factory=Counter)
    there: Counter[Target] = field(default_factory=Counter)
    foreign: int = 0

    @property
    def changes(self) -> int:
        """The instances that would change."""
        return sum(count for action, count in self.actions.items() if Action(action).mutates)

    def nothing(self, *, unseen: bool) -> str:
        """Why there is no line, in words; empty where there is one. With targets `unseen`, it speaks of the others."""
        if unseen and not self.instances:
            return "No instance was looked at."
        if not self.instances:
            return "There are no instances to look at: see --region and --profile, or launch one."
        if self.actions[Action.NOTHING.value] == self.instances:
            seen = " that was looked at" if unseen else ""
            return f"Every instance{seen} is as it should be: see them with rolekeeper fleet."
        return ""

    def count(self, seen: Seen) -> None:
        decision = seen.decision
        account, target = seen.instance.key.account, seen.instance.key.target
        self.targets.setdefault(account, target)
        self.instances += 1
        self.there[target] += 1
        self.accounts.setdefault(account, Counter()).update(instances=1, changes=int(decision.action.mutates))
        self.actions[decision.action.value] += 1
        self.foreign += decision.takes_over or decision.code == "occupied"
        if decision.action.mutates:
            move = Move(seen.carries, seen.should_carry, decision.role if decision.profile_arn else "", account=account)
            if move in self.moves or len(self.moves) < _MOVES:
                self.moves[move] += 1
            if counted_for := decision.counted_for:
                self.taken[counted_for, decision.revision] += 1
                self.taken_in[target, decision.quarantines] += 1

    def summary(self) -> dict[str, Any]:
        counts = {action.value.lower(): self.actions[action.value] for action in Action}
        percent = round(100 * self.changes / self.instances, 1) if self.instances else 0.0
        accounts = [{"account": account, **found} for account, found in sorted(self.accounts.items())]
        whole = {"changes": self.changes, "instances": self.instances, "percent": percent}
        return {**counts, **whole, "accounts": accounts}

    def __str__(self) -> str:
        said = self.summary()
        return (
            f"{said['attach']:,} to attach, {said['replace']:,} to replace, {said['detach']:,} to detach; "
            f"{said['wait']:,} waiting, {said['hold']:,} blocked: "
            f"{said['changes']:,} of {said['instances']:,} instances change ({said['percent']} %)"
        )


def document(seen: Seen) -> dict[str, Any]:
    """One instance of the plan, for programs."""
    decision = seen.decision
    return {
        **where(seen.instance.key),
        "name": name_of(seen.instance),
        "state": seen.instance.state.value,
        "action": decision.action.value,
        "code": decision.code,
        "from": profile_name(seen.carries),
        "to": profile_name(seen.should_carry),
        "role": decision.role or None,
        "mapping": str(decision.mapping) if decision.mapping else None,
        "revision": decision.revision,
        "reason": decision.reason,
    }


def changes(
    seen: Iterable[Seen], tally: Tally, keep: Callable[[Seen], object] = lambda _: None
) -> Iterator[dict[str, Any]]:
    """The instances that don't stay as they are, as documents, while all of them are counted.

    Args:
        seen: the instances.
        keep: takes each instance that has a document.
    """
    for each in seen:
        tally.count(each)
        if each.decision.action is not Action.NOTHING:
            keep(each)
            yield document(each)


def rest(
    deployment: Deployment, proposed: Proposal, tally: Tally, places: Places | None = None, *, narrowed: bool
) -> dict[str, Any]:
    """What a plan says beside its changes, once all instances are counted; `narrowed` to some, nothing of the pace."""
    return {
        "mappings": [each.document() for each in proposed.edits],
        "permissions": [
            {
                "account": move.account,
                "from": profile_name(move.before),
                "to": profile_name(move.after),
                "instances": instances,
                **asdict(found),
            }
            for move, instances, found in permissions(deployment, tally)
        ],
        "paced": [] if narrowed else [asdict(each) for each in paced(deployment, tally, proposed)],
        "waiting": list(proposed.waiting),
        "withheld": withheld(deployment),
        "unseen": places.unseen_documents() if places else [],
        "summary": tally.summary(),
    }


def permissions(deployment: Deployment, tally: Tally) -> Iterator[tuple[Move, int, Difference]]:
    """What each change of role gains and loses, those of the most instances first."""
    readers: dict[str, PolicyReader] = {}
    for move, instances in tally.moves.most_common():
        if move.account not in readers:
            readers[move.account] = PolicyReader(deployment.at(tally.targets[move.account]).app.iam)
        yield move, instances, readers[move.account].difference(move.before, move.role or move.after)


def in_words(found: Difference, room: int) -> str:
    """What a change of role gains and loses, in so many characters."""
    return compare.in_words(found, room)


@dataclass(frozen=True, slots=True)
class Paced:
    """A mapping that takes roles away, where together they take more than goes at once.

    Attributes:
        changes: the roles that it takes away.
        approved: as many of them go beyond the number, as a person approved that revision, or is to.
        at_once: the changes of all mappings that have room now, without those.
        minutes: the time in which that is counted.
    """

    mapping: str
    changes: int
    approved: int
    at_once: int
    minutes: int


def paced(deployment: Deployment, tally: Tally, proposed: Proposal) -> list[Paced]:
    """The mappings whose changes don't all go at once: the window's number and approvals let some through."""
    settings = deployment.settings
    budgets = {(key, revision): layout.budget_key(key) for key, revision in tally.taken}
    windows = {each: layout.changes_key(each[0], quarantines=each[1]) for each in tally.taken_in}
    items = deployment.app.store.get([*windows.values(), *dict.fromkeys(budgets.values())]) if budgets else {}

    def room_in(key: layout.Key, instances: int) -> int:
        taken = counted(items.get(key, {}), settings.limits.minutes, deployment.now())
        return max(0, settings.limits.allowed(instances) - taken)

    room = sum(min(tally.taken_in[each], room_in(key, tally.there[each[0]])) for each, key in windows.items())
    # What a file's edit is held for, its approval lets through.
    held = {each.key: each.impact.takes for each in proposed.edits if each.status is Status.HELD and each.impact}
    approved = {}
    for (key, revision), changes in tally.taken.items():
        credit = approved_budget(items.get(budgets[key, revision], {}), revision)
        approved[key, revision] = min(changes, held.get(key, credit))
    if tally.taken.total() <= room + sum(approved.values()):
        return []
    return [
        Paced(str(key), changes, approved[key, revision], at_once=room, minutes=settings.limits.minutes)
        for (key, revision), changes in tally.taken.most_common()
    ]


def pace_in_words(pace: Sequence[Paced]) -> str:
    """The pace in a sentence, for people."""
    by = ", ".join(f"{each.mapping} {each.changes:,}" for each in pace[:_NAMED])
    more = f" and {len(pace) - _NAMED} more mappings" if len(pace) > _NAMED else ""
    approved = sum(each.approved for each in pace)
    too = f", and {approved:,} that are approved" if approved else ""
    return (
        f"{sum(each.changes for each in pace):,} roles are taken away ({by}{more}), {pace[0].at_once:,} of them in "
        f"{pace[0].minutes} minutes{too}; the others wait their turn"
    )


def waiting_rows(deployment: Deployment, leave: Sequence[MappingKey]) -> tuple[list[dict[str, Any]], str]:
    """The rows that say something else than what is in effect, but for some; or why that isn't known."""
    try:
        rows = mapping_rows(deployment).all()
    except AccessDeniedError as error:
        return [], f"whether rows wait isn't known: you aren't allowed {error.action} on {error.resource}"
    others = {key: row for key, row in rows.items() if key not in leave}
    return mappings.waiting(mappings.documents(deployment, others)), ""


def waiting_in_words(waiting: Sequence[Mapping[str, Any]]) -> str:
    """The rows that wait in a sentence, for people."""
    named = ", ".join(f"{each['mapping']}: {mappings.role_in_words(each)}" for each in waiting[:_NAMED])
    more = f" and {len(waiting) - _NAMED:,} more" if len(waiting) > _NAMED else ""
    rows = "1 row waits and isn't" if len(waiting) == 1 else f"{len(waiting):,} rows wait and aren't"
    return f"{rows} counted here: {named}{more}"
