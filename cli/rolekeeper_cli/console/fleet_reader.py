"""The fleet for the console: an instance as it is kept, and reading all of them page by page, or some.

An instance is as small as its page of 200 needs, so that 10,000 of them take little memory.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from sys import intern
from threading import Lock
from typing import Any

from rolekeeper.aws.ec2 import Ec2
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.decide import Observation
from rolekeeper.instances.observe import Unreadable, observe, observe_page
from rolekeeper.model.instance import AssociationState, InstanceKey, InstanceState, Target
from rolekeeper.model.mapping import NO_ROLE
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.uses.fleet import Enforced, Seen, Standing, document, standing, withheld
from rolekeeper_cli.uses.history import DecisionLog, level_missing
from rolekeeper_cli.uses.instances import name_of
from rolekeeper_cli.uses.targets import Places, why_unseen

# FilterLogEvents: 5 calls a second in an account and Region (CloudWatch Logs quotas). We make at most 2.
_LOG_PAUSE = 0.5
_LATE = timedelta(seconds=20)
_MINUTE = 60.0
# What goes on in EC2 by itself, so that no decision is logged when it ends.
_MOVING_STATES = frozenset({InstanceState.PENDING, InstanceState.STOPPING, InstanceState.SHUTTING_DOWN})
_MOVING_ASSOCIATIONS = frozenset({AssociationState.ASSOCIATING, AssociationState.DISASSOCIATING})
_RANKS = {each: rank for rank, each in enumerate(Standing)}
# The stylesheet's classes of those that have another one than their name.
KINDS = {Standing.BLOCKED: "bad", Standing.WAITING: "wait"}


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One instance; texts are empty for none.

    `tags` are in order. `carries` and `should_carry` are profiles, by name; `managed` says whether Rolekeeper manages
    the one that it carries. It `moves` where EC2 changes it without a decision that would be logged. `trace` stands for
    what else its own page shows, so that a change of that is seen too.
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
        id=instance.key.id,
        account=intern(instance.key.account),
        region=intern(instance.key.region),
        name=name_of(instance),
        state=instance.state.value,
        # Each text once in memory: most instances share them.
        tags=tuple((intern(key), intern(value)) for key, value in sorted(instance.tags.items())),
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


# ---- EC2's client, with each call counted ----


@dataclass
class Calls:
    """When calls were made, for a minute; `clock` gives seconds."""

    clock: Callable[[], float]
    _at: deque[float] = field(default_factory=deque)
    _lock: Lock = field(default_factory=Lock)

    def note(self) -> None:
        with self._lock:
            self._at.append(self.clock())
            self._forget()

    @property
    def last_minute(self) -> int:
        """How many were made in the last minute."""
        with self._lock:
            self._forget()
            return len(self._at)

    def _forget(self) -> None:
        while self._at and self._at[0] <= self.clock() - _MINUTE:
            self._at.popleft()


@dataclass(frozen=True)
class CountedEc2:
    """The two calls that read, as boto3's client has them. It can't change anything."""

    client: Any
    calls: Calls

    @property
    def meta(self) -> Any:
        return self.client.meta

    def describe_instances(self, **asked: Any) -> Any:
        self.calls.note()
        return self.client.describe_instances(**asked)

    def get_paginator(self, name: str) -> "_CountedPages":
        """A paginator, each page of which is a call."""
        return _CountedPages(self.client.get_paginator(name), self.calls)


@dataclass(frozen=True)
class _CountedPages:
    paginator: Any
    calls: Calls

    def paginate(self, **asked: Any) -> Iterator[Any]:
        """The pages. The first call is counted before it is made: one that fails is a call too."""
        self.calls.note()
        for number, page in enumerate(self.paginator.paginate(**asked)):
            if number:
                self.calls.note()
            yield page


# ---- reading them ----


class FleetReader:
    """One look at the deployment: its stack, its settings and what policies say are asked for once.

    `target_of` gives where an instance is, as far as that is known.
    """

    def __init__(
        self, deployment: Deployment, calls: Calls, target_of: Callable[[str], Target | None] = lambda _: None
    ) -> None:
        self._deployment, self._calls, self._target_of = deployment, calls, target_of
        self._began = deployment.now()
        self._ec2s: dict[Target, Ec2] = {}
        self._log: DecisionLog | None = None
        self._decided: dict[str, Target] = {}

    @cached_property
    def places(self) -> Places:
        """The deployment's targets; after a whole read, also those that couldn't be looked into."""
        return Places.chosen(self._deployment)

    def _ec2(self, place: Deployment) -> Ec2:
        """A target's EC2, with its calls counted."""
        target = place.settings.target
        if target not in self._ec2s:
            counted: Any = CountedEc2(place.app.ec2.client, self._calls)  # the part of it that reads
            self._ec2s[target] = replace(place.app.ec2, client=counted)
        return self._ec2s[target]

    def now(self) -> datetime:
        return self._deployment.now()

    def pages(self) -> Iterator[list[FleetRow]]:
        """The whole fleet, target by target, each mapping read once. One that can't be looked into is left out."""
        for place in self.places.all:
            try:
                yield from self._pages(place)
            except AwsRefusalError as error:
                if not place.elsewhere:
                    raise
                self.places.unseen[place.settings.target] = why_unseen(error)

    def _pages(self, place: Deployment) -> Iterator[list[FleetRow]]:
        state, ec2 = Enforced.of(place, {}), self._ec2(place)
        for page in ec2.fleet():
            living = [each for each in page if each.state is not InstanceState.TERMINATED]
            found = (row_of(each, place) for each in observe_page(living, ec2, state, now=place.now()))
            yield [each for each in found if each]

    def look(self, ids: Iterable[str]) -> Mapping[str, FleetRow | None]:
        """These instances; None for one that is gone. Two calls to EC2 in each target.

        Of another target that can't be looked into now, they stay as they were.
        """
        by_target: dict[Target, list[str]] = {}
        for each in ids:
            target = self._target_of(each) or self._decided.get(each) or self._deployment.home
            by_target.setdefault(target, []).append(each)
        found: dict[str, FleetRow | None] = {}
        for target, some in by_target.items():
            place = self._deployment.at(target)
            keys = [InstanceKey(target.account, target.region, each) for each in some]
            try:
                observed = observe(keys, self._ec2(place), Enforced.of(place), now=place.now())
            except AwsRefusalError:
                if not place.elsewhere:
                    raise
            else:
                found |= {key.id: row_of(each, place) for key, each in observed.items()}
        return found

    def withheld(self) -> str:
        """Why nothing may be changed now; empty when it may."""
        return withheld(self._deployment)

    def decided(self) -> list[str]:
        """The instances that were decided about since the last time, first since this was made."""
        if self._log is None:
            self._log = DecisionLog(self._deployment, self._began - _LATE, late=_LATE, pause=_LOG_PAUSE)
        news = list(self._log.news())
        self._decided |= {each["instance"]: Target(each["account"], each["region"]) for each in news}
        return [each["instance"] for each in news]

    def log_missing(self) -> str:
        """Why no decisions are logged; empty where they are."""
        return level_missing(self._deployment)
