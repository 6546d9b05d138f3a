"""Mappings that passed every check: published, if they aren't yet, and shown in their rows."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from rolekeeper.conflicts import Survey
from rolekeeper.look import Look
from rolekeeper.mapping_table import Columns
from rolekeeper.model import PublishedMapping
from rolekeeper.revisions import Revisions
from rolekeeper.scribe import Scribe
from rolekeeper.ties import Ties
from rolekeeper.verdicts import Status, Verdict, sentence
from rolekeeper.weight import Weight


class Serving:
    """Serves candidates. `fan_out` has every instance that carries the tag reconciled."""

    def __init__(self, revisions: Revisions, ties: Ties, scribe: Scribe, fan_out: Callable[[Look], int]) -> None:
        self._revisions = revisions
        self._ties = ties
        self._scribe = scribe
        self._fan_out = fan_out

    def serve(  # noqa: PLR0913  # all that a revision's history tells
        self,
        look: Look,
        candidate: PublishedMapping,
        survey: Survey,
        notes: list[str],
        weight: Weight,
        *,
        approved: bool,
    ) -> Verdict:
        """Publish a row that passed, and say so in it."""
        columns = _columns(look, candidate, survey, notes)
        event = f"Mapping {Status.PUBLISHED}"
        entry = self._scribe.entry(look, event, columns.status, columns.reason, candidate, weight=weight)
        self._ties.note(look, survey)
        credit = weight.effect.takes if approved else 0
        self._revisions.publish(candidate, entry, look.at, credit=credit, blocks=look.kept.blocks)
        return self._show(look, columns, entry)

    def keep(self, look: Look, candidate: PublishedMapping, survey: Survey, notes: list[str]) -> Verdict:
        """The row says what is served already: see that it says so."""
        served = look.served
        assert served is not None  # it is the same as the candidate
        columns = _columns(look, replace(candidate, revision=served.revision), survey, notes)
        if not self._scribe.news(look, columns):
            self._scribe.write(look, columns)
            return Verdict(look.key, Status(columns.status), columns.reason, columns.revision, columns.matched)
        self._ties.note(look, survey)
        entry = self._scribe.entry(look, f"Mapping {columns.status}", columns.status, columns.reason, served)
        self._scribe.note(look, entry)
        return self._show(look, columns, entry)

    def _show(self, look: Look, columns: Columns, entry: dict[str, Any]) -> Verdict:
        """Tell of a mapping that is served: its instances, the row and everybody else."""
        # The row is written last: as long as it doesn't say what is served, a crash before this point is made good.
        # The instances are asked for again, after publishing: one that was tagged since the survey may have been
        # reconciled by the old revision.
        sent = self._fan_out(look)
        self._scribe.write(look, columns)
        self._scribe.tell(look, entry)
        status = Status(columns.status)
        return Verdict(look.key, status, columns.reason, columns.revision, columns.matched, changed=True, sent=sent)


def _columns(look: Look, mapping: PublishedMapping, survey: Survey, notes: Iterable[str]) -> Columns:
    """What the row of a mapping that is served says."""
    spec = mapping.spec
    done = look.acted_on(mapping.revision)
    # What is taken out of the row needs no warning any more.
    said = [each for each in notes if not each.startswith(tuple(f"{name}: " for name in done))]
    status = Status.PUBLISHED
    if survey.ties:
        status, said = Status.CONFLICT, [f"{survey}; until then such instances stay as they are", *said]
    elif spec.expired(look.at):
        status, said = Status.EXPIRED, [f"it expired at {spec.expires_at:%Y-%m-%dT%H:%M:%SZ}", *said]
    elif not spec.enabled:
        said = ["it is disabled and governs no instance", *said]
    reason = sentence([*said, "" if "approve" in done else look.about_approval(0)]) or "serving"
    return Columns(status.value, reason, mapping.revision, survey.matched, survey.foreign.count, done=done)
