"""What would change in the fleet, now or if a file's mappings were served: a line for each instance, and the sum."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rolekeeper.model.instance import Action
from rolekeeper.permissions.compare import Difference, PolicyReader, in_words
from rolekeeper_cli import output, proposal, render, tables
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.fleet import Seen, profile_name
from rolekeeper_cli.instances import name_of
from rolekeeper_cli.proposal import Proposal

SIGNS = {"Attach": "+", "Replace": "~", "Detach": "-", "Wait": "!", "Hold": "!"}
ACTION_COLOURS = {"Attach": "green", "Replace": "yellow", "Detach": "red"}
_LAYOUT = tables.Layout(
    (
        tables.Column("", lambda row: SIGNS[row["action"]]),
        tables.Column("instance"),
        tables.Column("name", folds=True),
        tables.Column("", lambda row: _arrow(row["from"], row["to"]), folds=True),
    ),
    note=lambda row: row["reason"],
    brief=True,
    colour=lambda row: ACTION_COLOURS.get(row["action"], ""),
    head=False,
)
# The most changes of role that are told apart, and the most that is said of the permissions of one, in characters.
_MOVES, _WORDS = 50, 500
# The most mappings that a line names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Move:
    """Instances that go from one profile to another, by ARN; empty for none. `role` is the one that they get."""

    before: str
    after: str
    role: str


@dataclass(slots=True)
class Tally:
    """What is counted while the instances go by."""

    instances: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    moves: Counter[Move] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)

    @property
    def changes(self) -> int:
        """The instances that would change."""
        return sum(count for action, count in self.actions.items() if Action(action).mutates)

    @property
    def nothing(self) -> str:
        """Why there is no line, in words; empty where there is one."""
        if not self.instances:
            return "There are no instances to look at: see --region and --profile, or launch one."
        if self.actions[Action.NOTHING.value] == self.instances:
            return "Every instance is as it should be: see them with rolekeeper fleet."
        return ""

    def count(self, seen: Seen) -> None:
        """Add one instance."""
        decision = seen.decision
        self.instances += 1
        self.actions[decision.action.value] += 1
        if decision.action.mutates:
            move = Move(seen.carries, seen.should_carry, decision.role if decision.profile_arn else "")
            if move in self.moves or len(self.moves) < _MOVES:
                self.moves[move] += 1
            if counted_for := decision.counted_for:
                self.taken[str(counted_for)] += 1

    def summary(self) -> dict[str, Any]:
        """The sum, for programs."""
        counts = {action.value.lower(): self.actions[action.value] for action in Action}
        percent = round(100 * self.changes / self.instances, 1) if self.instances else 0.0
        return {**counts, "changes": self.changes, "instances": self.instances, "percent": percent}

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
        "instance": seen.instance.key.id,
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


def show(
    deployment: Deployment,
    proposed: Proposal,
    seen: Iterable[Seen],
    *,
    narrowed: bool,
    keep: Callable[[Seen], object] = lambda _: None,
) -> Tally:
    """Show a plan while it comes.

    Args:
        deployment: where.
        proposed: a file's mappings, judged.
        seen: the instances.
        narrowed: whether these are only some: then nothing is said of what a window lets through.
        keep: takes each instance that has a line.

    Returns:
        What was counted.
    """
    tally = Tally()

    def documents() -> Iterator[dict[str, Any]]:
        for each in seen:
            tally.count(each)
            if each.decision.action is not Action.NOTHING:
                keep(each)
                yield document(each)

    def rest() -> dict[str, Any]:
        return {
            "mappings": [each.document() for each in proposed.edits],
            "permissions": [
                {
                    "from": profile_name(move.before),
                    "to": profile_name(move.after),
                    "instances": instances,
                    **asdict(found),
                }
                for move, instances, found in _permissions(deployment, tally)
            ],
            "paced": [] if narrowed else list(_paced(deployment, tally)),
            "withheld": withheld(deployment),
            "summary": tally.summary(),
        }

    def draw(rows: Iterable[Mapping[str, Any]]) -> None:
        proposal.show(proposed)
        tables.stream_list(_LAYOUT, rows)
        for move, instances, found in _permissions(deployment, tally):
            arrow = _arrow(profile_name(move.before), profile_name(move.after))
            output.line(f"{arrow} on {instances:,}: {in_words(found, _WORDS)}")
        if paced := [] if narrowed else list(_paced(deployment, tally)):
            by = ", ".join(f"{each['mapping']} {each['changes']:,}" for each in paced[:_NAMED])
            more = f" and {len(paced) - _NAMED} more mappings" if len(paced) > _NAMED else ""
            output.say(
                f"{tally.taken.total():,} roles are taken away ({by}{more}), {paced[0]['at_once']:,} of them in "
                f"{paced[0]['minutes']} minutes; the others wait their turn"
            )
        output.line(f"{tally}.")
        if tally.nothing:
            output.say(tally.nothing)

    render.show_with_rows("changes", documents(), rest, draw)
    if why := withheld(deployment):
        output.say(f"No changes will be made now: {why}.")
    return tally


def withheld(deployment: Deployment) -> str:
    """Why nothing may be changed now; empty when it may."""
    found = deployment.app.state.read([], []).control.withholds(deployment.settings.mode)
    return found.reason if found else ""


def _permissions(deployment: Deployment, tally: Tally) -> Iterator[tuple[Move, int, Difference]]:
    """What each change of role gains and loses, those of the most instances first."""
    reader = PolicyReader(deployment.app.iam)
    for move, instances in tally.moves.most_common():
        yield move, instances, reader.difference(move.before, move.role or move.after)


def _paced(deployment: Deployment, tally: Tally) -> Iterator[dict[str, Any]]:
    """The mappings that take roles away, where together they take more than the window lets through at once."""
    limits = deployment.settings.limits
    at_once = limits.allowed(tally.instances)
    if tally.taken.total() > at_once:
        for mapping, changes in tally.taken.most_common():
            yield {"mapping": mapping, "changes": changes, "at_once": at_once, "minutes": limits.minutes}


def _arrow(before: str | None, after: str | None) -> str:
    return f"{before or 'none'} → {after or 'none'}"
