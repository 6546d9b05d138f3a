"""What an instance should carry: docs/concepts.md and docs/mappings.md, told a second time, by trying everything.

It shares nothing with `instances/decide.py`, so that the one shows the other's slips. The laws of `decide`, the
tests of `resolve`, the simulation and chaos on the embedded AWS all ask it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime
from itertools import starmap

from rolekeeper.model.instance import Action, Instance
from rolekeeper.model.mapping import (
    IGNORE_TAG,
    PIN_TAG,
    MappingKey,
    MappingSpec,
    Pin,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)

type LeftAlone = tuple[Action, str, datetime | None]
"""Why an instance is left alone: action, code and until when."""


def carries(tags: Mapping[str, str], key: MappingKey) -> bool:
    """ "A lone `*` is any value, the empty one too"; keys and values are case-sensitive."""
    return key.tag_key in tags and key.tag_value in {"*", tags[key.tag_key]}


def excuses(
    mapping: PublishedMapping, tags: Mapping[str, str], now: datetime, account: str = "", region: str = ""
) -> list[tuple[str, ...]]:
    """Why a mapping doesn't apply to an instance that carries its tag: every reason that there is, by its words."""
    spec, why = mapping.spec, list[tuple[str, ...]]()
    if mapping.deleted:
        why.append(("deleted",))
    if spec.enabled is False:
        why.append(("disabled",))
    if spec.expires_at is not None and not now < spec.expires_at:
        why.append(("expired", f"{spec.expires_at:%Y-%m-%dT%H:%M:%SZ}"))
    if len(spec.accounts) > 0 and account not in spec.accounts:
        why.append(("account", account))
    if any(each == account for each in spec.not_accounts):
        why.append(("excludes", account))
    if len(spec.regions) > 0 and region not in spec.regions:
        why.append(("region", region))
    if mapping.in_scope is False:
        why.append(("units",))
    absent = [str(each) for each in starmap(MappingKey, spec.require_tags.items()) if not carries(tags, each)]
    if absent:
        why.append(("requires", *absent))
    return why


def in_scope(spec: MappingSpec, account: str, region: str, path: Sequence[str]) -> bool:
    """Whether a row is for an account ("In several accounts"); `path` is of its units, from the root."""

    def has(units: Iterable[str]) -> bool:
        return any(each in (*path[-1:], *(f"{unit}/*" for unit in path)) for each in units)

    if account in spec.not_accounts or has(spec.not_units):
        return False
    bounds = (
        (spec.accounts, account in spec.accounts),
        (spec.regions, region in spec.regions),
        (spec.units, has(spec.units)),
    )
    return all(inside for some, inside in bounds if some)


def applies(
    mapping: PublishedMapping, tags: Mapping[str, str], now: datetime, account: str = "", region: str = ""
) -> bool:
    return carries(tags, mapping.key) and not excuses(mapping, tags, now, account, region)


@dataclass(frozen=True)
class Ranked:
    """What the rows alone say.

    Attributes:
        best: those with the lowest number, of all that apply; several agree, or are a tie.
        overridden: the words that must be in the reason of each other one whose tag the instance carries.
    """

    best: Sequence[PublishedMapping] = ()
    overridden: Mapping[MappingKey, list[tuple[str, ...]]] = field(default_factory=dict)

    @property
    def tie(self) -> bool:
        return len({(each.spec.role, each.profile_arn) for each in self.best}) > 1

    @property
    def quarantines(self) -> bool:
        """Whether what governs takes the role away: the tag that excludes an instance doesn't keep it from that."""
        return {each.spec.role for each in self.best} == {"NONE"}


def rank(
    mappings: Iterable[PublishedMapping], tags: Mapping[str, str], now: datetime, account: str = "", region: str = ""
) -> Ranked:
    """Rank all rows: "the lowest `priority` wins"; two that share it agree, or want different roles and are a tie."""
    tagged = [each for each in mappings if carries(tags, each.key)]
    overridden = {each.key: why for each in tagged if (why := excuses(each, tags, now, account, region))}
    apply = [each for each in tagged if each.key not in overridden]
    lowest = min((each.spec.priority for each in apply), default=0)
    for each in apply:
        if each.spec.priority > lowest:
            overridden[each.key] = [("priority", str(each.spec.priority), str(lowest))]
    return Ranked([each for each in apply if each.spec.priority == lowest], overridden)


def rank_for(instance: Instance, mappings: Iterable[PublishedMapping], now: datetime) -> Ranked:
    account, region, _ = astuple(instance.key)
    return rank(mappings, instance.tags, now, account, region)


def pinned(pin: Pin | None, now: datetime) -> bool:
    """Whether there is a pin that isn't over: it comes before the ignore tag, and before every mapping."""
    return pin is not None and (pin.expires_at is None or now < pin.expires_at)


def ignored(tags: Mapping[str, str], now: datetime) -> LeftAlone | None:
    """What an instance's own tag says: it is left alone for good, until a moment, or as nobody can read the tag."""
    text = tags.get(IGNORE_TAG, "false").strip()
    if text.lower() in ("true", "false"):
        return (Action.NOTHING, "ignored", None) if text.lower() == "true" else None
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        return Action.HOLD, "ignore-unclear", None
    if until.tzinfo is None:
        return Action.HOLD, "ignore-unclear", None
    return (Action.WAIT, "ignored", until) if until > now else None


def left_alone(pin: Pin | None, tags: Mapping[str, str], now: datetime, *, quarantined: bool) -> LeftAlone | None:
    """Why an instance is left alone, if it is. Its rows matter only if the best say `NONE`."""
    if pin and pinned(pin, now):
        return (Action.HOLD, "pin-unclear", None) if pin.unclear else None
    return None if quarantined else ignored(tags, now)


@dataclass(frozen=True)
class Situation:
    """One instance, and all that is known of it.

    Attributes:
        carries: the ARN of its profile, empty for none.
        mappings: every published mapping, tombstones too; one whose record was lost is missing.
        grants: by a profile's ARN, the mapping for which Rolekeeper asked EC2 to attach it.
        service: whether an AWS service manages the instance.
        take_over: whether the deployment lets foreign roles be taken away.
        account: where the instance is, and `region`: for mappings that are for some only.
    """

    tags: Mapping[str, str]
    carries: str
    mappings: Sequence[PublishedMapping]
    now: datetime
    grants: Mapping[str, MappingKey] = field(default_factory=dict)
    pin: Pin | None = None
    state: str = "running"
    service: bool = False
    take_over: bool = False
    account: str = ""
    region: str = ""

    @property
    def ranked(self) -> Ranked:
        return rank(self.mappings, self.tags, self.now, self.account, self.region)

    def owner(self, key: MappingKey) -> PublishedMapping | None:
        return next((each for each in self.mappings if each.key == key), None)


@dataclass(frozen=True)
class Wanted:
    """The profile that an instance ends up with, by ARN; and the code that it shows if that isn't what is asked for."""

    carries: str
    shows: str = ""


def wanted(seen: Situation) -> Wanted:
    """What an instance carries once Rolekeeper has finished, while nothing is withheld."""
    stays, ranked = Wanted(seen.carries), seen.ranked
    if seen.state in ("shutting-down", "terminated"):
        return Wanted("")
    if seen.service:
        return stays
    if excluded := left_alone(seen.pin, seen.tags, seen.now, quarantined=ranked.quarantines):
        _, code, _ = excluded
        return Wanted(seen.carries, "pin-unclear") if code == "pin-unclear" else stays
    if seen.pin and pinned(seen.pin, seen.now):
        return _governed(seen, seen.pin.profile_arn, allows=True, when_stopped=WhenStopped.WAIT)
    if ranked.tie:
        return Wanted(seen.carries, "tie")
    if not ranked.best:
        return _ungoverned(seen)
    first = min(ranked.best, key=lambda each: each.key)
    if first.suspended_because:
        return Wanted(seen.carries, "suspended")
    allows, when_stopped = first.spec.when_occupied is WhenOccupied.REPLACE, first.spec.when_stopped
    found = _governed(seen, first.profile_arn, allows=allows, when_stopped=when_stopped)
    lost = seen.grants.get(seen.carries)
    damaged = lost is not None and lost != first.key and seen.owner(lost) is None and carries(seen.tags, lost)
    as_it_is = found in (stays, Wanted(seen.carries, "occupied"))
    return Wanted(seen.carries, "mapping-missing") if damaged and not as_it_is else found


def managed(profile_arn: str) -> bool:
    return ":instance-profile/rolekeeper/" in profile_arn


def _governed(seen: Situation, profile_arn: str, *, allows: bool, when_stopped: WhenStopped) -> Wanted:
    if seen.carries == profile_arn:
        return Wanted(profile_arn)
    if seen.carries and not managed(seen.carries) and not (allows and seen.take_over):
        return Wanted(seen.carries, "occupied")
    if seen.state == "stopped" and seen.carries and profile_arn and when_stopped is WhenStopped.WAIT:
        return Wanted(seen.carries, "stopped")
    return Wanted(profile_arn)


def _ungoverned(seen: Situation) -> Wanted:
    if not seen.carries or not managed(seen.carries):
        return Wanted(seen.carries)
    if seen.carries not in seen.grants:
        return Wanted(seen.carries, "unexplained")
    given = seen.grants[seen.carries]
    if given.tag_key == PIN_TAG:
        return Wanted("")
    owner = seen.owner(given)
    if owner is None:
        return Wanted(seen.carries, "mapping-missing")
    return Wanted(seen.carries if owner.spec.when_unmatched is WhenUnmatched.KEEP else "")
