"""An instance as the console keeps it: as small as its page of 200 needs, so that 10,000 of them take little memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any

from rolekeeper.instances.decide import Observation
from rolekeeper.instances.observe import Unreadable
from rolekeeper.model.instance import AssociationState, Instance, InstanceState, Target
from rolekeeper.model.mapping import NO_ROLE
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.uses.fleet import Seen, Standing, document, standing
from rolekeeper_cli.uses.instances import name_of

# What goes on in EC2 by itself, so that no decision is logged when it ends.
_MOVING_STATES = frozenset({InstanceState.PENDING, InstanceState.STOPPING, InstanceState.SHUTTING_DOWN})
_MOVING_ASSOCIATIONS = frozenset({AssociationState.ASSOCIATING, AssociationState.DISASSOCIATING})


_RANKS = {each: rank for rank, each in enumerate(Standing)}
# The stylesheet's classes of those that have another one than their name.
KINDS = {Standing.BLOCKED: "bad", Standing.WAITING: "wait"}


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One instance.

    Attributes:
        id: the instance's id.
        account: where it is, with `region`.
        name: its Name tag; empty for none.
        state: its state in EC2.
        tags: its tags, in order.
        carries: the profile that it carries, by name; empty for none. `should_carry` alike.
        mapping: the mapping that governs it; empty for none.
        standing: how it stands.
        reason: why, in one sentence.
        managed: whether Rolekeeper manages what it carries.
        moves: whether EC2 changes it without a decision that would be logged.
        trace: what else its own page shows, so that a change of that is seen too.
    """

    id: str
    account: str
    region: str
    name: str
    state: str
    tags: tuple[tuple[str, str], ...]
    carries: str
    should_carry: str
    mapping: str
    standing: Standing
    reason: str
    managed: bool
    moves: bool
    trace: int

    @property
    def target(self) -> Target:
        """Where it is."""
        return Target(self.account, self.region)

    @property
    def kind(self) -> str:
        """The stylesheet's class of its status."""
        return KINDS.get(self.standing, self.standing.value)

    @property
    def order(self) -> tuple[int, str, str]:
        """Where it is listed: what needs a person first, and then by its name, or its id."""
        return _RANKS[self.standing], self.name or self.id, self.id

    @property
    def roles(self) -> tuple[str, str]:
        """What it carries and should carry, as a filter names them."""
        return self.carries or NO_ROLE, self.should_carry or NO_ROLE


def row_of(observed: Observation | Unreadable, deployment: Deployment) -> FleetRow | None:
    """What is kept of an instance; None of one that EC2 doesn't know, or that is terminated."""
    instance = observed.instance
    if instance is None or instance.state is InstanceState.TERMINATED:
        return None
    seen = observed if isinstance(observed, Unreadable) else Seen.of(observed, deployment)
    shown = document(seen)
    if isinstance(seen, Unreadable):
        reason = f"Rolekeeper can't decide about it: {shown['reason']}"
        status, trace, moves = Standing.UNKNOWN, 0, False
    else:
        reason = shown["reason"]
        status, trace, moves = standing(seen), _trace(seen), _moves(seen)
    return FleetRow(
        **_described(instance),
        carries=intern(shown["carries"] or ""),
        should_carry=intern(shown["should_carry"] or ""),
        mapping=intern(shown["mapping"] or ""),
        standing=status,
        reason=intern(reason),
        managed=bool(shown["managed"]),
        moves=moves,
        trace=trace,
    )


def _moves(seen: Seen) -> bool:
    association = seen.observed.association
    return seen.instance.state in _MOVING_STATES or bool(association and association.state in _MOVING_ASSOCIATIONS)


def _trace(seen: Seen) -> int:
    observed = seen.observed
    return hash((seen.decision, observed.association, observed.record.condition, observed.pin, observed.grant))


def _described(instance: Instance) -> dict[str, Any]:
    return {
        "id": instance.key.id,
        "account": intern(instance.key.account),
        "region": intern(instance.key.region),
        "name": name_of(instance),
        "state": instance.state.value,
        "tags": _compact(instance.tags),
    }


def _compact(tags: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Tags with each text once in memory: most instances share them."""
    return tuple((intern(key), intern(value)) for key, value in sorted(tags.items()))
