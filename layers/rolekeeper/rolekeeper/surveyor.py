"""What a mapping would govern and change today, and with which others it ties: asked of EC2 and the state table."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from rolekeeper import codec
from rolekeeper.conflicts import Survey, could_tie
from rolekeeper.ec2 import Ec2
from rolekeeper.effect import Effect
from rolekeeper.errors import DamagedError
from rolekeeper.mapping_table import MappingTable
from rolekeeper.model import ANY_VALUE, Instance, InstanceState, PublishedMapping
from rolekeeper.observe import Observation, observe_page
from rolekeeper.resolve import mapping_keys, resolve
from rolekeeper.state import State


@dataclass(slots=True)
class Findings:
    """What one pass over the instances with a tag found.

    Attributes:
        survey: what the candidate would govern, and its ties.
        effect: what it would change.
        serving: how many instances the present mapping governs.
    """

    survey: Survey = field(default_factory=Survey)
    effect: Effect = field(default_factory=Effect)
    serving: int = 0


class Surveyor:
    """Surveys for mappings that are about to be published. Made anew for each invocation: it counts the fleet once."""

    def __init__(self, ec2: Ec2, state: State, table: MappingTable) -> None:
        self._ec2 = ec2
        self._state = state
        self._table = table
        self._fleet: int | None = None

    def fleet(self) -> int:
        """How many instances there are in the account and Region that aren't terminated."""
        if self._fleet is None:
            shown = (each for page in self._ec2.fleet() for each in page)
            self._fleet = sum(each.state is not InstanceState.TERMINATED for each in shown)
        return self._fleet

    def find(self, candidate: PublishedMapping, present: PublishedMapping | None, now: datetime) -> Findings:
        """Look at every instance that carries a candidate's tag; memory holds one page.

        Args:
            candidate: the mapping that is about to be published, or a tombstone.
            present: the published mapping or tombstone that it takes the place of, if there is one.
            now: for what has expired.
        """
        found = Findings()
        for page in self._ec2.tagged(candidate.key):
            for seen in self._look(page, now):
                _count(found, seen, candidate, present, now)
        return found

    def serving(self, served: PublishedMapping, now: datetime) -> int:
        """How many instances a published mapping governs."""
        return self.find(served, served, now).serving

    def _look(self, page: Sequence[Instance], now: datetime) -> "Iterator[_Seen]":
        damaged: list[Instance] = []
        for each in observe_page(page, self._ec2, self._state, now, lambda instance, _: damaged.append(instance)):
            assert each.instance is not None  # it is one of the page
            yield _Seen(each.instance, each.published, each)
        for instance in damaged:
            # One with a damaged record can't be reconciled: it changes not. It counts as governed all the same, as long
            # as its mappings can be read.
            with suppress(DamagedError):
                published = self._state.read([], mapping_keys(instance.tags)).published
                yield _Seen(instance, tuple(published.values()))

    # ---- ties that no instance shows today ----

    def add_possible_ties(
        self,
        survey: Survey,
        candidate: PublishedMapping,
        served: PublishedMapping | None,
        any_value: PublishedMapping | None,
        now: datetime,
    ) -> None:
        """Add the ties with mappings of the same tag key that instances could meet, though none does today.

        Args:
            survey: what to add to.
            candidate: the mapping that is about to be published.
            served: the same mapping as it is served now, if it is.
            any_value: the published mapping of the same tag key and `*`, if there is one.
            now: for what has expired.
        """
        if candidate.key.tag_value == ANY_VALUE:
            others = self._exact(candidate.key.tag_key)
        else:
            others = [any_value] if any_value else []
        for rival in others:
            if could_tie(candidate, rival, now):
                survey.tie(rival).new |= not (served and could_tie(served, rival, now))

    def _exact(self, tag_key: str) -> list[PublishedMapping]:
        """The published mappings of one tag key: an exact row meets only the `*` row, but that one meets them all."""
        found: list[PublishedMapping] = []
        for keys in self._table.keys_of(tag_key):
            found += self._state.read([], [key for key in keys if codec.fits_partition(key)]).published.values()
        return found


@dataclass(frozen=True, slots=True)
class _Seen:
    """An instance with the mappings for its tags, and all else that a decision rests on, where that can be read."""

    instance: Instance
    published: tuple[PublishedMapping, ...]
    observed: Observation | None = None


def _count(
    found: Findings, seen: _Seen, candidate: PublishedMapping, present: PublishedMapping | None, now: datetime
) -> None:
    rest = [each for each in seen.published if each.key != candidate.key]
    pin = seen.observed.pin if seen.observed else None
    before = resolve(seen.instance, [*rest, present] if present else rest, now, pin)
    after = resolve(seen.instance, [*rest, candidate], now, pin)
    carries = seen.observed.association if seen.observed else None
    found.survey.add(seen.instance.key.id, candidate, after, present, before, carries)
    found.serving += present is not None and before.winner is present
    if seen.observed:
        found.effect.count(seen.observed, (present, before), (candidate, after))
