"""Which mappings match the same instances, and which of them wins: from tags that were read before. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from rolekeeper.instances.decide import mapping_keys, not_applicable_because, resolve
from rolekeeper.model.instance import Instance, InstanceKey, InstanceState, Target
from rolekeeper.model.mapping import IGNORE_TAG, IGNORED, MappingKey, MappingSpec, PublishedMapping

type Published = Mapping[MappingKey, PublishedMapping]
type Ranks = tuple[tuple[MappingKey, ...], frozenset[MappingKey]]


@dataclass(frozen=True, slots=True)
class Tagged:
    """An instance as far as mappings match it. `governed_by` is the mapping that a decision named; empty for none."""

    target: Target
    tags: tuple[tuple[str, str], ...]
    governed_by: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """Mappings that match the same instances, best first; the first one wins, unless the best are `tied`."""

    specs: tuple[MappingSpec, ...]
    tied: frozenset[MappingKey]
    instances: int

    def concerns(self, key: MappingKey) -> bool:
        return any(each.key == key for each in self.specs)


def overlaps(
    instances: Iterable[Tagged],
    published: Published,
    there: Callable[[Target, PublishedMapping], PublishedMapping],
    now: datetime,
) -> list[Overlap]:
    """Ties first, then those of the most instances; `there` gives a mapping as it is published for a target.

    An instance of which the decision named another mapping (a pin's, or none as it is ignored) isn't counted.
    """
    specs = {key: each.spec for key, each in published.items()}
    asked = {IGNORE_TAG} | {tag for each in specs.values() for tag in (each.key.tag_key, *each.require_tags)}
    alike = Counter(replace(each, tags=tuple(tag for tag in each.tags if tag[0] in asked)) for each in instances)
    found: Counter[Ranks] = Counter()
    for each, number in alike.items():
        known = [published[key] for key in mapping_keys(dict(each.tags)) if key in published]
        if len(known) > 1:
            found[_ranks(each, [there(each.target, one) for one in known], now)] += number
    shared = [Overlap(tuple(specs[key] for key in keys), tied, n) for (keys, tied), n in found.items() if len(keys) > 1]
    return sorted(shared, key=lambda each: (not each.tied, -each.instances, [spec.key for spec in each.specs]))


def _ranks(tagged: Tagged, known: Sequence[PublishedMapping], now: datetime) -> Ranks:
    """The mappings that apply, best first, and those of them that tie; none where something else decides."""
    key = InstanceKey(tagged.target.account, tagged.target.region, "")
    instance = Instance(key, InstanceState.RUNNING, dict(tagged.tags))
    applicable = [each for each in known if not not_applicable_because(each, instance, now)]
    ranked = resolve(instance, applicable, now)
    if tagged.governed_by != (str(ranked.winner.key) if ranked.winner else ""):
        return (), frozenset()
    best = ranked.in_conflict or ((ranked.winner,) if ranked.winner else ())
    # The tag to ignore an instance is overridden too.
    others = [each.mapping for each in ranked.overridden if each.mapping != IGNORED] if best else ()
    return (*(each.key for each in best), *others), frozenset(each.key for each in ranked.in_conflict)
