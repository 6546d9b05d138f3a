"""Which mapping governs an instance, found by trying everything: docs/mappings.md and docs/concepts.md, word by word.

Slow and plain on purpose: it shares nothing with `rolekeeper.resolve`, so that the one shows the other's slips.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from rolekeeper.model.instance import Action, Instance
from rolekeeper.model.mapping import MappingKey, Pin, PublishedMapping
from strategies.happenings import Ignore


@dataclass(frozen=True)
class Ranked:
    """What the rows alone say.

    Attributes:
        best: those with the lowest number, of all that apply; several agree, or are a tie.
        overridden: the words that must be in the reason of each other one whose tag the instance carries.
    """

    best: frozenset[MappingKey] = frozenset()
    tie: bool = False
    overridden: dict[MappingKey, list[tuple[str, ...]]] = field(default_factory=dict)


def carries(instance: Instance, key: str, value: str) -> bool:
    """ "A lone `*` is any value, the empty one too"; keys and values are case-sensitive."""
    return any(name == key and (value in {"*", text}) for name, text in instance.tags.items())


def excuses(mapping: PublishedMapping, instance: Instance, now: datetime) -> list[tuple[str, ...]]:
    """Why a mapping doesn't apply to an instance that carries its tag: every reason that there is, by its words."""
    spec, why = mapping.spec, list[tuple[str, ...]]()
    if mapping.deleted:
        why.append(("deleted",))
    if spec.enabled is False:
        why.append(("disabled",))
    if spec.expires_at is not None and not now < spec.expires_at:
        why.append(("expired", f"{spec.expires_at:%Y-%m-%dT%H:%M:%SZ}"))
    if len(spec.accounts) > 0 and instance.key.account not in spec.accounts:
        why.append(("account", instance.key.account))
    if len(spec.regions) > 0 and instance.key.region not in spec.regions:
        why.append(("region", instance.key.region))
    if len(spec.units) > 0:
        why.append(("units",))
    absent = [f"{name}={text}" for name, text in spec.require_tags.items() if not carries(instance, name, text)]
    if absent:
        why.append(("requires", *absent))
    return why


def rank(instance: Instance, rows: Iterable[PublishedMapping], now: datetime) -> Ranked:
    """Rank all rows: "the lowest `priority` wins"; two that share it agree, or want different roles and are a tie."""
    tagged = {row.key: row for row in rows if carries(instance, row.key.tag_key, row.key.tag_value)}
    losers = {key: why for key, row in tagged.items() if (why := excuses(row, instance, now))}
    apply = {key: row for key, row in tagged.items() if key not in losers}
    lowest = min((row.spec.priority for row in apply.values()), default=0)
    best = frozenset(key for key, row in apply.items() if row.spec.priority == lowest)
    for key in apply.keys() - best:
        losers[key] = [("priority", str(apply[key].spec.priority), str(lowest))]
    tie = any(
        (one.spec.role, one.profile_arn) != (other.spec.role, other.profile_arn)
        for one in (apply[key] for key in best)
        for other in (apply[key] for key in best)
    )
    return Ranked(best, tie, losers)


def excluded(
    pin: Pin | None, ignore: Ignore | None, now: datetime, *, quarantined: bool
) -> tuple[Action, str, datetime | None] | None:
    """Why an instance is left alone: action, code and until when. Its rows matter only if the best say `NONE`."""
    if pinned(pin, now) and pin:
        return (Action.HOLD, "pin-unclear", None) if pin.unclear else None
    if ignore is None or ignore.meaning == "never" or quarantined:
        return None
    if ignore.meaning == "always":
        return Action.NOTHING, "ignored", None
    if ignore.meaning == "unclear":
        return Action.HOLD, "ignore-unclear", None
    assert ignore.until
    return (Action.WAIT, "ignored", ignore.until) if now < ignore.until else None


def pinned(pin: Pin | None, now: datetime) -> bool:
    """Whether there is a pin that isn't over: it comes before the ignore tag, and before every mapping."""
    return pin is not None and (pin.expires_at is None or now < pin.expires_at)
