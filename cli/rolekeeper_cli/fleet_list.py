"""The fleet as a list: each instance with the role that it carries and the one that it should carry."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from rolekeeper.model.instance import Action, InstanceState
from rolekeeper.model.mapping import NO_ROLE, MappingKey
from rolekeeper_cli import known, output, render
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.instances import name_of
from rolekeeper_cli.tables import Column, Layout
from rolekeeper_cli.views.looking import Enforced, Seen, look, pages, profile_name, withheld

# What a decision means for a list: whether the instance is as it should be.
_STANDS = {Action.NOTHING: "ok", Action.WAIT: "waits", Action.HOLD: "blocked"}
_OK, _DRIFT = "ok", "drift"
# In the order in which a person looks at them.
_TOTALS = {_OK: "ok", _DRIFT: "in drift", "waits": "waiting", "blocked": "blocked"}


@dataclass(frozen=True, slots=True)
class Filters:
    """Which instances are listed: those that pass all of them.

    Attributes:
        tags: they carry these tags.
        role: they carry this profile, or are to; `NONE` for none.
        state: they are in this state.
        mapping: this mapping governs them.
        drift: they aren't as they should be.
    """

    tags: tuple[MappingKey, ...] = ()
    role: str = ""
    state: InstanceState | None = None
    mapping: MappingKey | None = None
    drift: bool = False

    def pass_(self, seen: Seen) -> bool:
        """Whether one instance is listed."""
        return (
            (not self.role or self.role in _roles(seen))
            and self.state in (None, seen.instance.state)
            and self.mapping in (None, seen.decision.mapping)
            and not (self.drift and seen.decision.action is Action.NOTHING)
        )


@dataclass(slots=True)
class _Count:
    """What is counted while the instances go by: all of them, and how those stand that are listed."""

    instances: int = 0
    stands: Counter[str] = field(default_factory=Counter)
    roles: set[str] = field(default_factory=set)

    def listed(self, seen: Iterable[Seen], filters: Filters) -> Iterator[dict[str, Any]]:
        """The instances that pass, as documents."""
        for each in seen:
            self.instances += 1
            self.roles |= _roles(each)
            if filters.pass_(each):
                row = document(each)
                self.stands[row["stands"]] += 1
                yield row

    def total(self) -> str:
        """The sum, for people."""
        listed = self.stands.total()
        many = "1 instance" if listed == 1 else f"{listed:,} instances"
        parts = (f"{self.stands[stands]:,} {words}" for stands, words in _TOTALS.items() if self.stands[stands])
        others = f" Not listed: {self.instances - listed:,}." if self.instances > listed else ""
        todo = "" if listed == self.stands[_OK] else "\nWhat to do about one: rolekeeper explain INSTANCE"
        return f"{many}: {', '.join(parts)}.{others}{todo}"


def show(deployment: Deployment, filters: Filters) -> ExitCode:
    """List the instances.

    Raises:
        UsageError: a filter names a role or a mapping that there isn't.
    """
    if filters.mapping:
        known.require_mapping(deployment, filters.mapping)
    count = _Count()
    state = Enforced(deployment.app.store, deployment.app.state.check_pin)
    rows = count.listed(look(deployment, state, pages(deployment, filters.tags)), filters)
    if filters.role and not known.is_known_role(deployment, filters.role):
        # It may have been deleted while instances still carry it: only they can tell.
        first = next(rows, None)
        if first is None:
            raise known.no_such_role(deployment, filters.role, count.roles)
        rows = chain([first], rows)
    render.show_list(LAYOUT, rows, empty=lambda: _empty(deployment, filters, count.instances), total=count.total)
    if why := withheld(deployment):
        output.say(f"Nothing is changed now: {why}.")
    return ExitCode.DONE


def _empty(deployment: Deployment, filters: Filters, instances: int) -> str:
    """That there is nothing to list, and what to do."""
    where = f"account {deployment.caller.account}, {deployment.session.region_name}"
    if not instances and not filters.tags:
        return f"There are no instances in {where}. Look elsewhere with --region or --profile, or launch one."
    if filters == Filters(drift=True):
        return f"No instance is in drift, waiting or blocked: all {instances:,} are as they should be."
    looked = f"of {instances:,} in {where}"
    if not instances:
        tags = " and ".join(str(each).removesuffix("=*") for each in filters.tags)
        looked = f"none in {where} has the tag {tags}"
    return f"No instance passes these filters: {looked}. See all of them: rolekeeper fleet"


def document(seen: Seen) -> dict[str, Any]:
    """One instance, for programs."""
    decision, association = seen.decision, seen.observed.association
    return {
        "instance": seen.instance.key.id,
        "name": name_of(seen.instance),
        "state": seen.instance.state.value,
        "carries": profile_name(seen.carries),
        "should_carry": profile_name(seen.should_carry),
        "mapping": str(decision.mapping) if decision.mapping else None,
        "revision": decision.revision,
        "stands": _STANDS.get(decision.action, _DRIFT),
        "action": decision.action.value,
        "code": decision.code,
        "reason": decision.reason,
        "association": association.id if association else None,
        "managed": seen.managed,
        "tags": dict(seen.instance.tags),
    }


def _roles(seen: Seen) -> set[str]:
    return {profile_name(seen.carries) or NO_ROLE, profile_name(seen.should_carry) or NO_ROLE}


def _reason(row: Mapping[str, Any]) -> str:
    return "" if row["stands"] == _OK else row["reason"]


LAYOUT = Layout(
    (
        Column("instance"),
        Column("name", folds=True),
        Column("state"),
        Column("carries", lambda row: row["carries"] or "none", folds=True),
        Column("should carry", lambda row: row["should_carry"] or "none", folds=True),
        Column("stands"),
        Column("mapping", wide=True),
        Column("association", wide=True),
    ),
    note=_reason,
    brief=True,
)
