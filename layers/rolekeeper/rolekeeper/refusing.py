"""Rows that aren't served as they are: refused with a reason, waiting for AWS, or with a damaged record of ours."""

from collections.abc import Iterable
from contextlib import suppress

from rolekeeper.errors import AwsRefusalError, DamagedError
from rolekeeper.look import Look
from rolekeeper.mapping_table import Columns, MappingTable, already_says, number_in
from rolekeeper.model import MappingKey
from rolekeeper.scribe import Scribe
from rolekeeper.surveyor import Findings, Surveyor
from rolekeeper.ties import Ties
from rolekeeper.verdicts import Status, Verdict, sentence, what_serves


class Refusing:
    """Says in a row why what it says isn't served; what was served keeps serving."""

    def __init__(self, table: MappingTable, surveyor: Surveyor, ties: Ties, scribe: Scribe) -> None:
        self._table = table
        self._surveyor = surveyor
        self._ties = ties
        self._scribe = scribe

    def refuse(self, look: Look, status: Status, why: Iterable[str], found: Findings | None = None) -> Verdict:
        """Change nothing and say why."""
        served = look.served
        reason = sentence([*why], what_serves(served))
        matched = self._matched(look, found)
        columns = Columns(status.value, reason, served.revision if served else 0, matched, done=look.acted_on())
        news = self._scribe.news(look, columns)
        entry = self._scribe.entry(look, f"Mapping {status}", status.value, reason, served)
        if news:
            if found:
                self._ties.note(look, found.survey)
            self._scribe.note(look, entry)
        self._scribe.write(look, columns)
        if news:
            self._scribe.tell(look, entry)
        return Verdict(look.key, status, reason, columns.revision, matched, changed=news)

    def wait(self, look: Look, why: str) -> Verdict:
        """Say in the row what it waits for, unless it is served or held: then the row stays true as it is."""
        served = look.served
        reason = sentence([why], what_serves(served))
        columns = Columns(
            Status.WAITING.value, reason, served.revision if served else 0, None if served else 0, held=None
        )
        held = look.occasion.recheck and "held_revision" in look.row
        if not held and not (served and look.reading.spec == served.spec):
            try:
                self._scribe.write(look, columns)
            except AwsRefusalError as error:
                self._scribe.failed("the row's status was not written", look, error)
        return Verdict(look.key, Status.WAITING, reason, columns.revision)

    def show_damage(self, key: MappingKey, error: DamagedError) -> None:
        """Say in the row which item of ours can't be read; which revision serves isn't known, so that column stays."""
        row = self._table.get_row(key)
        if row is None:
            return
        reason = (
            f"an item of the state table can't be read ({error.message}); delete that item, and the next sweep "
            f"publishes its mapping anew"
        )
        revision = number_in(row, "status_revision")
        columns = Columns(Status.WAITING.value, sentence([reason]), revision, held=None)
        if not already_says(row, columns):
            self._table.write(key, row, columns)

    def _matched(self, look: Look, found: Findings | None) -> int | None:
        """How many instances what is served governs, where that is known or the row says no number; None: as it was."""
        served = look.served
        if served is None:
            return 0
        if look.occasion.survey:
            return look.occasion.survey.matched
        if found:
            return found.serving
        if "matched" in look.row:
            return None
        # A mere count must not keep a row from saying what is wrong with it; the sweep counts again.
        with suppress(AwsRefusalError):
            return self._surveyor.serving(served, look.at)
        return None
