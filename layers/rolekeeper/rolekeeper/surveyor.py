"""What a mapping would govern today, and with which others it ties or could: asked of EC2 and the state table."""

from datetime import datetime

from rolekeeper import codec
from rolekeeper.conflicts import Survey, could_tie
from rolekeeper.ec2 import Ec2
from rolekeeper.mapping_table import MappingTable
from rolekeeper.model import ANY_VALUE, MappingKey, PublishedMapping
from rolekeeper.resolve import mapping_keys
from rolekeeper.state import State

# DynamoDB "Service quotas": a partition key holds at most 2,048 bytes.
STATE_KEY_BYTES = 2_048


def fits_state(key: MappingKey) -> bool:
    """Whether the state table can have a record under this key.

    A row's own key may be longer than that; no tag is, so nothing was ever published under it.
    """
    return len(codec.mapping_pk(key).encode("utf-8", "surrogatepass")) <= STATE_KEY_BYTES


class Surveyor:
    """Surveys for mappings that are about to be published."""

    def __init__(self, ec2: Ec2, state: State, table: MappingTable) -> None:
        self._ec2 = ec2
        self._state = state
        self._table = table

    def count(self, candidate: PublishedMapping, served: PublishedMapping | None, now: datetime) -> Survey:
        """Count what a candidate would govern today in the place of what is served; memory holds one page."""
        survey = Survey()
        if not candidate.spec.enabled or candidate.spec.expired(now):
            return survey
        for page in self._ec2.tagged(candidate.key):
            keys = {key for instance in page for key in mapping_keys(instance.tags)}
            published = self._state.read([], keys).published if keys else {}
            for instance in page:
                others = {key: published[key] for key in mapping_keys(instance.tags) if key in published}
                survey.count(instance, others, candidate, served, now)
        return survey

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
            found += self._state.read([], [key for key in keys if fits_state(key)]).published.values()
        return found
