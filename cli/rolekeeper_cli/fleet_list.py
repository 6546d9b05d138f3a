"""The fleet as a list: each instance with the role that it carries and the one that it should carry."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rolekeeper.model.instance import Action, InstanceState
from rolekeeper.model.mapping import NO_ROLE, MappingKey
from rolekeeper_cli import output, render
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.fleet import Enforced, Seen, look, pages, profile_name, withheld
from rolekeeper_cli.instances import name_of

HEAD = ("instance", "name", "state", "carries", "should carry", "mapping", "stands", "reason")
# What a decision means for a list: whether the instance is as it should be.
_STANDS = {Action.NOTHING: "ok", Action.WAIT: "waits", Action.HOLD: "blocked"}


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
        names = {profile_name(seen.carries) or NO_ROLE, profile_name(seen.should_carry) or NO_ROLE}
        return (
            (not self.role or self.role in names)
            and self.state in (None, seen.instance.state)
            and self.mapping in (None, seen.decision.mapping)
            and not (self.drift and seen.decision.action is Action.NOTHING)
        )


def show(deployment: Deployment, filters: Filters) -> ExitCode:
    """List the instances."""
    seen = look(
        deployment, Enforced(deployment.app.store, deployment.app.state.check_pin), pages(deployment, filters.tags)
    )
    render.show_rows(HEAD, _documents(seen, filters), cells)
    if why := withheld(deployment):
        output.say(f"Nothing is changed now: {why}.")
    return ExitCode.DONE


def _documents(seen: Iterable[Seen], filters: Filters) -> Iterator[dict[str, Any]]:
    return (document(each) for each in seen if filters.pass_(each))


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
        "stands": _STANDS.get(decision.action, "drift"),
        "action": decision.action.value,
        "code": decision.code,
        "reason": decision.reason,
        "association": association.id if association else None,
        "managed": seen.managed,
        "tags": dict(seen.instance.tags),
    }


def cells(row: Mapping[str, Any]) -> list[object]:
    """One instance as a table's row."""
    return [
        row["instance"],
        row["name"],
        row["state"],
        row["carries"] or "none",
        row["should_carry"] or "none",
        row["mapping"],
        row["stands"],
        row["reason"],
    ]
