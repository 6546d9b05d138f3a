"""Which mapping governs an instance, found by trying everything: docs/mappings.md and docs/concepts.md, word by word.

Slow and plain on purpose: it shares nothing with `instances/decide.py`, so that the one shows the other's slips.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from rolekeeper.model.instance import Action, Instance
from rolekeeper.model.mapping import MappingKey, Pin, PublishedMapping

if TYPE_CHECKING:
    from strategies.happenings import Ignore  # it brings Hypothesis, which the simulation does without


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
    if len(spec.regions) > 0 and region not in spec.regions:
        why.append(("region", region))
    if len(spec.units) > 0:
        why.append(("units",))
    absent = [f"{name}={text}" for name, text in spec.require_tags.items() if not carries(tags, MappingKey(name, text))]
    if absent:
        why.append(("requires", *absent))
    return why


def applies(
    mapping: PublishedMapping, tags: Mapping[str, str], now: datetime, account: str = "", region: str = ""
) -> bool:
    return carries(tags, mapping.key) and not excuses(mapping, tags, now, account, region)


def rank(instance: Instance, rows: Iterable[PublishedMapping], now: datetime) -> Ranked:
    """Rank all rows: "the lowest `priority` wins"; two that share it agree, or want different roles and are a tie."""
    tags, (account, region, _) = instance.tags, astuple(instance.key)
    tagged = {row.key: row for row in rows if carries(tags, row.key)}
    losers = {key: why for key, row in tagged.items() if (why := excuses(row, tags, now, account, region))}
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
    pin: Pin | None, ignore: "Ignore | None", now: datetime, *, quarantined: bool
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
