"""Which mapping governs an instance, or its pin, or the tag that excludes it: pure, and the same for all who ask."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from rolekeeper.model import shown
from rolekeeper.model.instance import Action, Candidates, Decision, Instance, Overridden
from rolekeeper.model.mapping import ANY_VALUE, IGNORE_TAG, PIN_TAG, MappingKey, MappingSpec, Pin, PublishedMapping


def mapping_keys(tags: Mapping[str, str]) -> list[MappingKey]:
    """The keys of every mapping that could match these tags, in the order of the tags."""
    # Neither sorted nor put into a set: either takes longer than looking them up.
    return [
        MappingKey(tag, value)
        for tag, text in tags.items()
        for value in ((text, ANY_VALUE) if text != ANY_VALUE else (ANY_VALUE,))
    ]


def not_applicable_because(mapping: PublishedMapping, instance: Instance, now: datetime) -> str:
    """Why it doesn't apply to this instance, in words; empty when it does."""
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
    if spec.regions and instance.key.region not in spec.regions:
        return f"it is not for region {instance.key.region}"
    required = {MappingKey(key, value) for key, value in spec.require_tags.items()}
    missing = [str(each) for each in required if not each.matches(instance.tags)]
    if missing:
        return shown(f"it also requires {', '.join(sorted(missing))}")
    return ""


def resolve(
    instance: Instance, published: Iterable[PublishedMapping], now: datetime, pin: Pin | None = None
) -> Candidates:
    """What governs one instance: its pin, nothing where its tag excludes it, or the best of its mappings."""
    ranked = _rank(instance, published, now)
    if pin and not pin.expired(now):
        if pin.unclear:
            unclear = _left_alone(Action.HOLD, "pin-unclear", pin.unclear, unclear=pin.unclear)
            return _overruled(ranked, "the pin can't be read", unclear)
        winner = PublishedMapping(MappingSpec(MappingKey(PIN_TAG, instance.key.id), pin.role), 0, pin.profile_arn)
        return replace(_overruled(ranked, "the pin comes before every mapping"), winner=winner)
    if excluded := exclusion(instance.tags, now):
        return _overruled(ranked, excluded.reason, excluded)
    return ranked


def _overruled(ranked: Candidates, why: str, excluded: Decision | None = None) -> Candidates:
    """The same with no winner: whichever would have governed loses."""
    would = ranked.in_conflict or ((ranked.winner,) if ranked.winner else ())
    lost = tuple(Overridden(each.key, why) for each in would)
    return Candidates(overridden=(*lost, *ranked.overridden), exclusion=excluded)


def _rank(instance: Instance, published: Iterable[PublishedMapping], now: datetime) -> Candidates:
    """The lowest priority number wins, as in load-balancer rules; of those that share it and agree the first by key."""
    ranked = sorted(published, key=lambda each: (each.spec.priority, each.key))
    judged = [(each, not_applicable_because(each, instance, now)) for each in ranked]
    applicable = [each for each, why in judged if not why]
    overridden = [Overridden(each.key, why) for each, why in judged if why and each.key.matches(instance.tags)]
    if not applicable:
        return Candidates(overridden=tuple(overridden))
    first = applicable[0]
    top = [each for each in applicable if each.spec.priority == first.spec.priority]
    overridden += [
        Overridden(each.key, f"priority {each.spec.priority} comes after {first.spec.priority} of {first.key}")
        for each in applicable[len(top) :]
    ]
    if len({each.wants for each in top}) > 1:
        return Candidates(in_conflict=tuple(top), overridden=tuple(overridden))
    overridden += [Overridden(each.key, f"it agrees with {first.key}, which stands for it") for each in top[1:]]
    return Candidates(winner=first, overridden=tuple(overridden))


def exclusion(tags: Mapping[str, str], now: datetime) -> Decision | None:
    """Why its own tag leaves the instance alone: `true`, a time yet to come, or what can't be read; `false` doesn't."""
    text = tags.get(IGNORE_TAG)
    if text is None or text.strip().lower() == "false":
        return None
    if text.strip().lower() == "true":
        return _left_alone(Action.NOTHING, "ignored", f"its tag {IGNORE_TAG} says true")
    try:
        until = datetime.fromisoformat(text.strip())
    except ValueError:
        until = None
    if until is None or until.tzinfo is None:
        wanted = "write true, or a time with its zone, as 2026-12-31T18:00:00Z"
        reason = f"its tag {IGNORE_TAG} says {text!r:.60}; {wanted}"
        return _left_alone(Action.HOLD, "ignore-unclear", reason, unclear=text)
    if until <= now:
        return None
    return _left_alone(Action.WAIT, "ignored", f"its tag {IGNORE_TAG} says until {text.strip()}", until)


def _left_alone(action: Action, code: str, reason: str, until: datetime | None = None, unclear: str = "") -> Decision:
    """The instance is left as it is until then, or for what a tag or a pin says that can't be read."""
    return Decision(action, code, reason, until=until, arguments=(str(until), unclear))
