"""What governs one instance (`resolve`), what to do for it, and why (`decide`): pure, and the same for all who ask."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from rolekeeper.instances.nodes import advice_for, node_of
from rolekeeper.model.instance import (
    NO_PROFILE,
    Action,
    Association,
    AssociationState,
    Candidates,
    Condition,
    Decision,
    Grant,
    Instance,
    InstanceKey,
    InstanceRecord,
    InstanceState,
    Overridden,
)
from rolekeeper.model.mapping import (
    ANY_VALUE,
    IGNORE_TAG,
    IGNORED,
    NO_ROLE,
    PIN_TAG,
    WITHHELD,
    Control,
    MappingKey,
    MappingSpec,
    Pin,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)
from rolekeeper.model.text import shown
from rolekeeper.model.waves import Progress
from rolekeeper.settings import Ownership, Settings

_CHANGING = {InstanceState.PENDING, InstanceState.STOPPING}
# How much the clocks of two functions may differ at most.
CLOCKS = timedelta(minutes=15)
_DETACH = "aws ec2 disassociate-iam-instance-profile --association-id"


@dataclass(frozen=True, slots=True)
class Observation:
    """All that one decision depends on, as EC2 and the state table show it now. EC2 may not know the instance.

    `asked_at` is when EC2 was asked for the association, before everything else. `published` are the mappings for its
    tags. `grant` explains what the instance carries: the association's profile, or no role. `owner` is the grant's
    published mapping or tombstone, and says what happens when the tag goes. It is None if there is no grant, if the
    mapping's record is missing, or if the tag is gone and another mapping governs, as it isn't read then. `rollouts`
    say how far those mappings have come that go out in waves.
    """

    key: InstanceKey
    asked_at: datetime
    instance: Instance | None
    association: Association | None
    record: InstanceRecord
    control: Control
    grant: Grant | None = None
    candidates: Candidates = field(default_factory=Candidates)
    owner: PublishedMapping | None = None
    published: tuple[PublishedMapping, ...] = ()
    pin: Pin | None = None
    rollouts: Mapping[MappingKey, Progress | None] = field(default_factory=dict)

    @property
    def tags_read(self) -> frozenset[str]:
        """The keys of the tags that its mappings or Rolekeeper read; any other tag may hold a secret."""
        mappings = [*self.published, *([self.owner] if self.owner else [])]
        read = (name for mapping in mappings for name in (mapping.key.tag_key, *mapping.spec.require_tags))
        return frozenset({IGNORE_TAG, *read})

    @property
    def outdated(self) -> bool:
        """Whether a newer observation wrote what the instance shows: the record is read last."""
        condition = self.record.condition
        return condition is not None and condition.since > self.asked_at

    def shown(self, decision: Decision) -> Condition | None:
        """Return the condition that the instance shows, if that is exactly this decision."""
        condition = self.record.condition
        return condition if condition and condition.fingerprint == decision.fingerprint else None

    def watched_until(self, now: datetime) -> datetime | None:
        """Return until when a retry loop or a timer watches it, if one does."""
        until = self.record.condition.watched_until if self.record.condition else None
        return until if until and until > now else None

    def turn(self, decision: Decision, now: datetime) -> datetime | None:
        """Return the turn of exactly this change, if it waits for room in the window."""
        until = self.watched_until(now)
        return until if until and self.shown(waits_for_room(decision, until)) else None

    def left_turn(self, ended: Decision, now: datetime) -> datetime | None:
        """Return the reserved turn to release, if this observation `ended` with another decision."""
        condition = self.record.condition
        waited = condition is not None and condition.code == "window" and not self.shown(ended)
        return self.watched_until(now) if waited else None


def decide(seen: Observation, settings: Settings) -> Decision:
    """Decide what to do for one instance. A change is held if it is contested, or if operators withhold it."""
    decided = asked_for(seen, settings.ownership)
    if seen.rollouts:
        decided = _in_waves(seen, decided, settings.ownership)
    would = f"would {decided.action.value.lower()}: {decided.reason}"
    same = seen.record.repeated(decided.desired) if decided.action.mutates else ()
    if same and settings.contention.contended(same):
        reason = (
            f"another actor reverted this change {len(same)} times; it is left alone until its mapping, its tags "
            f"or a pin changes, or rolekeeper release. It {would}"
        )
        decided = replace(decided, action=Action.HOLD, code="contested", reason=reason)
    withheld = seen.control.withholds(settings.mode)
    if withheld and decided.action.mutates:
        reason, arguments = f"{withheld.reason}; it {would}", (*decided.arguments, seen.control.unclear)
        return replace(decided, action=Action.HOLD, code=withheld.code, reason=reason, arguments=arguments)
    if withheld and seen.control.paused:
        # The reason says that Rolekeeper is paused, even if there is nothing to do.
        return replace(decided, reason=f"{withheld.reason}; {decided.reason}")
    return decided


class InstanceStatus(StrEnum):
    """The status of an instance, in the order in which a person looks at them."""

    DRIFT = "drift"
    BLOCKED = "blocked"
    WAITING = "waiting"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"  # its record is damaged
    OK = "ok"


_STATUSES = {
    Action.NOTHING: InstanceStatus.OK,
    Action.WAIT: InstanceStatus.WAITING,
    Action.HOLD: InstanceStatus.BLOCKED,
}


def status_of(decision: Decision, *, foreign: bool) -> InstanceStatus:
    """Return the status: foreign if a foreign role is the only matter, whether or not a mapping wants another one.

    An instance that Rolekeeper is to change is in drift, whatever it carries, and whether or not changes are withheld.
    """
    if foreign and (decision.action is Action.NOTHING or decision.code == "occupied"):
        return InstanceStatus.FOREIGN
    return InstanceStatus.DRIFT if decision.code in WITHHELD else _STATUSES.get(decision.action, InstanceStatus.DRIFT)


def waits_for_room(decision: Decision, until: datetime) -> Decision:
    """Have a change wait until more instances may change."""
    reason = f"change limit for this window reached; waiting for room. Then: {decision.reason}"
    return replace(decision, action=Action.WAIT, code="window", reason=reason, until=until)


def retry_later(decision: Decision, until: datetime) -> Decision:
    """Have a change retried later: there are more changes than EC2 or ChangesPerSecond lets through."""
    reason = f"rate limit reached; retrying. Then: {decision.reason}"
    return replace(decision, action=Action.WAIT, code="throttled", reason=reason, until=until)


def _in_waves(seen: Observation, decided: Decision, ownership: Ownership) -> Decision:
    """Decide by what was published before a rollout, unless the instance moved already or may move now.

    An instance that was launched or retagged since gets the former role until the last wave: it isn't one of those that
    were counted. One that moved never goes back, as its grant says so.
    """
    mappings = {mapping.key: mapping for mapping in (*seen.published, *([seen.owner] if seen.owner else []))}
    over = {key for key, progress in seen.rollouts.items() if progress and progress.is_over}
    live = {key: one for key, one in mappings.items() if key not in over}  # an account's record may not say so yet
    rolling = {key: one for key, one in live.items() if one.former and not one.spec.expired(seen.asked_at)}
    if not (rolling and seen.instance):
        return decided
    waiting = {key: one for key, one in rolling.items() if not _has_moved(seen, one)}
    # Whatever changes it next remembers that it moved: its grant may overwrite the one that says so.
    moved = (one for key, one in rolling.items() if key not in waiting)
    decided = replace(decided, rolls=max(moved, key=lambda one: one.key == decided.mapping, default=None))
    if not waiting:
        return decided
    before = replace(_as_before(seen, seen.instance, waiting, ownership=ownership), rolls=decided.rolls)
    fails = decided.action is Action.HOLD and not before.action.mutates
    if decided == before or fails or decided.action is before.action is Action.NOTHING:
        return decided
    key = next((key for key in (decided.mapping, before.mapping) if key in waiting), next(iter(waiting)))
    progress, revision = seen.rollouts.get(key), waiting[key].revision
    if progress is None:
        return _until_its_wave(before, f"what is known of the rollout of {key} is lost")
    if decided.action in (Action.REPLACE, Action.DETACH, Action.WAIT):
        counted = not before.action.mutates and (seen.grant is None or seen.grant.at < progress.since)
        if progress.admits(seen.key.target.account) and (counted or progress.is_last):
            return replace(decided, rolls=waiting[key], moves=decided.action.mutates)
    elif progress.is_last or (decided.action is Action.ATTACH and before.code == "suspended"):
        return replace(decided, rolls=waiting[key])
    when = "its wave is still to come" if progress.may else "it is halted" if progress.halted else "it was taken back"
    return _until_its_wave(before, f"revision {revision} of {key} would change that, and {when}")


def _until_its_wave(before: Decision, why: str) -> Decision:
    """Leave an instance as it was before a rollout, and say why."""
    if before.action is not Action.NOTHING:
        return before
    return replace(before, code="rollout", reason=f"{before.reason}; {why}")


def _has_moved(seen: Observation, to: PublishedMapping) -> bool:
    """Return whether a rollout moved the instance, or tried to: a grant since it began says so."""
    progress = seen.rollouts.get(to.key)
    since = progress.since - CLOCKS if progress else None
    named = (grant for grant in seen.record.grants.values() if grant.rolls == to.rollout)
    return any(since is None or grant.at >= since for grant in named)


def _as_before(
    seen: Observation, instance: Instance, waiting: Mapping[MappingKey, PublishedMapping], *, ownership: Ownership
) -> Decision:
    """Decide as if what goes out in waves weren't published yet; the former revision doesn't expire meanwhile."""

    def former(mapping: PublishedMapping) -> PublishedMapping:
        was = waiting[mapping.key].former if mapping.key in waiting else None
        return replace(was, spec=replace(was.spec, expires_at=None)) if was else mapping

    published = tuple(map(former, seen.published))
    candidates = resolve(instance, published, seen.asked_at, pin=seen.pin)
    owner = former(seen.owner) if seen.owner else None
    return asked_for(replace(seen, candidates=candidates, owner=owner, published=published), ownership)


def asked_for(seen: Observation, ownership: Ownership) -> Decision:
    """Decide by tags, published mappings and a pin alone, without waves, contention and what operators withhold."""
    instance, association, candidates = seen.instance, seen.association, seen.candidates
    decision = partial(Decision, overridden=candidates.overridden)
    if instance is None:
        return decision(Action.NOTHING, "gone", "EC2 doesn't know the instance")
    if instance.ended:
        return decision(Action.NOTHING, "ended", f"the instance is {instance.state}")
    if instance.managed_by:
        reason = f"{instance.managed_by} manages the instance, and its role with it"
        return decision(Action.NOTHING, "service-managed", reason)
    if candidates.exclusion:
        return replace(candidates.exclusion, overridden=candidates.overridden)
    if association and association.state is AssociationState.DISASSOCIATING:
        reason = "EC2 is still detaching the former role"
        return decision(Action.WAIT, "disassociating", reason, association_id=association.id, polls=True)
    if tied := candidates.in_conflict:
        named = " and ".join(f"{mapping.key} (role {mapping.spec.role})" for mapping in tied)
        reason = f"{named} share priority {tied[0].spec.priority} but want different roles; give one a lower number"
        revisions = tuple(f"{mapping.key} {mapping.revision}" for mapping in tied)
        return decision(Action.HOLD, "tie", reason, arguments=revisions)
    # A mapping whose record is missing though its tag is there: that is damage, not an act.
    lost = seen.grant if seen.grant and not seen.owner and seen.grant.mapping.matches(instance.tags) else None
    if candidates.winner:
        return _govern(seen, instance, candidates.winner, ownership=ownership, lost=lost)
    return _ungoverned(seen, instance, ownership, lost=lost)


def _govern(
    seen: Observation, instance: Instance, winner: PublishedMapping, *, ownership: Ownership, lost: Grant | None
) -> Decision:  # one ladder, one rung per rule of the design
    """Decide for an instance that a mapping governs: attach, replace or (for `NONE`) detach."""
    association, spec, key = seen.association, winner.spec, winner.key
    decision = partial(
        Decision,
        mapping=key,
        revision=winner.revision,
        role=spec.role,
        profile_arn=winner.profile_arn,
        association_id=association.id if association else "",
        overridden=seen.candidates.overridden,
    )
    if winner.suspended_because:
        reason = f"mapping {key} can't be used: {winner.problem}"
        return decision(Action.HOLD, "suspended", reason, arguments=(str(winner.problem),))
    if not association and spec.role == NO_ROLE:
        return decision(Action.NOTHING, "converged", f"it carries no role, as {key} asks")
    remade = association is not None and association.profile_id in winner.former_profile_ids
    if association and association.profile_arn == winner.profile_arn and not remade:
        if association.state is AssociationState.ASSOCIATING:
            return decision(Action.WAIT, "associating", f"EC2 is still attaching role {spec.role}", polls=True)
        return decision(Action.NOTHING, "converged", f"it carries role {spec.role}, as {key} asks")
    foreign = association if association and not ownership.manages(association.profile_arn) else None
    if foreign and (wanted := _wanted_for_take_over(winner, ownership)):
        node = node_of(instance, foreign.profile_arn)
        hand_over = f"to hand the instance over, detach it ({_DETACH} {foreign.id}), or {' and '.join(wanted)}"
        reason = (
            f"it carries the foreign {foreign.profile_arn}, which is outside the role path, so {key} leaves it; "
            f"{advice_for(node) if node else hand_over}"
        )
        return decision(Action.HOLD, "occupied", reason, arguments=(str(ownership.take_over), node))
    # A pin is a deliberate act, so it takes over all the same.
    if lost and lost.mapping != key and not key.pins:
        return decision(Action.HOLD, "mapping-missing", _missing(lost), arguments=(str(lost.mapping),))
    if instance.state in _CHANGING:
        return _until_settled(decision, instance, f"role {spec.role}")
    if not association:
        return decision(Action.ATTACH, "unoccupied", f"{key} gives it role {spec.role}")
    instead = f", in the place of the foreign {association.profile_arn}" if foreign else ""
    decision = partial(decision, takes_over=foreign is not None)
    return _exchanged(decision, winner, instance, former=instead, remade=remade)


def _exchanged(
    decision: Callable[..., Decision], winner: PublishedMapping, instance: Instance, *, former: str, remade: bool
) -> Decision:
    """Replace a role that isn't its mapping's, or (for `NONE`) detach it."""
    spec = winner.spec
    if spec.role == NO_ROLE:
        return decision(Action.DETACH, "quarantined", f"{winner.key} says that it carries no role{former}")
    former += f"; its instance profile {spec.profile_name} was recreated" if remade else ""
    if instance.state is InstanceState.RUNNING:
        reason = f"{winner.key} gives it role {spec.role}{former}"
        return decision(Action.REPLACE, "differs", reason)
    if spec.when_stopped is WhenStopped.SWAP:
        reason = f"{winner.key} gives it role {spec.role}, swapped while stopped{former}"
        return decision(Action.REPLACE, "differs", reason, swap=True)
    reason = f"role {spec.role} replaces the present one when the instance runs again"
    return decision(Action.WAIT, "stopped", reason, takes_over=False)


def _ungoverned(seen: Observation, instance: Instance, ownership: Ownership, *, lost: Grant | None) -> Decision:
    """Decide for an instance without a mapping: the one that gave its role says whether that goes or stays."""
    association, grant, owner = seen.association, seen.grant, seen.owner
    association_id, carried = (association.id, association.profile_arn) if association else ("", NO_PROFILE)
    decision = partial(Decision, association_id=association_id, overridden=seen.candidates.overridden)
    if not association and not lost:
        return decision(Action.NOTHING, "unmatched", "no mapping for its tags")
    if association and not ownership.manages(carried):
        return decision(Action.NOTHING, "not-ours", f"no mapping for its tags; {carried} is foreign")
    if grant is None:
        node = node_of(instance, carried)
        reason = (
            f"it carries {carried}, which is under the role path though no mapping gives it and Rolekeeper didn't "
            f"attach it; {advice_for(node) if node else f'map its tags, or detach it: {_DETACH} {association_id}'}"
        )
        return decision(Action.HOLD, "unexplained", reason, arguments=(node,))
    revision = owner.revision if owner else grant.revision
    decision = partial(decision, mapping=grant.mapping, revision=revision, role=grant.role)
    if owner is None:
        return decision(Action.HOLD, "mapping-missing", _missing(grant))
    if owner.spec.when_unmatched is WhenUnmatched.KEEP:
        return decision(Action.NOTHING, "kept", f"{owner.key} no longer matches and says keep")
    if instance.state in _CHANGING:
        return _until_settled(decision, instance, "what follows the removed tag")
    over = "is over" if owner.key.pins else "no longer matches"
    return decision(Action.DETACH, "unmatched", f"{owner.key}, which gave it role {grant.role}, {over}")


def _wanted_for_take_over(winner: PublishedMapping, ownership: Ownership) -> list[str]:
    """List what the stack and the mapping must still allow before a foreign role goes. A pin needs only the stack."""
    wanted = [] if ownership.take_over else ["deploy with TakeOver=true"]
    if not winner.key.pins and winner.spec.when_occupied is WhenOccupied.KEEP:
        wanted.append("set when_occupied=replace")
    return wanted


def _missing(grant: Grant) -> str:
    return f"the published record of {grant.mapping} can't be found; a missing record changes nothing"


def _until_settled(decision: partial[Decision], instance: Instance, what: str) -> Decision:
    reason = f"the instance is {instance.state}; {what} waits until it is running or stopped"
    return decision(Action.WAIT, "changing", reason, polls=True, arguments=(instance.state,))


def mapping_keys(tags: Mapping[str, str]) -> list[MappingKey]:
    """List the keys of every mapping that could match these tags, in the order of the tags."""
    # Neither sorted nor put into a set: either takes longer than looking them up.
    return [
        MappingKey(tag, value)
        for tag, text in tags.items()
        for value in ((text, ANY_VALUE) if text != ANY_VALUE else (ANY_VALUE,))
    ]


def not_applicable_because(mapping: PublishedMapping, instance: Instance, now: datetime) -> str:
    """Explain why a mapping doesn't apply to this instance; empty if it does."""
    spec = mapping.spec
    if mapping.deleted:
        return "its row was deleted"
    if not spec.key.matches(instance.tags):
        return "the instance has no such tag"
    if not spec.enabled:
        return "it is disabled"
    if spec.expired(now):
        return f"it expired at {spec.expires_at:%Y-%m-%dT%H:%M:%SZ}"
    if spec.accounts and instance.key.account not in spec.accounts:
        return f"it is not for account {instance.key.account}"
    if instance.key.account in spec.not_accounts:
        return f"it excludes account {instance.key.account}"
    if spec.regions and instance.key.region not in spec.regions:
        return f"it is not for region {instance.key.region}"
    if not mapping.in_scope:
        return _why_no_unit(spec)
    required = {MappingKey(key, value) for key, value in spec.require_tags.items()}
    missing = [str(tag) for tag in required if not tag.matches(instance.tags)]
    if missing:
        return shown(f"it also requires {', '.join(sorted(missing))}")
    return ""


def _why_no_unit(spec: MappingSpec) -> str:
    """Explain that the units leave the account out."""
    if not spec.units:
        return "it excludes organizational units, and this account is in one of them"
    excluded = ", or is in one that it excludes" if spec.not_units else ""
    return f"it is for organizational units, and this account isn't in one of them{excluded}"


def resolve(
    instance: Instance, published: Iterable[PublishedMapping], now: datetime, pin: Pin | None = None
) -> Candidates:
    """Rank what could govern one instance: its pin, or its mappings; under the tag to ignore it only one to `NONE`."""
    ranked, excluded = _rank(instance, published, now), exclusion(instance.tags, now)
    if pin and not pin.expired(now):
        if pin.unclear:
            unclear = _left_alone(Action.HOLD, "pin-unclear", pin.unclear, unclear=pin.unclear)
            return _overruled(ranked, "the pin can't be read", unclear)
        winner = PublishedMapping(MappingSpec(MappingKey(PIN_TAG, instance.key.id), pin.role), 0, pin.profile_arn)
        overruled = replace(_overruled(ranked, "the pin comes before every mapping"), winner=winner)
        return _included(overruled, "the pin comes before that tag") if excluded else overruled
    if not excluded:
        return ranked
    if ranked.winner and ranked.winner.spec.role == NO_ROLE:
        return _included(ranked, f"{ranked.winner.key} gives it no role, which comes before that tag")
    return _overruled(ranked, excluded.reason, excluded)


def pin_over(key: MappingKey) -> PublishedMapping:
    """Return what stands for a pin that was released or has expired: a person meant that its role goes."""
    return PublishedMapping(MappingSpec(key, ""), 0, "")


def _included(ranked: Candidates, why: str) -> Candidates:
    """Let the candidates override the tag that would exclude the instance."""
    return replace(ranked, overridden=(Overridden(IGNORED, why), *ranked.overridden))


def _overruled(ranked: Candidates, why: str, excluded: Decision | None = None) -> Candidates:
    """Take the winner from the candidates: the mapping that would have governed is overridden."""
    lost = tuple(Overridden(mapping.key, why) for mapping in ranked.best)
    return Candidates(overridden=(*lost, *ranked.overridden), exclusion=excluded)


def _rank(instance: Instance, published: Iterable[PublishedMapping], now: datetime) -> Candidates:
    """Rank by priority, the lowest number first, as in load-balancer rules; then by key, if the mappings agree."""
    ranked = sorted(published, key=lambda mapping: (mapping.spec.priority, mapping.key))
    judged = [(mapping, not_applicable_because(mapping, instance, now)) for mapping in ranked]
    applicable = [mapping for mapping, why in judged if not why]
    overridden = [Overridden(mapping.key, why) for mapping, why in judged if why and mapping.key.matches(instance.tags)]
    if not applicable:
        return Candidates(overridden=tuple(overridden))
    first = applicable[0]
    top = [mapping for mapping in applicable if mapping.spec.priority == first.spec.priority]
    overridden += [
        Overridden(mapping.key, f"priority {mapping.spec.priority} comes after {first.spec.priority} of {first.key}")
        for mapping in applicable[len(top) :]
    ]
    if any(other.wants != first.wants for other in top[1:]):
        return Candidates(in_conflict=tuple(top), overridden=tuple(overridden))
    overridden += [
        Overridden(mapping.key, f"wants the same role as {first.key}, which comes first") for mapping in top[1:]
    ]
    return Candidates(winner=first, overridden=tuple(overridden))


def exclusion(tags: Mapping[str, str], now: datetime) -> Decision | None:
    """Exclude an instance whose own tag says `true` or a time in the future, or can't be read."""
    text = tags.get(IGNORE_TAG, "false")
    if text.strip().lower() == "false":
        return None
    if text.strip().lower() == "true":
        return _left_alone(Action.NOTHING, "ignored", f"its tag {IGNORE_TAG} says true")
    until = None
    with suppress(ValueError):
        until = datetime.fromisoformat(text.strip())
    if until is None or until.tzinfo is None:
        wanted = "write true, or a time with its zone, as 2026-12-31T18:00:00Z"
        reason = f"its tag {IGNORE_TAG} says {text!r:.60}; {wanted}"
        return _left_alone(Action.HOLD, "ignore-unclear", reason, unclear=text)
    if until <= now:
        return None
    return _left_alone(Action.WAIT, "ignored", f"its tag {IGNORE_TAG} says until {text.strip()}", until=until)


def _left_alone(action: Action, code: str, reason: str, until: datetime | None = None, unclear: str = "") -> Decision:
    """Leave the instance as it is, until a time or because a tag or a pin is `unclear`."""
    return Decision(action, code, reason, until=until, arguments=(str(until), unclear))
