"""What a mapping would govern and change today, and with which others it ties: asked of EC2 and the state table."""

from dataclasses import dataclass, field
from datetime import datetime

from rolekeeper import codec
from rolekeeper.conflicts import Survey, could_tie
from rolekeeper.ec2 import Ec2
from rolekeeper.effect import Effect
from rolekeeper.mapping_table import MappingTable
from rolekeeper.model import ANY_VALUE, InstanceState, PublishedMapping
from rolekeeper.observe import Observation, Observed, observe_page
from rolekeeper.resolve import resolve
from rolekeeper.rules import Ownership
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

    def __init__(self, ec2: Ec2, state: State, table: MappingTable, ownership: Ownership) -> None:
        self._ec2 = ec2
        self._state = state
        self._table = table
        self._ownership = ownership
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
            for seen in observe_page(page, self._ec2, self._state, now):
                # One with a damaged record can't be reconciled: it changes not. It counts as governed all the same, as
                # long as its mappings can be read.
                if seen.published is not None:
                    _count(found, seen, candidate, present, now, self._ownership)
        return found

    def serving(self, served: PublishedMapping, now: datetime) -> int:
        """How many instances a published mapping governs."""
        return self.find(served, served, now).serving

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
            snapshot = self._state.read([], [key for key in keys if codec.fits_partition(key)])
            for damaged in snapshot.damaged.values():
                raise damaged
            found += snapshot.published.values()
        return found


def _count(  # noqa: PLR0913, PLR0917  # all that one instance is counted by
    found: Findings,
    seen: Observed,
    candidate: PublishedMapping,
    present: PublishedMapping | None,
    now: datetime,
    ownership: Ownership,
) -> None:
    assert seen.instance is not None  # it is one of the page
    observed = seen if isinstance(seen, Observation) else None
    rest = [each for each in seen.published or () if each.key != candidate.key]
    pin = observed.pin if observed else None
    before = resolve(seen.instance, [*rest, present] if present else rest, now, pin)
    after = resolve(seen.instance, [*rest, candidate], now, pin)
    carries = observed.association if observed else None
    found.survey.add(seen.instance, candidate, after, present, before, carries, ownership)
    found.serving += present is not None and before.winner is present
    if observed:
        found.effect.count(observed, (present, before), (candidate, after), ownership)
