"""The fleet, page by page: each instance with what Rolekeeper would do to it.

The decisions are the functions' own, as if changes were made. Whether the mode or a pause withholds them is separate.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import batched
from typing import Any

from rolekeeper.aws.ec2 import FILTER_VALUES
from rolekeeper.instances.decide import InstanceStatus as InstanceStatus  # noqa: PLC0414  # the command has it from here
from rolekeeper.instances.decide import Observation, decide, status_of
from rolekeeper.instances.observe import Unreadable, observe, observe_page
from rolekeeper.model.instance import Action, Decision, Instance, InstanceKey, in_account
from rolekeeper.model.mapping import IGNORE_TAG, NO_ROLE, Control, MappingKey, Mode, Pin, PublishedMapping
from rolekeeper.storage.layout import Key
from rolekeeper.storage.state import Snapshot, State
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.layout import arn_name, minute
from rolekeeper_cli.uses.instances import name_of, where


@dataclass(frozen=True)
class Enforced(State):
    """The state table as it would read if the mode were enforce, and, if `released`, if all were released.

    `count` gets the number of instances of each read.
    """

    released: bool = False
    count: Callable[[int], object] = lambda _: None

    @classmethod
    def of(
        cls,
        deployment: Deployment,
        remembers: dict[MappingKey, PublishedMapping] | None = None,
        *,
        released: bool = False,
    ) -> "Enforced":
        """The state table of a deployment.

        `remembers`: mappings, and tombstones, in the place of those that are published; each that is read is added.
        """
        state = deployment.app.state
        return cls(state.store, state.target, state.home, state.check_pin, remembers, released=released)

    def read(
        self,
        instances: Iterable[InstanceKey] = (),
        mappings: Iterable[MappingKey] = (),
        *,
        checked: bool = False,
        counters: Sequence[Key] = (),
    ) -> Snapshot:
        keys = list(instances)
        self.count(len(keys))
        snapshot = super().read(keys, mappings, checked=checked, counters=counters)
        if self.released:
            records = {key: replace(record, changes=()) for key, record in snapshot.records.items()}
            snapshot = replace(snapshot, pins={}, records=records)
        return replace(snapshot, control=Control(mode=Mode.ENFORCE))


@dataclass(frozen=True, slots=True)
class Seen:
    """An instance, and what Rolekeeper would do to it. `managed` says whether it carries a managed role."""

    instance: Instance
    observed: Observation
    decision: Decision
    managed: bool

    @classmethod
    def of(cls, observed: Observation, deployment: Deployment) -> "Seen":
        """What was observed of an instance that EC2 knows."""
        assert observed.instance is not None  # EC2 knows it
        settings = replace(deployment.settings, mode=Mode.ENFORCE)
        carried = observed.association.profile_arn if observed.association else ""
        managed = settings.ownership.manages(carried)
        return cls(observed.instance, observed, decide(observed, settings), managed=managed)

    @property
    def carries(self) -> str:
        """The profile that it carries, by ARN; empty for none."""
        return self.observed.association.profile_arn if self.observed.association else ""

    @property
    def standing(self) -> InstanceStatus:
        return status_of(self.decision, foreign=bool(self.carries) and not self.managed)

    @property
    def pin(self) -> Pin | None:
        """Its pin, unless that is over."""
        pin = self.observed.pin
        return None if pin and pin.expired(self.observed.asked_at) else pin

    @property
    def facts(self) -> tuple[object, ...]:
        """What a plan for it rests on: its state, tags, role and pin."""
        pin = self.pin
        return (
            self.instance.state,
            tuple(sorted(self.instance.tags.items())),
            self.observed.association.id if self.observed.association else "",
            (pin.role, pin.at) if pin else (),
        )

    @property
    def waits(self) -> str:
        """Why its change isn't made at once, in words; empty for none."""
        return self.decision.reason if self.decision.action in {Action.WAIT, Action.HOLD} else ""

    @property
    def should_carry(self) -> str:
        """The profile that it should carry in the end, by ARN; empty for none. If unknown, the current profile."""
        decision = self.decision
        if decision.action is Action.DETACH or decision.role == NO_ROLE or decision.code == "disassociating":
            return decision.profile_arn
        return decision.profile_arn or self.carries


def pages(deployment: Deployment, tags: Sequence[MappingKey] = ()) -> Iterator[list[Instance]]:
    """Pages of the instances that haven't ended; of those with all of these tags, if there are any."""
    found = deployment.app.ec2.tagged(tags[0]) if tags else deployment.app.ec2.fleet()
    for page in found:
        yield [each for each in page if not each.ended and all(tag.matches(each.tags) for tag in tags)]


def named(deployment: Deployment, ids: Iterable[str]) -> Iterator[list[Instance]]:
    """Pages of the instances with these ids, as far as EC2 knows them."""
    for some in batched(ids, FILTER_VALUES):
        yield list(deployment.app.ec2.instances(some).values())


def look(deployment: Deployment, state: State, instances: Iterable[list[Instance]]) -> Iterator[Seen | Unreadable]:
    """Decide on pages of instances, and show how far it is. One with a damaged record is given as Unreadable."""
    with deployment.progress(None, "instances looked at") as progress:
        yield from decided(deployment, state, progress.pages(instances))


def decided(deployment: Deployment, state: State, instances: Iterable[list[Instance]]) -> Iterator[Seen | Unreadable]:
    """The same, without showing how far it is."""
    for page in instances:
        for each in observe_page(page, deployment.app.ec2, state, now=deployment.now()):
            yield each if isinstance(each, Unreadable) else Seen.of(each, deployment)


def seen_now(deployment: Deployment, key: InstanceKey) -> Seen:
    """One instance as it is.

    CommandError if there is none; CorruptItemError if its record, or a mapping for its tags, is damaged.
    """
    found = observe([key], deployment.app.ec2, Enforced.of(deployment), now=deployment.now())[key]
    if found.instance is None:
        raise CommandError(f"there is no instance {key.id}", "it is gone, or in another Region")
    if isinstance(found, Unreadable):
        raise found.error
    return Seen.of(found, deployment)


def published_there(deployment: Deployment, mapping: PublishedMapping) -> PublishedMapping:
    """A mapping as it would be published for the deployment's target: with the profile of that name there."""
    if not deployment.elsewhere:
        return mapping
    if mapping.spec.units or mapping.spec.not_units:
        target = deployment.settings.target
        served = deployment.app.registry.get(target)
        in_scope = mapping.spec.covers(target.account, target.region, served.unit if served else "")
        mapping = replace(mapping, in_scope=in_scope)
    if not mapping.profile_arn:
        return mapping
    arn = in_account(mapping.profile_arn, deployment.settings.account)
    return replace(mapping, profile_arn=arn, profile_id="", former_profile_ids=frozenset())


def left_out(damaged: Unreadable) -> str:
    """What to say of an instance that can't be decided on."""
    return f"{damaged.key.id} is left out: {damaged.error.message}"


def withheld(deployment: Deployment) -> str:
    """Why nothing may be changed now; empty when it may."""
    found = deployment.app.state.read([], []).control.withholds(deployment.settings.mode)
    return found.reason if found else ""


def profile_name(arn: str) -> str | None:
    """A profile's name in its ARN; None for no profile."""
    return arn_name(arn) or None


# ---- the reason in a few words ----


@dataclass(frozen=True, slots=True)
class ShortReason:
    """Why an instance has its status: the `cause`, and what tells apart those that share it. Both may be empty."""

    cause: str = ""
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.cause} {self.detail}".strip()


_NONE = ShortReason()
# By the decision's code. What isn't here needs no words: it is as it should be, or gone, or all changes are withheld.
_SHORT = {
    "unoccupied": ShortReason("attach", "{role}"),
    "differs": ShortReason("replace", "{carries} with {role}"),
    "quarantined": ShortReason("detach", "{carries}"),
    "unmatched": ShortReason("detach", "{carries}"),
    "kept": ShortReason("kept:", "{mapping} no longer matches"),
    "not-ours": ShortReason("foreign role", "{carries}"),
    "occupied": ShortReason("foreign role", "{carries}"),
    "unexplained": ShortReason("unexplained role", "{carries}"),
    "service-managed": ShortReason("managed by", "{service}"),
    "changing": ShortReason("{state}: waits until that ends"),
    "associating": ShortReason("attaching", "{role}"),
    "disassociating": ShortReason("detaching", "{carries}"),
    "stopped": ShortReason("stopped: waits for its start"),
    "ignored": ShortReason("ignored", "{until}"),
    "ignore-unclear": ShortReason("unclear tag", IGNORE_TAG),
    "pin-unclear": ShortReason("unclear pin"),
    "contested": ShortReason("contested: another actor reverts it"),
    "tie": ShortReason("tie:", "{tied}"),
    "suspended": ShortReason("suspended:", "{mapping}"),
    "mapping-missing": ShortReason("mapping missing:", "{granted}"),
    "window": ShortReason("window: waits for room"),
    "throttled": ShortReason("throttled: tried again soon"),
    "propagating": ShortReason("profile not known to EC2 yet:", "{role}"),
    "denied": ShortReason("denied by AWS"),
    "refused": ShortReason("refused by EC2"),
}
# How an attempt at a change ended: no decision has these codes, but the instance's record may.
_TRIED = frozenset({"window", "throttled", "propagating", "denied", "refused"})


def short_reason(seen: Seen | Unreadable) -> ShortReason:
    """The reason of the status, for a list, without an ARN."""
    if isinstance(seen, Unreadable):
        return ShortReason("damaged record")
    decision, observed = seen.decision, seen.observed
    found = _SHORT.get(_code(seen), _NONE)
    if decision.code == "converged" and decision.mapping and decision.mapping.pins:
        found = ShortReason("pinned", "{until}")
    if found is _NONE or (decision.code == "unmatched" and not seen.carries):
        return _NONE  # one for all of them: most instances are ok
    service = seen.instance.managed_by.removesuffix(".amazonaws.com")
    until = seen.pin.expires_at if seen.pin else decision.until
    names = {
        "role": decision.role,
        "carries": profile_name(seen.carries),
        "mapping": decision.mapping,
        "granted": observed.grant.mapping if observed.grant else "",
        "tied": ", ".join(str(each.key) for each in observed.candidates.in_conflict),
        "state": seen.instance.state,
        # ECS and EKS, as AWS writes them.
        "service": service.upper() if len(service) == len("ecs") else service,
        "until": f"until {minute(until)}" if until else "",
    }
    return ShortReason(found.cause.format_map(names), found.detail.format_map(names))


def _code(seen: Seen) -> str:
    """The decision's; or that of the last attempt at this very change, if that failed or waits for its turn."""
    shown, decision = seen.observed.record.condition, seen.decision
    if shown and shown.code in _TRIED and decision.action.mutates:
        # The arguments of a refusal are EC2's words.
        tried = replace(decision, action=shown.action, code=shown.code, arguments=())
        if f"{shown.fingerprint}|".startswith(f"{tried.fingerprint}|"):
            return shown.code
    return decision.code


@dataclass(frozen=True, slots=True)
class Filters:
    """Which instances are listed: those that pass all filters."""

    tags: tuple[MappingKey, ...] = ()
    role: str = ""  # they carry this profile, or should; `NONE` for none
    state: str | None = None
    mapping: MappingKey | None = None
    drift: bool = False  # they aren't as they should be

    def accept(self, seen: Seen) -> bool:
        return (
            (not self.role or self.role in roles(seen))
            and self.state in (None, seen.instance.state)
            and self.mapping in (None, seen.decision.mapping)
            and not (self.drift and seen.decision.action is Action.NOTHING)
        )


@dataclass(slots=True)
class Count:
    """Counts the instances while they are listed."""

    instances: int = 0  # all of them, listed or not
    stands: Counter[str] = field(default_factory=Counter)  # how many of the listed ones have each status
    roles: set[str] = field(default_factory=set)  # the profiles that any instance carries, or should

    def accepted(self, seen: Iterable[Seen], filters: Filters) -> Iterator[Seen]:
        for each in seen:
            self.instances += 1
            self.roles |= roles(each)
            if filters.accept(each):
                self.stands[each.standing] += 1
                yield each


# Unknown while the record is damaged, except `stands` and `reason`.
_DECIDED = (
    *("carries", "should_carry", "mapping", "revision", "stands"),
    *("action", "code", "reason", "association", "managed"),
)


def document(seen: Seen | Unreadable) -> dict[str, Any]:
    """One instance, for programs. If its record is damaged, what EC2 shows of it, and why there is no decision."""
    instance = seen.instance
    assert instance is not None  # EC2 listed it
    row: dict[str, Any] = {**where(instance.key), "name": name_of(instance), "state": instance.state.value}
    row |= {**dict.fromkeys(_DECIDED), "tags": dict(instance.tags)}
    if isinstance(seen, Unreadable):
        return row | {"stands": InstanceStatus.UNKNOWN.value, "reason": seen.error.message}
    decision, association = seen.decision, seen.observed.association
    return row | {
        "carries": profile_name(seen.carries),
        "should_carry": profile_name(seen.should_carry),
        "mapping": str(decision.mapping) if decision.mapping else None,
        "revision": decision.revision,
        "stands": seen.standing.value,
        "action": decision.action.value,
        "code": decision.code,
        "reason": decision.reason,
        "association": association.id if association else None,
        "managed": seen.managed,
    }


def roles(seen: Seen) -> set[str]:
    """The profiles that it carries and should carry; `NONE` for none."""
    return {profile_name(seen.carries) or NO_ROLE, profile_name(seen.should_carry) or NO_ROLE}
