"""What an instance should carry, by its tags, the mappings and the path: as docs/concepts.md and mappings.md say.

Written without the code under test. Which mapping applies is in `mapping_rules`. The laws of `decide`, the simulation
and chaos on the embedded AWS go by this one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rolekeeper.model.mapping import (
    IGNORE_TAG,
    PIN_TAG,
    MappingKey,
    Pin,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)
from spec.mapping_rules import applies, carries


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


@dataclass(frozen=True)
class Wanted:
    """The profile that an instance ends up with, by ARN; and the code that it shows if that isn't what is asked for."""

    carries: str
    shows: str = ""


def wanted(seen: Situation) -> Wanted:
    """What an instance carries once Rolekeeper has finished, while nothing is withheld."""
    stays = Wanted(seen.carries)
    if seen.state in ("shutting-down", "terminated"):
        return Wanted("")
    if seen.service:
        return stays
    if seen.pin and not seen.pin.expired(seen.now):
        if seen.pin.unclear:
            return Wanted(seen.carries, "pin-unclear")
        return _governed(seen, seen.pin.profile_arn, allows=True, when_stopped=WhenStopped.WAIT)
    best = governing(seen)
    if excluded(seen.tags, seen.now) and not quarantined(best):
        return stays
    if len({(each.spec.role, each.profile_arn) for each in best}) > 1:
        return Wanted(seen.carries, "tie")
    if not best:
        return _ungoverned(seen)
    first = min(best, key=lambda each: each.key)
    if first.suspended_because:
        return Wanted(seen.carries, "suspended")
    allows, when_stopped = first.spec.when_occupied is WhenOccupied.REPLACE, first.spec.when_stopped
    found = _governed(seen, first.profile_arn, allows=allows, when_stopped=when_stopped)
    lost = seen.grants.get(seen.carries)
    damaged = lost is not None and lost != first.key and _owner(seen, lost) is None and carries(seen.tags, lost)
    return Wanted(seen.carries, "mapping-missing") if damaged and found.carries != seen.carries else found


def governing(seen: Situation) -> list[PublishedMapping]:
    """The mappings that apply, of the lowest number."""
    apply = [each for each in seen.mappings if applies(each, seen.tags, seen.now, seen.account, seen.region)]
    lowest = min((each.spec.priority for each in apply), default=0)
    return [each for each in apply if each.spec.priority == lowest]


def quarantined(best: Sequence[PublishedMapping]) -> bool:
    """Whether what governs takes the role away: the tag that excludes an instance doesn't keep it from that."""
    return {each.spec.role for each in best} == {"NONE"}


def managed(profile_arn: str) -> bool:
    return ":instance-profile/rolekeeper/" in profile_arn


def excluded(tags: Mapping[str, str], now: datetime) -> bool:
    """Whether an instance's own tag leaves it alone."""
    text = tags.get(IGNORE_TAG, "false").strip()
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        return text.lower() != "false"
    return until.tzinfo is None or until > now


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
    owner = _owner(seen, given)
    if owner is None:
        return Wanted(seen.carries, "mapping-missing")
    return Wanted(seen.carries if owner.spec.when_unmatched is WhenUnmatched.KEEP else "")


def _owner(seen: Situation, key: MappingKey) -> PublishedMapping | None:
    return next((each for each in seen.mappings if each.key == key), None)
