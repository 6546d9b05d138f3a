"""Which mappings match the same instances, and which of them wins: from tags that were read before. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rolekeeper.instances.decide import mapping_keys, not_applicable_because, resolve
from rolekeeper.model.instance import Instance, InstanceKey, InstanceState, Target
from rolekeeper.model.mapping import IGNORE_TAG, MappingKey, MappingSpec, PublishedMapping

type Tagged = tuple[Target, tuple[tuple[str, str], ...], str]
"""Where an instance is, its tags, and the mapping that its decision names; empty for none."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Mappings that match the same instances, best first. The first one wins, unless that many are `tied`."""

    specs: tuple[MappingSpec, ...]
    tied: int
    instances: int


def overlaps(
    instances: Iterable[Tagged],
    published: Mapping[MappingKey, PublishedMapping],
    there: Callable[[Target, PublishedMapping], PublishedMapping],
    *,
    now: datetime,
) -> list[Overlap]:
    """Ties first, then those of the most instances; `there` gives a mapping as it is published for a target.

    An instance whose decision names another mapping (a pin's, or none as it is ignored) isn't counted.
    """
    asked = {IGNORE_TAG} | {tag for each in published.values() for tag in (each.key.tag_key, *each.spec.require_tags)}
    alike = Counter((at, tuple(tag for tag in tags if tag[0] in asked), named) for at, tags, named in instances)
    found: Counter[tuple[tuple[MappingKey, ...], int]] = Counter()
    for (target, tags, named), number in alike.items():
        instance = Instance(InstanceKey(target.account, target.region, ""), InstanceState.RUNNING, dict(tags))
        known = [published[key] for key in mapping_keys(instance.tags) if key in published]
        if len(known) < 2:  # noqa: PLR2004  # two overlap
            continue
        candidates = (there(target, each) for each in known)
        applicable = [each for each in candidates if not not_applicable_because(each, instance, now)]
        ranked = resolve(instance, applicable, now)
        # The tag to ignore an instance may be overridden too.
        keys = (
            *(each.key for each in ranked.best),
            *(each.mapping for each in ranked.overridden if each.mapping in published),
        )
        if ranked.best and len(keys) > 1 and named == str(ranked.winner.key if ranked.winner else ""):
            found[keys, len(ranked.in_conflict)] += number
    specs = {key: each.spec for key, each in published.items()}
    listed = [Overlap(tuple(specs[key] for key in keys), tied, number) for (keys, tied), number in found.items()]
    return sorted(listed, key=lambda each: (not each.tied, -each.instances, [spec.key for spec in each.specs]))
