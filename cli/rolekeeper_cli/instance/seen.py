"""The fleet, page by page: each instance with what Rolekeeper would do to it.

The decisions are the functions' own, as if changes were made. Whether the mode or a pause withholds them is separate.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import batched

from rolekeeper.aws.ec2 import FILTER_VALUES
from rolekeeper.instances.decide import InstanceStatus as InstanceStatus  # noqa: PLC0414  # the command has it from here
from rolekeeper.instances.decide import Observation, decide, mapping_keys, status_of
from rolekeeper.instances.observe import Unreadable, observe, observe_page
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Action, Decision, Instance, InstanceKey
from rolekeeper.model.mapping import IGNORE_TAG, NO_ROLE, Control, MappingKey, Mode, Pin, PublishedMapping
from rolekeeper.storage.layout import Key
from rolekeeper.storage.state import Snapshot, State
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.row.effect import TRIED, Effect, NotInEffect, Rows, last_attempt, of_instance, published_there
from rolekeeper_cli.shell.layout import arn_name, minute, several

# The most of an instance's mappings that its reason names.
_NAMED = 3


@dataclass(frozen=True)
class Enforced(State):
    """The state table as it would read if the mode were enforce, and, if `released`, if all were released.

    `count` gets the number of instances of each read. With `rows`, those for the instances' tags are read too: only
    they say which edits aren't in effect.
    """

    released: bool = False
    count: Callable[[int], object] = lambda _: None
    rows: Rows | None = None

    @classmethod
    def of(
        cls,
        deployment: Deployment,
        remembers: dict[MappingKey, PublishedMapping] | None = None,
        *,
        released: bool = False,
        rows: Rows | None = None,
    ) -> "Enforced":
        """The state table of a deployment.

        `remembers`: mappings, and tombstones, in the place of those that are published; each that is read is added.
        """
        state = deployment.app.state
        return cls(state.store, state.target, state.home, state.check_pin, remembers, released=released, rows=rows)

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
    """An instance, and what Rolekeeper would do to it. `managed` says whether it carries a managed role.

    `effect` is what is in effect for it; known only if the rows for its tags were read.
    """

    instance: Instance
    observed: Observation
    decision: Decision
    managed: bool
    effect: Effect = field(default_factory=Effect)

    @classmethod
    def of(cls, observed: Observation, deployment: Deployment, rows: Rows | None = None) -> "Seen":
        """What was observed of an instance that EC2 knows; the rows for its tags were read."""
        assert observed.instance is not None  # EC2 knows it
        settings = replace(deployment.settings, mode=Mode.ENFORCE)
        carried = observed.association.profile_arn if observed.association else ""
        managed, decision = settings.ownership.manages(carried), decide(observed, settings)
        effect = Effect()
        if rows:
            found = rows.of_keys(mapping_keys(observed.instance.tags))
            effect = of_instance(observed, decision, found, there=partial(published_there, deployment))
        return cls(observed.instance, observed, decision, managed=managed, effect=effect)

    @property
    def carries(self) -> str:
        """The profile that it carries, by ARN; empty for none."""
        return self.observed.association.profile_arn if self.observed.association else ""

    @property
    def standing(self) -> InstanceStatus:
        """Its status. Without a mapping it waits for the edits that are to give it one, or is blocked by their faults.

        An instance is in drift if Rolekeeper is to change it: what that word means everywhere.
        """
        found = status_of(self.decision, foreign=bool(self.carries) and not self.managed)
        edits = self.effect.edits if self.is_unmapped and found is InstanceStatus.OK else ()
        blocked = any(edit.status in {Status.REJECTED, Status.CONFLICT} for edit in edits)
        return InstanceStatus.BLOCKED if blocked else InstanceStatus.WAITING if edits else found

    @property
    def is_unmapped(self) -> bool:
        """Whether no mapping for its tags is in effect, and it carries no role or a foreign one."""
        return self.decision.action is Action.NOTHING and self.decision.code in {"unmatched", "not-ours"}

    @property
    def because(self) -> str:
        """Why it has its status: the decision's reason, which doesn't know the rows."""
        if not (self.is_unmapped and self.named):
            return self.decision.reason
        return f"no mapping for its tags is in effect{f'; {self.carries} is foreign' if self.carries else ''}"

    @property
    def named(self) -> Sequence[NotInEffect]:
        """The edits that concern it; without a mapping also the mappings that don't apply to it."""
        applies = (each for each in self.effect.missing if each.mapping and each.code != "deleted")
        return [each for each in applies if each.is_edit or self.is_unmapped]

    @property
    def reason(self) -> str:
        """The same, with how the last attempt at its change ended, and what of its mappings isn't in effect."""
        tried = next((missing for missing in self.effect.missing if missing.code in TRIED), None)
        because, named = str(tried) if tried else self.because, self.named
        joint = ":" if self.is_unmapped and not self.carries else ";"
        return f"{because}{joint} {several(named, _NAMED)}" if named else because

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


def look(deployment: Deployment, state: Enforced, instances: Iterable[list[Instance]]) -> Iterator[Seen | Unreadable]:
    """Decide on pages of instances, and show how far it is. One with a damaged record is given as Unreadable."""
    with deployment.progress(None, "instances looked at") as progress:
        yield from decided(deployment, state, progress.pages(instances))


def decided(
    deployment: Deployment, state: Enforced, instances: Iterable[list[Instance]]
) -> Iterator[Seen | Unreadable]:
    """The same, without showing how far it is."""
    for page in instances:
        if state.rows:
            state.rows.of_page(page)
        for each in observe_page(page, deployment.app.ec2, state, now=deployment.now()):
            yield each if isinstance(each, Unreadable) else Seen.of(each, deployment, state.rows)


def seen_now(deployment: Deployment, key: InstanceKey, *, rows: Rows | None = None) -> Seen:
    """One instance as it is.

    With `rows`, those for its tags are read too. CommandError if there is none; CorruptItemError if its record, or a
    mapping for its tags, is damaged.
    """
    found = observe([key], deployment.app.ec2, Enforced.of(deployment), now=deployment.now())[key]
    if found.instance is None:
        raise CommandError(f"there is no instance {key.id}", "it is gone, or in another Region")
    if isinstance(found, Unreadable):
        raise found.error
    if rows:
        rows.of_page([found.instance])
    return Seen.of(found, deployment, rows)


def left_out(damaged: Unreadable) -> str:
    return f"{damaged.key.id} is left out: {damaged.error.message}"


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


def short_reason(seen: Seen | Unreadable) -> ShortReason:
    """The reason of the status, for a list, without an ARN."""
    if isinstance(seen, Unreadable):
        return ShortReason("damaged record")
    decision, observed = seen.decision, seen.observed
    attempt = last_attempt(observed, decision)
    found = _SHORT.get(attempt.code if attempt else decision.code, _NONE)
    if decision.code == "converged" and decision.mapping and decision.mapping.pins:
        found = ShortReason("pinned", "{until}")
    if found is _NONE or (decision.code == "unmatched" and not seen.carries):
        if not seen.named:  # most instances
            return _NONE
        missing = seen.named[0]
        number = f" revision {missing.revision}" if missing.revision else ""
        return ShortReason(f"{missing.code.replace('-', ' ')}:", f"{missing.mapping}{number}")
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


@dataclass(frozen=True, slots=True)
class Filters:
    """Which instances are listed: those that pass all filters."""

    tags: tuple[MappingKey, ...] = ()
    role: str = ""  # they carry this profile, or should; `NONE` for none
    state: str | None = None
    mapping: MappingKey | None = None
    statuses: frozenset[str] = frozenset()  # any of them, or all without one

    def accept(self, seen: Seen) -> bool:
        return (
            (not self.role or self.role in roles(seen))
            and self.state in (None, seen.instance.state)
            and self.mapping in (None, seen.decision.mapping)
            and (not self.statuses or seen.standing in self.statuses)
        )


@dataclass(slots=True)
class Count:
    """Counts the instances while they are listed."""

    instances: int = 0  # all of them, listed or not
    stands: Counter[str] = field(default_factory=Counter)  # how many of the listed ones have each status
    roles: set[str] = field(default_factory=set)  # the profiles that any instance carries, or should
    edits: Counter[NotInEffect] = field(default_factory=Counter)  # how many of the listed ones each edit concerns

    def accepted(self, seen: Iterable[Seen], filters: Filters) -> Iterator[Seen]:
        for each in seen:
            self.instances += 1
            self.roles |= roles(each)
            if filters.accept(each):
                self.stands[each.standing] += 1
                self.edits.update(each.effect.edits)
                yield each


def roles(seen: Seen) -> set[str]:
    """The profiles that it carries and should carry; `NONE` for none."""
    return {profile_name(seen.carries) or NO_ROLE, profile_name(seen.should_carry) or NO_ROLE}
