"""Mappings, and operators' overrides: pins, the mode, a pause."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from rolekeeper.model.problem import Kind, Problem, Remedy
from rolekeeper.model.text import key_text, shown

ANY_VALUE = "*"
NO_ROLE = "NONE"
BELOW = "/*"  # after a unit's id: that unit and all below it, as in `aws:PrincipalOrgPaths`
RESERVED = "rolekeeper:"  # tags that begin so are instructions to Rolekeeper: no mapping can use them
IGNORE_TAG, PIN_TAG = "rolekeeper:ignore", "rolekeeper:pin"
# What a pin may name: IAM API reference, `GetRole` and `GetInstanceProfile`.
_NAMED = {
    "role": re.compile("[A-Za-z0-9_+=,.@-]{0,64}"),
    "profile_arn": re.compile("|arn:[!-~]{0,999}[A-Za-z0-9_+=,.@-]"),
}


class WhenOccupied(StrEnum):
    """What a mapping does with a foreign role: one whose profile is outside the role path."""

    KEEP = "keep"
    REPLACE = "replace"


class WhenUnmatched(StrEnum):
    """What happens to the role that a mapping gave when the mapping no longer matches."""

    DETACH = "detach"
    KEEP = "keep"


class WhenStopped(StrEnum):
    """How a role is replaced on a stopped instance: EC2 replaces running ones only."""

    WAIT = "wait"
    SWAP = "swap"


class OnHalt(StrEnum):
    """What a halted rollout does: it waits for a person, or goes back by itself."""

    WAIT = "wait"
    ROLLBACK = "rollback"


class Mode(StrEnum):
    """Whether decisions are applied (`enforce`) or only recorded (`observe`)."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True, order=True)
class MappingKey:
    """A mapping row's key; `tag_value` is `*` for any value."""

    tag_key: str
    tag_value: str

    def __str__(self) -> str:
        if self == IGNORED:
            return f"the tag {IGNORE_TAG}"
        return "the pin" if self.tag_key == PIN_TAG else key_text(self.tag_key, self.tag_value)

    @property
    def pins(self) -> bool:
        """Whether this key is a pin's, in a grant or a decision, and not a row's."""
        return self.tag_key == PIN_TAG

    def remedy(self, kind: Kind, *more: str) -> Remedy:
        return Remedy(kind, (self.tag_key, self.tag_value, *more))

    def matches(self, tags: Mapping[str, str]) -> bool:
        return self.tag_key in tags and self.tag_value in (ANY_VALUE, tags[self.tag_key])


# Stands for an instance's own tag among what is overridden. It is no row's key: those are never empty.
IGNORED = MappingKey(IGNORE_TAG, "")
# Stands for the pin of some instance.
PINNED = MappingKey(PIN_TAG, "")

# The columns that change nothing on any instance: who answers for a row, and in which waves it goes out.
_ABOUT = ("rollout", "halt_on", "halt_after", "on_halt", "owner", "description")


@dataclass(frozen=True, slots=True)
class MappingSpec:
    """What a mapping row says, once its columns are read (the table in docs/mappings.md)."""

    key: MappingKey
    role: str
    instance_profile: str = ""
    priority: int = 100
    enabled: bool = True
    when_occupied: WhenOccupied = WhenOccupied.KEEP
    when_unmatched: WhenUnmatched = WhenUnmatched.DETACH
    when_stopped: WhenStopped = WhenStopped.WAIT
    allow_broad: bool = False
    require_tags: Mapping[str, str] = field(default_factory=dict)
    accounts: frozenset[str] = frozenset()
    not_accounts: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()
    not_units: frozenset[str] = frozenset()
    rollout: str = ""
    halt_on: frozenset[str] | None = None
    halt_after: int | None = None
    on_halt: OnHalt | None = None
    expires_at: datetime | None = None
    owner: str = ""
    description: str = ""

    @property
    def profile_name(self) -> str:
        return self.instance_profile or self.role

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def gives_as(self, other: "MappingSpec") -> bool:
        """Return whether it gives the same roles to the same instances, however it got there."""
        return replace(self, **{name: getattr(other, name) for name in _ABOUT}) == other

    def covers(self, account: str, region: str, unit: str | None) -> bool:
        """Return whether its scope has this account and Region; `unit` is empty for none, None for any."""
        return (
            (not self.accounts or account in self.accounts)
            and account not in self.not_accounts
            and (not self.regions or region in self.regions)
            and (unit is None or self.allows_unit(unit))
        )

    def allows_unit(self, unit: str) -> bool:
        """Return whether it is for accounts of a unit, as their spokes say it: empty for none."""
        return (not self.units or is_within(unit, self.units)) and not is_within(unit, self.not_units)

    def is_unclear(self, unit: str) -> bool:
        """Return whether a spoke says too little to tell whether its account is below a unit, or in an excluded one."""
        if unit.startswith("r-") or is_within(unit, self.not_units):
            return False
        asked = self.not_units if is_within(unit, self.units) else self.units | self.not_units
        return any(named.endswith(BELOW) for named in asked) if unit else bool(self.not_units)

    def could_meet(self, other: "MappingSpec") -> bool:
        """Return whether some account and Region could be in the scope of both."""
        return (
            _meet(self.accounts, other.accounts, self.not_accounts | other.not_accounts)
            and _meet(self.regions, other.regions, frozenset())
            and _meet(self.units, other.units, self.not_units | other.not_units)
        )


def is_within(path: str, units: AbstractSet[str]) -> bool:
    """Return whether an account is in one of these units; its `path` begins at the root, or is its unit alone."""
    ids = path.split("/")
    return not units.isdisjoint((ids[-1], *(f"{unit}{BELOW}" for unit in ids)))


def _meet(mine: AbstractSet[str], theirs: AbstractSet[str], excluded: AbstractSet[str]) -> bool:
    """Return whether something could be in one of each (an empty one is any), and in none that is excluded.

    Which unit is below which isn't known, and may change: any could be below any other.
    """
    free, others = ({unit for unit in some if excluded.isdisjoint((unit, unit + BELOW))} for some in (mine, theirs))
    if not (mine and theirs):
        return bool(free or others or not (mine or theirs))
    return bool(free & others or (free and others and any(unit.endswith(BELOW) for unit in free | others)))


@dataclass(frozen=True, slots=True)
class PublishedMapping:
    """A mapping that passed every check: the only kind that the reconciler obeys.

    `profile_arn` is empty for `NONE`. `suspended_because` says why nothing changes on its instances, `suspended_in` in
    which account something is missing, and `remedy` what to do about it. `deleted` marks a removed row's tombstone: it
    detaches; a missing record is damage, and holds.
    `former_profile_ids` are of deleted profiles of the same name; `profile_id` is empty until it is seen. `in_scope` is
    whether its account was in one of its units, if it names some: only the hub knows that. While it goes out in waves,
    `former` is what was published there before.
    """

    spec: MappingSpec
    revision: int
    profile_arn: str
    suspended_because: str = ""
    deleted: bool = False
    profile_id: str = field(default="", compare=False)
    former_profile_ids: frozenset[str] = field(default=frozenset(), compare=False)
    remedy: str = ""
    in_scope: bool = True
    suspended_in: str = field(default="", compare=False)
    former: "PublishedMapping | None" = field(default=None, compare=False)

    @property
    def key(self) -> MappingKey:
        return self.spec.key

    @property
    def rollout(self) -> str:
        """The name of its rollout, as the grants of what that moved have it."""
        return f"{self.key} {self.revision}"

    @property
    def wants(self) -> tuple[str, str]:
        """Mappings that want the same agree."""
        return self.spec.role, self.profile_arn

    @property
    def problem(self) -> Problem | None:
        if not self.suspended_because:
            return None
        return Problem(self.suspended_because, self.remedy, account=self.suspended_in)

    def suspended_for(self, problem: Problem | None) -> "PublishedMapping":
        """Suspend it because of a problem, or resume it."""
        why = problem or Problem("")
        return replace(self, suspended_because=why.what, remedy=why.remedy, suspended_in=why.account)

    def after(self, before: "PublishedMapping | None") -> "PublishedMapping":
        """Have it go out in waves: until then an instance is governed as `before`, or not at all."""
        if before and before.revision == self.revision:
            return replace(self, former=before.former)
        nothing = replace(self, revision=0, deleted=True)
        return replace(self, former=replace(before or nothing, former=None))

    @property
    def spec_before(self) -> MappingSpec:
        """What the row says once a rollout goes back: what it said before, or that a new one is disabled."""
        if self.former is None or self.former.deleted:
            return replace(self.spec, enabled=False)
        return self.former.spec

    def is_idle(self, now: datetime) -> bool:
        return self.deleted or not self.spec.enabled or self.spec.expired(now)

    def with_profile_id(self, profile_id: str, carried: AbstractSet[str] = frozenset()) -> "PublishedMapping":
        """Set the profile's present id in IAM, if it has one; others, known or carried, are former ids."""
        if not profile_id:
            return self
        former = (self.former_profile_ids | {self.profile_id} | carried) - {"", profile_id}
        return replace(self, profile_id=profile_id, former_profile_ids=former)


@dataclass(frozen=True, slots=True)
class Outgrown:
    """A held revision that would change more by now: which, what was shown, and the accounts that `came` since."""

    revision: int
    changes: int
    came: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Held:
    """A revision that waits for approval: its mapping or tombstone, and who claims to have written it, if anyone does.

    `outcome` is how it ended, if it did: published, or discarded. `signers` are those who wrote an approval since, by
    aws:userid. The others say what was shown when it was held: how many changes of other edits counted (`took`), how
    many instances would change, how many of them lose a role (`takes`), which `severe` permissions come with it, in
    which accounts it was counted, the `digest` of content and accounts, and which revision it has `outgrown`.
    """

    mapping: PublishedMapping
    at: datetime
    by: str = ""
    outcome: str = ""
    took: int = 0
    changes: int = 0
    takes: int = 0
    severe: frozenset[str] = frozenset()
    counted_in: frozenset[str] = frozenset()
    digest: str = ""
    outgrown: Outgrown | None = None
    signers: frozenset[str] = frozenset()


# The longest ARN that an approver claims, as of an editor.
_CLAIMED = 1_024


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person signed: a revision, the digest of what was held under it, and the counts that were shown.

    `by` is their aws:userid, which IAM proves; the `arn` is what they claim.
    """

    by: str
    revision: int = 0
    digest: str = ""
    changes: int = 0
    takes: int = 0
    arn: str = ""

    @classmethod
    def read(cls, by: str, item: Mapping[str, Any]) -> "Approval":
        """Read an item that people write: what isn't a number counts as 0, what isn't a text as none."""
        read: dict[str, Any] = {}
        for name, value in item.items():
            if name in ("revision", "changes", "takes") and isinstance(value, Decimal) and value.is_finite():
                read[name] = int(value)
            elif name in ("digest", "arn") and isinstance(value, str):
                read[name] = value[:_CLAIMED]
        return cls(by, **read)


def same_person(editor: str, approver: str) -> bool:
    """Return whether these claimed ARNs are one person's; the account's root is no person."""
    return editor == approver != "" and not editor.endswith(":root")


@dataclass(frozen=True, slots=True)
class Pin:
    """An operator's override for one instance, above all mappings. If it is `unclear` the instance is on hold."""

    role: str
    profile_arn: str = ""
    expires_at: datetime | None = None
    at: str = ""
    by: str = ""
    reason: str = ""
    unclear: str = ""
    allow_broad: bool = False

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    @classmethod
    def read(cls, item: Mapping[str, Any]) -> "Pin":
        """Read a pin's item, which people write too; what can't be read of it is `unclear`."""
        texts = {name: item.get(name, "") for name in ("role", "profile_arn", "expires_at", "at", "by", "reason")}
        if wrong := next((name for name, text in texts.items() if not isinstance(text, str)), ""):
            return cls("", unclear=f"the pin's {wrong} isn't a String")
        texts |= {name: shown(texts[name]) for name in ("at", "by", "reason")}
        until, expires_at = texts.pop("expires_at"), None
        with suppress(ValueError):
            expires_at = datetime.fromisoformat(until)
        if until and (expires_at is None or expires_at.tzinfo is None):
            return cls("", unclear=f"the pin's expires_at is {until!r:.60}; write date, time and zone in ISO 8601")
        if not texts["role"]:
            return cls("", unclear=f"the pin names no role; write one, or {NO_ROLE}")
        if (texts["role"] == NO_ROLE) == bool(texts["profile_arn"]):
            return cls("", unclear=f"the pin's profile_arn must be the profile of its role, and absent for {NO_ROLE}")
        if wrong := next((name for name, form in _NAMED.items() if not form.fullmatch(texts[name])), ""):
            return cls("", unclear=f"the pin's {wrong} is {texts[wrong]!r:.60}, which names none")
        # A row's consent is a Boolean too; anything else is none.
        return cls(expires_at=expires_at, allow_broad=item.get("allow_broad") is True, **texts)


NO_PIN = Pin("")

WITHHELD = frozenset({"control-unclear", "paused", "observed", "unswept"})  # the codes of `Control.withholds`


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why nothing may be changed now."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Control:
    """The switch for the whole deployment. `mode` None: as deployed. While it is `unclear` nothing is changed.

    `swept` is whether a sweep of the deployment's own target ended on this state table, and one of the instance's
    target since that is `registered`: before that nothing is changed. `notifies` is whether the account asked for the
    events about its instances.
    """

    mode: Mode | None = None
    paused: bool = False
    unclear: str = ""
    swept: bool = True
    registered: bool = True
    notifies: bool = False

    def __str__(self) -> str:
        return self.unclear or f"{'paused' if self.paused else 'not paused'}, mode {self.mode or 'as deployed'}"

    @classmethod
    def read(cls, item: Mapping[str, Any]) -> "Control":
        """Read the control item, which people write. Absent attributes mean: as deployed, not paused."""
        mode, paused = item.get("mode") or None, item.get("paused", False)
        if mode not in (None, *Mode):
            return cls(unclear=f"the control item's mode is {mode!r:.40}; write {' or '.join(Mode)}")
        if not isinstance(paused, bool):
            return cls(unclear=f"the control item's paused is {paused!r:.40}; write a Boolean")
        return cls(Mode(mode) if mode else None, paused)

    def withholds(self, deployed: Mode) -> Withheld | None:
        if self.unclear:
            return Withheld("control-unclear", self.unclear)
        if self.paused:
            return Withheld("paused", "Rolekeeper is paused")
        if (self.mode or deployed) is Mode.OBSERVE:
            return Withheld("observed", "the mode is observe")
        if not self.swept:
            return Withheld("unswept", "the first sweep hasn't finished")
        return None
