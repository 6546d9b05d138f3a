"""Editing mappings: what an edit would change, writing it, and Rolekeeper's verdict.

A plan holds the rows that it was made on. A row that another actor has changed since is left alone.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property, partial

from rolekeeper.aws.errors import ConflictError
from rolekeeper.mappings.rows import (
    COLUMNS,
    RESUME,
    TYPES,
    Attributes,
    CellError,
    Column,
    HomeAccount,
    content,
    quote,
    read_row,
    row_of,
)
from rolekeeper.mappings.table import if_as_read, number_in
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import Held, MappingKey, MappingSpec, PublishedMapping, same_person
from rolekeeper.model.problem import Kind, Problem, advice
from rolekeeper.model.text import escaped
from rolekeeper.storage import Update, layout
from rolekeeper_cli.aws.deployment import Caller, Deployment
from rolekeeper_cli.errors import CommandError, ExitCode, UsageError, WaitTimeoutError
from rolekeeper_cli.row import names
from rolekeeper_cli.row.effect import DONE, GOOD, Row, text_in, with_status
from rolekeeper_cli.row.view import ColumnChangeView, RowChangeView, RowPlanView
from rolekeeper_cli.shell.layout import several
from rolekeeper_cli.shell.suggest import did_you_mean

# ---- a column's value as text ----

_BETWEEN = re.compile(r"[;,\s]+")
_BETWEEN_ALARMS = re.compile(r"\s*[;,]\s*")  # their names may hold blanks
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# A run of characters and backslash pairs up to a semicolon that stands for itself.
_TAG = re.compile(r"(?:[^;\\]|\\.)+", re.DOTALL)
_KEY = re.compile(r"(?:[^=\\]|\\.)*", re.DOTALL)


def from_text(column: Column, text: str) -> Attributes:
    """The DynamoDB value that a text stands for in a column, or CellError; `read_row` checks whether it is allowed."""
    match column.kind.type:
        case "BOOL":
            if text.casefold() not in {"true", "false"}:
                raise CellError(f"is {quote(text)}; write true or false")
            return {"BOOL": text.casefold() == "true"}
        case "SS":
            between = _BETWEEN_ALARMS if column.name == "halt_on" else _BETWEEN
            return {"SS": [each for each in between.split(text.strip()) if each]}
        case "M":
            return {"M": dict(_tags_of_text(text))}
    return {column.kind.type: text}


def to_text(attribute: Attributes) -> str:
    """The text of a value: what `from_text` reads back, for the types that columns have."""
    ((kind, value),) = attribute.items()
    match kind:
        case "BOOL":
            return "true" if value else "false"
        case "SS" | "NS":
            return ";".join(sorted(value))
        case "M" if all(set(each) == {"S"} for each in value.values()):
            tags = sorted((key, each["S"]) for key, each in value.items())
            return ";".join(f"{_escape(key, ';=')}={_escape(each, ';')}" for key, each in tags)
        case "S" | "N":
            return str(value)
    return json.dumps(value, default=repr, ensure_ascii=False)


def _tags_of_text(text: str) -> Iterator[tuple[str, Attributes]]:
    if (len(text) - len(text.rstrip("\\"))) % 2:
        raise CellError("ends with a backslash that stands before nothing; write two for one")
    seen = set()
    for each in _TAG.findall(text):
        if not each.strip():
            continue
        key = _KEY.match(each)
        assert key  # it matches nothing, too
        if len(key[0]) == len(each):
            raise CellError(f"holds {quote(each)}; write key=value, with ; between them")
        # No tag of an instance begins or ends with a blank, so those beside a separator are the writer's.
        name, value = (_ESCAPED.sub(r"\1", part.strip()) for part in (key[0], each[len(key[0]) + 1 :]))
        if name in seen:
            raise CellError(f"names {quote(name)} twice")
        seen.add(name)
        yield name, {"S": value}


def _escape(text: str, special: str) -> str:
    return "".join(f"\\{each}" if each in f"\\{special}" else each for each in text)


# ---- what an edit would change in the mapping table, before anything is written. Pure ----


@dataclass(frozen=True)
class Change:
    """One row that changes.

    `row` is the row as it was read, empty for a new one, and `was` the mapping in it, if it could be read.
    `spec` is the mapping wanted; None deletes the row.
    """

    key: MappingKey
    row: Attributes
    was: MappingSpec | None
    spec: MappingSpec | None

    @property
    def kind(self) -> str:
        if self.spec is None:
            return "deleted"
        return "changed" if self.row else "new"

    @cached_property
    def before(self) -> Attributes:
        """The columns that the row has, in the form of `after` where they can be read."""
        return row_of(self.was) if self.was else self.row

    @cached_property
    def after(self) -> Attributes:
        """The columns that the row has afterwards, defaults left out."""
        return row_of(self.spec) if self.spec else {}

    @property
    def written(self) -> Attributes:
        """The row that is written; empty for none. Without Rolekeeper's columns, so that a new verdict is recognized.

        An update that removes `status` would do too, but only for callers who may write that column.
        """
        if not (self.row and self.spec):
            return self.after
        changed, after = self.columns, self.after
        kept = {name: value for name, value in content(self.row).items() if name not in changed}
        return kept | {name: after[name] for name in changed if name in after}

    def cells(self) -> list[str]:
        """The columns of the row that is new, or is deleted, as `name=value`."""
        row = self.after or self.before
        return [f"{column.name}={to_text(row[column.name])}" for column in COLUMNS if column.name in row]

    @cached_property
    def columns(self) -> dict[str, ColumnChangeView]:
        """The columns that change; one that is absent has its default."""
        before, after = self.before, self.after
        differ = [column for column in COLUMNS if before.get(column.name) != after.get(column.name)]
        both = {column.name: (_shown(column, before), _shown(column, after)) for column in differ}
        return {name: ColumnChangeView(from_=old, to=new) for name, (old, new) in both.items() if old != new}

    @property
    def command(self) -> str:
        if self.spec is None:
            return str(self.key.remedy(Kind.REMOVE_MAPPING))
        after = {name: to_text(value) for name, value in self.after.items()}
        cells = [f"{name}={after.get(name, '')}" for name in self.columns]
        return shlex.join(["rolekeeper", "mapping", "set", str(self.key), *cells])

    def view(self) -> RowChangeView:
        return RowChangeView(mapping=str(self.key), kind=self.kind, columns=self.columns)


@dataclass(frozen=True, slots=True)
class RowPlan:
    """What an edit, or a file, changes in the mapping table."""

    changes: tuple[Change, ...] = ()
    same: tuple[Change, ...] = ()  # the rows that say already what is wanted
    not_in_effect: tuple[Row, ...] = ()  # those of them that aren't in effect (`with_verdicts`)

    def view(self) -> RowPlanView:
        return RowPlanView(
            changes=[change.view() for change in self.changes],
            unchanged=len(self.same),
            not_in_effect=[row.view() for row in self.not_in_effect],
        )


def planned(
    specs: Iterable[MappingSpec], rows: Mapping[MappingKey, Attributes], home: HomeAccount, *, prune: bool = False
) -> RowPlan:
    """Compare mappings with rows, by what both mean: a default is the same as no value. `prune` deletes other rows."""
    wanted = {spec.key: spec for spec in specs}
    present = {key: read_row(row, home).spec for key, row in rows.items()}
    keys = sorted(wanted.keys() | rows.keys() if prune else wanted)
    compared = [Change(key, rows.get(key, {}), present.get(key), spec=wanted.get(key)) for key in keys]
    same = tuple(each for each in compared if each.spec and each.spec == each.was)
    changes = tuple(each for each in compared if each.spec is None or each.spec != each.was)
    return RowPlan(changes, same)


def row_plan(deployment: Deployment, key: MappingKey, row: Attributes, spec: MappingSpec | None) -> RowPlan:
    """What changes if a row, empty for none, becomes a mapping; None deletes it."""
    return planned([spec] if spec else [], {key: row} if row else {}, deployment.app.home, prune=True)


def _shown(column: Column, row: Attributes) -> str:
    attribute = row.get(column.name)
    if not attribute:
        return "" if column.default == "required" else column.default
    text = to_text(attribute)
    kind = next(iter(attribute))
    return text if kind == column.kind.type else f"{text} ({TYPES.get(kind, kind)})"


# ---- the mapping table's rows as people edit them ----


def write_change(deployment: Deployment, change: Change) -> bool:
    """Write a change if the row is still as it was read; False, and nothing is written, if another actor changed it."""
    table, by = deployment.app.table, {"edited_by": deployment.caller.arn}
    try:
        if change.spec:
            as_seen = _as_seen(change.row, *content(change.row)) if change.row else None
            table.put({**change.written, **layout.to_attributes(by)}, as_seen)
        else:
            # The stream's record of a deletion holds the row as it was, and so who deleted it.
            table.update(change.key, _as_seen(change.row).set(by))
            table.delete(change.key, _as_seen(change.row))
    except ConflictError:
        return False
    return True


def require_row(deployment: Deployment, key: MappingKey) -> Attributes:
    """One row, or CommandError if there is none."""
    row = deployment.app.table.get_row(key)
    if row is None:
        raise names.no_such_mapping(key, names.row_keys(deployment))
    return row


def _as_seen(row: Attributes, *others: str) -> Update:
    """Conditions that hold while people's columns of a row, and others of it, are as they were read."""
    return if_as_read(row, dict.fromkeys([*(column.name for column in COLUMNS), *others]))


# ---- the verdicts on rows that were written ----

_CODES: Mapping[str, ExitCode] = {
    **dict.fromkeys(DONE, ExitCode.DONE),
    Status.REJECTED: ExitCode.REJECTED,
    Status.CONFLICT: ExitCode.REJECTED,
    Status.HELD: ExitCode.HELD,
    Status.HALTED: ExitCode.HELD,
}


def exit_code(statuses: Iterable[str], *, changes: bool = False) -> ExitCode:
    """How a command ends whose rows have these statuses; `changes`: some are still to be made, and that was asked."""
    found = {_CODES.get(each, ExitCode.NO) for each in statuses} | ({ExitCode.CHANGES} if changes else set())
    order = (ExitCode.NO, ExitCode.REJECTED, ExitCode.HELD, ExitCode.CHANGES)
    return next((each for each in order if each in found), ExitCode.DONE)


_POLL_SECONDS = 0.5
# Rolekeeper judges a row in about a second; after this long without a verdict it isn't just late.
PATIENCE_SECONDS = 60
# How long a row may be judged account by account.
ACCOUNT_BY_ACCOUNT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Written:
    """The rows that were written, and those that were not because another actor had changed them (`moved`).

    `others` said already what was wanted, and aren't in effect.
    """

    rows: tuple[Row, ...] = ()
    moved: tuple[MappingKey, ...] = ()
    others: tuple[Row, ...] = ()

    @property
    def unjudged(self) -> tuple[MappingKey, ...]:
        return tuple(row.key for row in (*self.rows, *self.others) if not row.status)

    @property
    def bad(self) -> tuple[Row, ...]:
        """The rows that are judged and aren't in effect as written."""
        return tuple(row for row in (*self.rows, *self.others) if row.status and not row.is_done)

    def require_judged(self) -> None:
        """Raise WaitTimeoutError if a row has no verdict."""
        if keys := self.unjudged:
            named = several([escaped(str(each)) for each in keys], 1)
            raise WaitTimeoutError(
                f"{'written, but ' if self.rows else ''}Rolekeeper said nothing of {named} for {PATIENCE_SECONDS} s",
                advice("see its row later: ", keys[0].remedy(Kind.MAPPING), "; its function is on_mapping_change"),
            )


def _judged(deployment: Deployment, keys: Sequence[MappingKey], *, just_written: bool) -> tuple[Row, ...]:
    """These rows as they are judged now: without a status until they are, `Removed` once one is gone for good.

    A status is that of the row as it was last judged, so it counts if the row was `just_written`, without any.
    """
    found = with_status(deployment, deployment.app.table.get_rows(keys))
    asked = [key for key in keys if key not in found or (not just_written and text_in(found[key], "status") in GOOD)]
    published = deployment.app.state.read([], asked).published if asked else {}
    rows = []
    for key in keys:
        row = Row.of(key, found.get(key, {}))
        if key in asked:
            live = published[key].spec if key in published and not published[key].deleted else None
            spec = read_row(found[key], deployment.app.home).spec if key in found else None
            status = row.status if key in found else Status.REMOVED
            row = replace(row, status=status if spec == live else "")
        rows.append(row)
    return tuple(rows)


def _until_judged(
    deployment: Deployment, keys: Sequence[MappingKey], look: Callable[[], tuple[Row, ...]], *, patience: float
) -> tuple[Row, ...]:
    """Look at these rows until each is judged, as long as more of them are.

    `patience` is how many seconds may pass without another verdict; 0 doesn't look at all.
    """
    rows = tuple(Row(key) for key in keys)
    over, until = 0, deployment.now() + ACCOUNT_BY_ACCOUNT
    if keys and patience > 0:
        with deployment.progress(len(keys), "rows judged") as progress:
            for left in deployment.looks(_POLL_SECONDS, patience):
                before, rows = over, look()
                over = sum(bool(row.status) and not row.judging for row in rows)
                progress.at(over)
                if over > before or (any(row.judging for row in rows) and deployment.now() < until):
                    left.renew()
                if over >= len(keys) or left.is_over:
                    break
    return rows


def is_own(deployment: Deployment, held: Held | None) -> bool:
    """Whether the caller made an edit that is held."""
    return held is not None and same_person(held.by, deployment.caller.arn)


# ---- rows that say already what is wanted ----


def with_verdicts(deployment: Deployment, plan: RowPlan, *, patience: float = PATIENCE_SECONDS) -> RowPlan:
    """The same plan with which of the rows that say already what is wanted aren't in effect, once they are judged."""
    keys = [change.key for change in plan.same]
    look = partial(_judged, deployment, keys, just_written=False)
    rows = look() if keys else ()
    if patience and not all(row.status and not row.judging for row in rows):
        rows = _until_judged(deployment, keys, look, patience=patience)
    return replace(plan, not_in_effect=tuple(row for row in rows if not row.is_done))


# ---- edits that aren't in effect: discarding them, and approving those that are held ----


@dataclass(frozen=True, slots=True)
class OpenEdit:
    """An edit of a row that isn't in effect."""

    key: MappingKey
    row: Attributes  # empty if the row was deleted, and that isn't in effect yet
    in_effect: PublishedMapping | None  # what is published; None for nothing
    held: Held | None = None  # what waits for approval

    @property
    def revision(self) -> int:
        """The number under which it is held; 0 if it isn't."""
        return self.held.mapping.revision if self.held else 0

    @property
    def deletes(self) -> bool:
        return self.held.mapping.deleted if self.held else not self.row

    @property
    def named(self) -> str:
        number = f"revision {self.revision}, " if self.revision else ""
        status = text_in(self.row, "status") or "not judged yet"
        return f"the {'deletion' if self.deletes else 'edit'} of {self.key} ({number}{status})"

    @property
    def left(self) -> str:
        """What is left once it is discarded, in words."""
        if self.in_effect:
            return f"This restores revision {self.in_effect.revision}, which is in effect; no instance changes."
        return "This deletes the row, which was never in effect; no instance changes."

    def discarding(self, deployment: Deployment) -> RowPlan:
        """What discarding it writes into the table."""
        return row_plan(deployment, self.key, self.row, spec=self.in_effect.spec if self.in_effect else None)


def find_open_edit(deployment: Deployment, key: MappingKey) -> OpenEdit | None:
    """The edit of a mapping's row that isn't in effect; None if its row says what is."""
    row, stored = deployment.app.table.get_row(key) or {}, deployment.app.revisions.read(key)
    in_effect = stored.published if stored.published and not stored.published.deleted else None
    edit = OpenEdit(key, row, in_effect, held=None if stored.held and stored.held.outcome else stored.held)
    if text_in(row, "status") == Status.HELD and edit.revision == number_in(row, "held_revision") > 0:
        return edit
    spec = read_row(row, deployment.app.home).spec if row else None
    same = in_effect.spec == spec if in_effect else not row
    return None if same else replace(edit, held=None)


def open_edit(
    deployment: Deployment, key: MappingKey, revision: int | None = None, *, is_held: bool = False
) -> OpenEdit:
    """The edit of a mapping that isn't in effect, or `is_held`. CommandError if there is none, or of that revision."""
    edit = find_open_edit(deployment, key)
    row = edit.row if edit else require_row(deployment, key)
    status, number = text_in(row, "status"), edit.revision if edit else 0
    if status == Status.HELD and not number:
        what = f"revision {number_in(row, 'held_revision')} of {key} is no longer held; nothing was changed"
        raise CommandError(what, "look again")
    if edit is None or not (number or (revision is None and not is_held)):
        raise CommandError(f"no edit of {key} is held: it is {status or 'not judged yet'}", "nothing to do")
    if revision not in {None, number}:
        look = advice("look at it first: ", key.remedy(Kind.MAPPING))
        raise CommandError(f"revision {number} of {key} is held, not {revision}", look)
    return edit


def discard(deployment: Deployment, edit: OpenEdit, *, patience: float = PATIENCE_SECONDS) -> Written:
    """Write back what is in effect.

    CommandError if the edit was published meanwhile, or edited again, or waits for some accounts only.
    """
    plan = edit.discarding(deployment)
    if edit.held and edit.deletes:
        # The row says so already: written again, it keeps the mapping.
        plan = RowPlan(plan.same)
    if not plan.changes:
        what = f"revision {edit.revision} of {edit.key} is in effect in other accounts; there is nothing to discard"
        raise CommandError(what, advice("to restore another revision, see: ", edit.key.remedy(Kind.MAPPING_HISTORY)))
    written = write(deployment, plan, patience=patience)
    if edit.revision and not (written.unjudged or _is_discarded(deployment, edit, written)):
        raise _not_discarded(deployment, edit)
    return written


def _is_discarded(deployment: Deployment, edit: OpenEdit, written: Written) -> bool:
    if written.moved:
        return False
    # A row that was never in effect is gone at once; that it was discarded is noted later.
    gone = not edit.in_effect and written.rows[0].is_gone
    return gone or _discarded(deployment, edit.key) == edit.revision


def approve(deployment: Deployment, held: Mapping[MappingKey, int], *, patience: float = PATIENCE_SECONDS) -> Written:
    """Approve held revisions, by their numbers, and wait for the verdicts (`_until_judged`).

    CommandError if one is no longer held, or the caller's own, or was discarded or edited meanwhile: those before it
    are.
    """
    for key, revision in held.items():
        _approve(deployment, key, revision)

    def look() -> tuple[Row, ...]:
        rows = _judged(deployment, list(held), just_written=True)
        # What is still held under its number waits for the approval.
        return tuple(replace(row, status="") if row.held_revision == held[row.key] else row for row in rows)

    written = Written(_until_judged(deployment, list(held), look, patience=patience))
    for row in written.rows:
        if row.status not in {"", Status.HELD} and _discarded(deployment, row.key):
            what = f"revision {held[row.key]} of {row.key} was discarded meanwhile; it isn't in effect"
            raise CommandError(what, advice("see who: ", row.key.remedy(Kind.MAPPING_HISTORY)))
    return written


def resume(deployment: Deployment, key: MappingKey, *, patience: float = PATIENCE_SECONDS) -> Written:
    """Have a halted rollout go on: its revision is written into the row. CommandError if none is halted."""
    row = require_row(deployment, key)
    status, revision = text_in(row, "status"), number_in(row, "status_revision")
    if status != Status.HALTED:
        raise CommandError(f"no rollout of {key} is halted: it is {status or 'not judged yet'}", "nothing to do")
    deployment.app.table.update(key, if_as_read(row, ("status", "status_revision")).set({RESUME.name: revision}))

    def look() -> tuple[Row, ...]:
        # What is still halted waits to be judged.
        return tuple(
            replace(row, status="") if row.status == Status.HALTED else row
            for row in _judged(deployment, [key], just_written=True)
        )

    return Written(_until_judged(deployment, [key], look, patience=patience))


def refuse_own(deployment: Deployment, key: MappingKey, held: Held | None) -> None:
    """CommandError if what is held of a mapping is the caller's own edit."""
    if held and is_own(deployment, held):
        hint = advice("another person runs: ", key.remedy(Kind.APPROVE))
        raise CommandError(f"revision {held.mapping.revision} of {key} is your own edit; it wasn't approved", hint)


def _approve(deployment: Deployment, key: MappingKey, revision: int) -> None:
    """Sign what is held under a number, as it was shown."""
    held = deployment.app.revisions.read(key).held
    row = deployment.app.table.get_row(key) or {}
    if held is None or not held.mapping.revision == number_in(row, "held_revision") == revision:
        raise CommandError(f"revision {revision} of {key} is no longer held; it wasn't approved", "look again")
    refuse_own(deployment, key, held)
    sign(deployment, held, deployment.caller)


def sign(deployment: Deployment, held: Held, by: Caller) -> None:
    """Write an approval of what is held."""
    now, expires_after = deployment.now(), timedelta(days=deployment.settings.history_days)
    shown = {"revision": held.mapping.revision, "digest": held.digest, "changes": held.changes, "takes": held.takes}
    # The time makes each write a change: the stream has no others (AWS_FACTS.md, "Lambda, SQS, ...").
    signed = {"arn": by.arn, "at": layout.timestamp(now), "expires": int((now + expires_after).timestamp())}
    item = {**layout.key_attributes(layout.approval_key(by.id, held.mapping.key)), **shown, **signed}
    deployment.app.store.write(deployment.app.store.put(item))


def _discarded(deployment: Deployment, key: MappingKey) -> int:
    """The revision that was held last, if it was discarded; else 0."""
    held = deployment.app.revisions.read(key).held
    return held.mapping.revision if held and held.outcome == layout.DISCARDED else 0


def _not_discarded(deployment: Deployment, edit: OpenEdit) -> CommandError:
    """That a revision was published, or edited again, while it was being discarded."""
    key, revision = edit.key, edit.revision
    status = text_in(deployment.app.table.get_row(key) or {}, "status")
    held = deployment.app.revisions.read(key).held
    if held and held.mapping.revision == revision and held.outcome == layout.PUBLISHED:
        what = (
            f"revision {revision} of {key} was published meanwhile; what you wrote is another edit, {status or 'done'}"
        )
        return CommandError(what, advice("see: ", key.remedy(Kind.MAPPING_HISTORY)))
    what = f"another actor edited {key} meanwhile; nothing was discarded, and the row is {status or 'gone'}"
    return CommandError(what, advice("see: ", key.remedy(Kind.MAPPING)))


# ---- `mapping set`: a row with some columns changed, read as every row is ----

_BY_NAME = {column.name: column for column in COLUMNS}


class UnreadableRowError(UsageError):
    """The edited row couldn't be read: `column` is the first one with a problem; empty if no column has one."""

    def __init__(self, problems: Sequence[Problem], remedy: str) -> None:
        super().__init__("; ".join(map(str, problems)), remedy)
        self.column = problems[0].column


def edited(key: MappingKey, row: Attributes, assignments: Sequence[str], home: HomeAccount) -> MappingSpec:
    """The mapping of a row after `column=value` each, or UsageError: a column is unknown, or the row can't be read."""
    if not assignments:
        raise UsageError("no column is given", "give some as column=value, like role=web")
    after = {**row, **layout.to_attributes(layout.encode(key))}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if name not in _BY_NAME or not equals:
            meant = did_you_mean(name, _BY_NAME)
            columns = f"the columns are {', '.join(_BY_NAME)}; what each is for: rolekeeper schema COLUMN"
            raise UsageError(f"{assignment!r} sets no column", f"{meant} {columns}".lstrip())
        if not text:
            after.pop(name, None)
            continue
        try:
            after[name] = from_text(_BY_NAME[name], text)
        except CellError as error:
            raise UnreadableRowError([Problem(str(error), column=name)], "nothing was written") from error
    verdict = read_row(after, home)
    if verdict.spec is None:
        raise UnreadableRowError(verdict.problems, "nothing was written; fix it and try again")
    return verdict.spec


# ---- the revision that a rollback restores ----

_LOOKED_AT = 100


def revision_before(deployment: Deployment, key: MappingKey, number: int) -> PublishedMapping | None:
    """The newest revision before this one that isn't a deletion."""
    store = deployment.app.store
    for item in store.last(layout.mapping_pk(key), "revision#", _LOOKED_AT):
        old = store.decode(layout.published_from, item)
        if old.revision < number and not old.deleted:
            return old
    return None


def revision_to_restore(deployment: Deployment, key: MappingKey, number: int | None) -> PublishedMapping:
    """That revision, or without a number the newest before the published one that isn't a deletion; or CommandError."""
    see = advice("see: ", key.remedy(Kind.MAPPING_HISTORY))
    if number is None:
        if edit := find_open_edit(deployment, key):
            drop = key.remedy(Kind.DISCARD)
            rest = advice("to discard it: ", drop, "; to restore a revision, whatever the row says: --to N")
            raise CommandError(f"{edit.named} isn't in effect", rest)
        published = deployment.app.revisions.read(key).published
        if published is None:
            raise names.no_such_mapping(key, names.row_keys(deployment))
        old = revision_before(deployment, key, published.revision)
        if old is None:
            remedy = "name one with --to, or edit the row: rolekeeper mapping set"
            raise CommandError(f"{key} has no revision before {published.revision}", remedy)
        return old
    store, at = deployment.app.store, (layout.mapping_pk(key), layout.revision_sk(number))
    items = store.get([at])
    if at not in items:
        raise CommandError(f"{key} has no revision {number}", see)
    found = store.decode(layout.published_from, items[at])
    if found.deleted:
        again = advice("to delete it again: ", key.remedy(Kind.REMOVE_MAPPING))
        raise CommandError(f"revision {number} of {key} is its deletion", again)
    return found


# ---- edits as plans, and writing them ----


class MovedError(CommandError):
    """Another actor changed rows after they were planned on."""

    def __init__(self, moved: Sequence[MappingKey], written: int) -> None:
        rows = ", ".join(escaped(str(key)) for key in moved)
        what = f"another actor changed {rows} since the plan: left as it is now; others written: {written:,}"
        super().__init__(what, "run the command again: it makes a new plan")


def set_columns(deployment: Deployment, key: MappingKey, assignments: Sequence[str]) -> RowPlan:
    """What `column=value` each changes in a row, or UsageError (`edited`); an empty value removes a column."""
    row = deployment.app.table.get_row(key) or {}
    return row_plan(deployment, key, row, spec=edited(key, row, assignments, home=deployment.app.home))


def remove(deployment: Deployment, key: MappingKey) -> RowPlan:
    """The deletion of a row, or CommandError if there is none."""
    return row_plan(deployment, key, require_row(deployment, key), spec=None)


def restoring(deployment: Deployment, old: PublishedMapping) -> RowPlan:
    return row_plan(deployment, old.key, deployment.app.table.get_row(old.key) or {}, spec=old.spec)


def write(deployment: Deployment, plan: RowPlan, *, patience: float = PATIENCE_SECONDS) -> Written:
    """Write a plan row by row, each only while it is as it was planned on, and wait for the verdicts."""
    written: list[Change] = []
    moved: list[MappingKey] = []
    with deployment.progress(len(plan.changes), "rows written") as progress:
        for change in progress.over(plan.changes):
            if write_change(deployment, change):
                written.append(change)
            else:
                moved.append(change.key)
    keys = [change.key for change in written]
    look = partial(_judged, deployment, keys, just_written=True)
    rows = _until_judged(deployment, keys, look, patience=patience)
    return Written(rows, tuple(moved), plan.not_in_effect)
