"""Telling what became of a row: in the row itself, in the mapping's history, and as an event."""

from typing import Any

from rolekeeper import codec
from rolekeeper.announce import Announcer
from rolekeeper.changes import changes
from rolekeeper.columns import COLUMNS
from rolekeeper.errors import AwsRefusalError
from rolekeeper.look import Look
from rolekeeper.mapping_table import Columns, MappingTable, already_says, verdict_differs
from rolekeeper.mappings import fingerprint, row_of
from rolekeeper.model import Held, MappingSpec, PublishedMapping
from rolekeeper.revisions import Revisions
from rolekeeper.weight import Weight

# A row's reason may not fit from this size on (characters of its printed form, which is longer than its bytes' worth).
NEARLY_FULL = 300_000
_CONTENT = tuple(column.name for column in COLUMNS)
_TOLD = ("status", "reason", "revision", "role", "profile_arn", "cause", "by", "changes")


class Scribe:
    """Writes verdicts down."""

    def __init__(self, table: MappingTable, revisions: Revisions, announcer: Announcer) -> None:
        self._table = table
        self._revisions = revisions
        self._announcer = announcer

    def entry(  # noqa: PLR0913  # a history entry says everything at once
        self,
        look: Look,
        event: str,
        status: str,
        reason: str,
        mapping: PublishedMapping | None,
        *,
        weight: Weight | None = None,
    ) -> dict[str, Any]:
        """A history entry; the event carries the same.

        Args:
            look: what was read.
            event: the event's detail-type.
            status: the row's, or empty.
            reason: the row's.
            mapping: the revision that this is about.
            weight: what it changes, for one that isn't served yet.
        """
        entry = {
            "event": event,
            "status": status,
            "reason": reason,
            "revision": mapping.revision if mapping else 0,
            "role": mapping.spec.role if mapping else "",
            "profile_arn": mapping.profile_arn if mapping else "",
            "fingerprint": fingerprint(look.row) if look.row else "",
            "cause": look.occasion.cause,
            "by": look.by,
            "changes": changes(look.kept.published, mapping) if weight and mapping else [],
            "correlation_id": look.occasion.correlation_id,
        }
        if weight:
            entry["effect"] = weight.document()
        if mapping and look.kept.held and look.approves(mapping):
            # The edit is whose it was when it was held; who is known now approved it.
            entry |= {"cause": "approved", "by": look.kept.held.by, "approved_by": look.by}
        return entry

    def note(self, look: Look, entry: dict[str, Any]) -> None:
        """Write a history entry alone, for what changed nothing."""
        if codec.fits_partition(look.key):
            self._revisions.note(look.key, entry, look.at)

    def hold(self, look: Look, candidate: PublishedMapping, entry: dict[str, Any]) -> None:
        """Keep a candidate as held, or if it's kept already, its history entry alone.

        Raises:
            ObserveAgainError: somebody held another one meanwhile.
        """
        if look.keeps(candidate):
            self._revisions.note(look.key, entry, look.at)
        else:
            self._revisions.hold(Held(candidate, look.at, look.by), entry, look.at)

    def put_back(self, look: Look, spec: MappingSpec, columns: Columns) -> None:
        """Put a deleted row back, with a verdict.

        Raises:
            ObserveAgainError: somebody put it meanwhile.
        """
        assert not look.row  # it is gone
        self._table.put_back(row_of(spec), columns)

    def delete(self, look: Look) -> None:
        """Delete a row as somebody approved.

        Raises:
            ObserveAgainError: it was edited meanwhile, or is gone.
        """
        self._table.delete(look.key, look.row, ("status", "held_revision", "approve", *_CONTENT))

    def write(self, look: Look, columns: Columns) -> None:
        """Write a verdict into the row, unless the row says it already.

        Raises:
            ObserveAgainError: the row changed meanwhile.
        """
        if already_says(look.row, columns):
            return
        if not self._table.write(look.key, look.row, columns):
            self._announcer.failed("the row has no room for its status", mapping=str(look.key), status=columns.status)

    def news(self, look: Look, columns: Columns) -> bool:
        """Whether a verdict isn't told yet: the row says another, and the history too where the row may have no room.

        What is held is told once for its number: its counts may change every day.
        """
        if not verdict_differs(look.row, columns):
            return False
        if not codec.fits_partition(look.key) or len(str(look.row)) < NEARLY_FULL:
            return True
        said: dict[str, Any] = {"status": columns.status, "fingerprint": fingerprint(look.row)}
        said |= {"revision": columns.held} if columns.held else {"reason": columns.reason}
        last = next(iter(self._revisions.history(look.key, limit=1)), {})
        return any(last.get(name) != value for name, value in said.items())

    def tell(self, look: Look, entry: dict[str, Any]) -> None:
        """Log, count and send a history entry as its event."""
        detail = {name.replace("_", "-"): entry[name] for name in _TOLD}
        self._announcer.mapping(look.key, entry["event"], detail, correlation_id=look.occasion.correlation_id)

    def failed(self, text: str, look: Look, error: AwsRefusalError) -> None:
        """Something is put off: logged and counted."""
        self._announcer.failed(text, mapping=str(look.key), error=str(error))
