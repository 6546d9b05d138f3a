"""Checking a mapping row and serving it: level-triggered, as everything here.

A message only names a row. The row and what is served of it are read again, and something is written only where they
differ; so duplicates, reordering and a sweep at the same time do no harm. A row that fails its checks changes nothing:
the last good revision keeps serving, and the row says why.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from rolekeeper.announce import Announcer
from rolekeeper.cells import Home
from rolekeeper.clients import Settings
from rolekeeper.columns import Attributes
from rolekeeper.conflicts import Survey
from rolekeeper.ec2 import Ec2
from rolekeeper.errors import AwsRefusalError, DamagedError, DeniedError, ObserveAgainError, RetryableError
from rolekeeper.iam import Iam
from rolekeeper.mapping_table import Columns, MappingTable, already_says, verdict_differs
from rolekeeper.mappings import RowVerdict, fingerprint, read_row
from rolekeeper.model import ANY_VALUE, Control, MappingKey, PublishedMapping
from rolekeeper.revisions import Revisions
from rolekeeper.roles import Roles
from rolekeeper.state import State
from rolekeeper.surveyor import Surveyor, fits_state
from rolekeeper.work import WorkQueue

# How often a row is judged again when it changes under the judge's hands, before the stream or the sweep has to.
ATTEMPTS = 3
# The longest reason that goes into a row.
REASON = 1_000
# A row's reason may not fit from this size on (characters of its printed form, which is longer than its bytes' worth).
NEARLY_FULL = 300_000


class Status(StrEnum):
    """What we write into a row (DESIGN.md, "Data")."""

    PUBLISHED = "Published"
    EXPIRED = "Expired"
    REJECTED = "Rejected"
    CONFLICT = "Conflict"
    WAITING = "Waiting"
    REMOVED = "Removed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a row. `revision` is the one being served, 0 for none; `changed` when this is news.

    `Removed` is never written: there is no row left to say it.
    """

    key: MappingKey
    status: Status
    reason: str = ""
    revision: int = 0
    matched: int | None = None
    changed: bool = False
    sent: int = 0


@dataclass(frozen=True, slots=True)
class _Look:
    """What was read of a mapping at one moment."""

    key: MappingKey
    row: Attributes
    published: PublishedMapping | None
    any_value: PublishedMapping | None
    control: Control
    at: datetime
    cause: str
    correlation_id: str
    recheck: bool

    @property
    def served(self) -> PublishedMapping | None:
        """What the reconciler obeys; a tombstone isn't it."""
        return None if self.published is None or self.published.deleted else self.published


class Publisher:
    """Judges rows. Made anew for each invocation: what IAM said is remembered for its life."""

    def __init__(  # noqa: PLR0913  # its collaborators, each once
        self,
        settings: Settings,
        *,
        table: MappingTable,
        state: State,
        revisions: Revisions,
        iam: Iam,
        ec2: Ec2,
        queue: WorkQueue,
        announcer: Announcer,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._home = Home(settings.account, settings.partition)
        self._table = table
        self._state = state
        self._revisions = revisions
        self._roles = Roles(iam, settings.account, settings.role_path, makes_profiles=settings.create_missing_profiles)
        self._surveyor = Surveyor(ec2, state, table)
        self._ec2 = ec2
        self._queue = queue
        self._announcer = announcer
        self._now = now

    def publish(self, key: MappingKey, correlation_id: str) -> Verdict:
        """Judge a row that an operator changed or deleted.

        Raises:
            RetryableError: AWS is throttled or has a fault; the row says `Waiting`. Try again.
            DamagedError: an item of the state table isn't what we wrote; the row says `Waiting`, and what to do.
        """
        return self._settled(key, "the row changed", correlation_id, None, recheck=False)

    def recheck(self, key: MappingKey, correlation_id: str, survey: Survey | None = None) -> Verdict:
        """Judge a row, or a published mapping whose row may be gone, although nobody changed it: for the sweep.

        Also suspends a published mapping whose role can't be used any more, and resumes it when it can. Writes and
        sends nothing when all is as the row says.

        Args:
            key: the mapping.
            correlation_id: the sweep's.
            survey: what the sweep itself counted for the published mapping while it paged through the fleet
                (`Survey.count`). None: the instances that carry the tag are asked for here.

        Raises:
            RetryableError: AWS is throttled or has a fault. The next sweep tries again.
            DamagedError: as `publish`.
        """
        return self._settled(key, "swept", correlation_id, survey, recheck=True)

    def _settled(
        self, key: MappingKey, cause: str, correlation_id: str, survey: Survey | None, *, recheck: bool
    ) -> Verdict:
        try:
            for _ in range(ATTEMPTS):
                # Gone, edited or judged by another while we looked: look again.
                with suppress(ObserveAgainError):
                    return self._judge(key, cause, correlation_id, survey, recheck=recheck)
        except DeniedError as error:
            self._announcer.denied(error, correlation_id=correlation_id)
            return Verdict(key, Status.WAITING, _denial(error))
        except DamagedError as error:
            self._show_damage(key, error)
            raise
        raise RetryableError("RowChanging", f"{key} keeps changing while it is checked")

    def _judge(
        self, key: MappingKey, cause: str, correlation_id: str, survey: Survey | None, *, recheck: bool
    ) -> Verdict:
        any_value = MappingKey(key.tag_key, ANY_VALUE)
        # What is served is read before the row: the row is then at least as new. The other way round, a slow judge
        # could take an old row for an edit of a newer revision. The revision number is the lock.
        snapshot = self._state.read([], {key, any_value} if fits_state(key) else ())
        row = self._table.get_row(key)
        look = _Look(
            key=key,
            row=row or {},
            published=snapshot.published.get(key),
            any_value=snapshot.published.get(any_value),
            control=snapshot.control,
            at=self._now(),
            cause=cause,
            correlation_id=correlation_id,
            recheck=recheck,
        )
        if row is None:
            return self._remove(look)
        reading = read_row(row, self._home)
        try:
            return self._check(look, reading, survey)
        except RetryableError as error:
            self._wait(look, reading, f"AWS gave no answer ({error.code} to {error.action}); it is asked again")
            raise
        except DeniedError as error:
            # Trying at once won't help, and the shard mustn't stand still: the alarm rings, and the sweep comes back.
            self._announcer.denied(error, correlation_id=correlation_id)
            return self._wait(look, reading, _denial(error))

    # ---- the ways a judgement ends ----

    def _remove(self, look: _Look) -> Verdict:
        """The row is gone, a deliberate act: leave a tombstone, so that its instances give up what it gave them."""
        if look.served is None:
            # A tombstone met on the way of an edit may be one whose instances weren't sent before a crash.
            sent = self._fan_out(look) if look.published and not look.recheck else 0
            return Verdict(look.key, Status.REMOVED, sent=sent)
        tombstone = replace(look.served, revision=look.served.revision + 1, deleted=True, suspended="")
        entry = self._entry(look, "Mapping Removed", "", "its row was deleted", tombstone)
        self._revisions.publish(tombstone, entry, look.at)
        sent = self._fan_out(look)
        self._tell(look, "Mapping Removed", entry)
        return Verdict(look.key, Status.REMOVED, revision=tombstone.revision, changed=True, sent=sent)

    def _check(self, look: _Look, reading: RowVerdict, survey: Survey | None) -> Verdict:
        spec = reading.spec
        if look.served and (look.recheck or spec == look.served.spec):
            look = replace(look, published=self._mind(look, look.served))
        if spec is None:
            return self._refuse(look, Status.REJECTED, (*reading.problems, *reading.warnings))
        check = self._roles.check(spec)
        if check.problem:
            return self._refuse(look, Status.REJECTED, (check.problem, *reading.warnings))
        served = look.served
        candidate = PublishedMapping(spec, look.published.revision + 1 if look.published else 1, check.profile_arn)
        same = bool(served and served.spec == spec and served.profile_arn == check.profile_arn)
        if not (same and survey):
            survey = self._surveyor.count(candidate, served, look.at)
        self._surveyor.add_possible_ties(survey, candidate, served, look.any_value, look.at)
        if survey.blocks and not same:
            return self._refuse(look, Status.CONFLICT, (str(survey),))
        notes = [*reading.warnings, *([check.note] if check.note else [])]
        withheld = look.control.withholds(self._settings.mode)
        if check.missing and withheld:
            notes.append(f"instance profile '{spec.profile_name}' is made later: {withheld.reason}")
        elif check.missing and (problem := self._roles.make(spec, check)):
            return self._refuse(look, Status.REJECTED, (problem,))
        return self._serve(look, candidate, survey, notes, same=same)

    def _serve(
        self, look: _Look, candidate: PublishedMapping, survey: Survey, notes: Iterable[str], *, same: bool
    ) -> Verdict:
        """Publish a row that passed, unless it is what is served already, and say so in the row."""
        spec = candidate.spec
        revision = look.published.revision if same and look.published else candidate.revision
        status, said = Status.PUBLISHED, list(notes)
        if survey.ties:
            status, said = Status.CONFLICT, [f"{survey}; until then such instances stay as they are", *said]
        elif spec.expired(look.at):
            status, said = Status.EXPIRED, [f"it expired at {spec.expires_at:%Y-%m-%dT%H:%M:%SZ}", *said]
        elif not spec.enabled:
            said = ["it is disabled and governs no instance", *said]
        columns = Columns(status.value, _sentence(said) or "serving", revision, survey.matched)
        # Where the row has no room to say it, the sweep looks at the history: it would be news to it for ever.
        news = not same or (verdict_differs(look.row, columns) and not (look.recheck and self._noted(look, columns)))
        event = f"Mapping {status if same else Status.PUBLISHED}"
        entry = self._entry(look, event, status.value, columns.reason, replace(candidate, revision=revision))
        if not same:
            self._revisions.publish(candidate, entry, look.at)
        elif news:
            self._revisions.note(look.key, entry, look.at)
        # The row is written last: as long as it doesn't say what is served, a crash before this point is made good.
        # The instances are asked for again, after publishing: one that was tagged since the survey may have been
        # reconciled by the old revision.
        sent = self._fan_out(look) if news else 0
        self._write(look, columns)
        if news:
            self._tell(look, event, entry)
        return Verdict(look.key, status, columns.reason, revision, survey.matched, changed=news, sent=sent)

    def _refuse(self, look: _Look, status: Status, why: Iterable[str]) -> Verdict:
        """Change nothing and say why."""
        served = look.served
        columns = Columns(status.value, _sentence([*why], _what_serves(served)), served.revision if served else 0)
        news = verdict_differs(look.row, columns) and not self._noted(look, columns)
        event = f"Mapping {status}"
        entry = self._entry(look, event, status.value, columns.reason, served)
        if news and fits_state(look.key):
            self._revisions.note(look.key, entry, look.at)
        self._write(look, columns)
        if news:
            self._tell(look, event, entry)
        return Verdict(look.key, status, columns.reason, columns.revision, changed=news)

    def _wait(self, look: _Look, reading: RowVerdict, why: str) -> Verdict:
        """Say in the row what it waits for, unless it is served: then the row stays true as it is."""
        served = look.served
        columns = Columns(
            Status.WAITING.value, _sentence([why], _what_serves(served)), served.revision if served else 0
        )
        if not (served and reading.spec == served.spec):
            try:
                self._write(look, columns)
            except AwsRefusalError as error:
                self._announcer.failed("the row's status was not written", mapping=str(look.key), error=str(error))
        return Verdict(look.key, Status.WAITING, columns.reason, columns.revision)

    def _show_damage(self, key: MappingKey, error: DamagedError) -> None:
        """Say in the row which item of ours can't be read; which revision serves isn't known, so that column stays."""
        row = self._table.get_row(key)
        if row is None:
            return
        reason = (
            f"an item of the state table can't be read ({error.message}); delete that item, and the next sweep "
            f"publishes its mapping anew"
        )
        revision = int(Decimal(row.get("status_revision", {}).get("N", "0")))
        columns = Columns(Status.WAITING.value, _sentence([reason]), revision)
        if not already_says(row, columns):
            self._table.write(key, row, columns)

    def _mind(self, look: _Look, served: PublishedMapping) -> PublishedMapping:
        """Suspend what is served when its role can't be used any more, and resume it when it can."""
        problem = self._roles.check(served.spec).problem
        if problem == served.suspended:
            return served
        event = "Mapping Suspended" if problem else "Mapping Resumed"
        entry = self._entry(look, event, "", problem, served)
        self._revisions.suspend(served, problem, entry, look.at)
        self._fan_out(look)
        self._tell(look, event, entry)
        return replace(served, suspended=problem)

    # ---- how ----

    def _fan_out(self, look: _Look) -> int:
        """Have every instance that carries the tag reconciled; memory holds one page."""
        keys = (instance.key for page in self._ec2.tagged(look.key) for instance in page)
        return self._queue.send(keys, f"mapping changed: {look.key}", look.correlation_id)

    def _write(self, look: _Look, columns: Columns) -> None:
        if already_says(look.row, columns):
            return
        if not self._table.write(look.key, look.row, columns):
            self._announcer.failed("the row has no room for its status", mapping=str(look.key), status=columns.status)

    def _noted(self, look: _Look, columns: Columns) -> bool:
        """Whether the history ends with this very verdict; asked only where the row may have no room to say it."""
        if not fits_state(look.key) or len(str(look.row)) < NEARLY_FULL:
            return False
        last = self._revisions.history(look.key, limit=1)
        said = (columns.status, columns.reason, fingerprint(look.row))
        return bool(last) and (last[0].get("status"), last[0].get("reason"), last[0].get("fingerprint")) == said

    def _entry(
        self, look: _Look, event: str, status: str, reason: str, mapping: PublishedMapping | None
    ) -> dict[str, Any]:
        """A history entry; the event carries the same."""
        return {
            "event": event,
            "status": status,
            "reason": reason,
            "revision": mapping.revision if mapping else 0,
            "role": mapping.spec.role if mapping else "",
            "profile_arn": mapping.profile_arn if mapping else "",
            "fingerprint": fingerprint(look.row) if look.row else "",
            "cause": look.cause,
            "correlation_id": look.correlation_id,
        }

    def _tell(self, look: _Look, event: str, entry: dict[str, Any]) -> None:
        detail = {
            name.replace("_", "-"): entry[name]
            for name in ("status", "reason", "revision", "role", "profile_arn", "cause")
        }
        self._announcer.mapping(look.key, event, detail, correlation_id=look.correlation_id)


def _denial(error: DeniedError) -> str:
    return f"Rolekeeper isn't allowed {error.action} on {error.resource}; allow it, the next sweep tries again"


def _what_serves(served: PublishedMapping | None) -> str:
    if served is None:
        return ""
    if served.suspended:
        return f"(revision {served.revision} is suspended: its instances stay as they are)"
    return f"(revision {served.revision} keeps serving)"


def _sentence(parts: Iterable[str], ending: str = "") -> str:
    """One reason from its parts, cut to what a row shows."""
    text = "; ".join(part for part in parts if part)
    room = REASON - len(ending) - 1
    text = f"{text[: room - 1]}…" if len(text) > room else text
    return f"{text} {ending}".strip()
