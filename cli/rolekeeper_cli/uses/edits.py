"""Editing mappings: what an edit would change, writing that, and what Rolekeeper makes of it.

A plan carries the rows that it was made over. A row that another actor changed since is left as it is.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError, ConflictError
from rolekeeper.mappings.revisions import StoredMapping
from rolekeeper.mappings.rows.columns import (
    ASKS,
    COLUMNS,
    OURS,
    TYPES,
    Attributes,
    CellError,
    Column,
    HomeAccount,
    quote,
)
from rolekeeper.mappings.rows.reader import read_row, row_of
from rolekeeper.mappings.table import if_as_read, number_in
from rolekeeper.mappings.verdict import IN_EFFECT, Status
from rolekeeper.model.mapping import MappingKey, MappingSpec, PublishedMapping, same_person
from rolekeeper.model.problem import Kind, Problem, Remedy, advice
from rolekeeper.model.text import escaped
from rolekeeper.storage import Update, layout
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError, WaitTimeoutError
from rolekeeper_cli.layout import several
from rolekeeper_cli.suggest import did_you_mean
from rolekeeper_cli.uses import names
from rolekeeper_cli.uses.history import revision_before

# ---- a column's value as text ----


type Attribute = Mapping[str, Any]
"""A low-level DynamoDB value, as `{"S": "web"}`."""

_BETWEEN = re.compile(r"[;,\s]+")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# A run of characters and backslash pairs up to a semicolon that stands for itself.
_TAG = re.compile(r"(?:[^;\\]|\\.)+", re.DOTALL)
_KEY = re.compile(r"(?:[^=\\]|\\.)*", re.DOTALL)


def from_text(column: Column, text: str) -> Attribute:
    """What a text says in a column; whether the column takes it is for `read_row`.

    Raises:
        CellError: it has no meaning there.
    """
    match column.kind.type:
        case "BOOL":
            if text.casefold() not in {"true", "false"}:
                raise CellError(f"is {quote(text)}; write true or false")
            return {"BOOL": text.casefold() == "true"}
        case "SS":
            return {"SS": [each for each in _BETWEEN.split(text) if each]}
        case "M":
            return {"M": dict(_tags_of_text(text))}
    return {column.kind.type: text}


def to_text(attribute: Attribute) -> str:
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


def _tags_of_text(text: str) -> Iterator[tuple[str, Attribute]]:
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


_KINDS = ("new", "changed", "deleted")


@dataclass(frozen=True, slots=True)
class Difference:
    """A column that changes, from and to in words."""

    column: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Change:
    """One row that changes.

    `row` is the row as it was seen, empty for a new one, and `was` the mapping in it, if it could be read.
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

    @property
    def before(self) -> Attributes:
        """The columns that the row has, in the form of `after` where they can be read."""
        return row_of(self.was) if self.was else self.row

    @property
    def after(self) -> Attributes:
        """The columns that the row has afterwards, defaults left out."""
        return row_of(self.spec) if self.spec else {}

    def cells(self) -> list[str]:
        """The columns of the row that is new, or is deleted, as `name=value`."""
        row = self.after or self.before
        return [f"{column.name}={to_text(row[column.name])}" for column in COLUMNS if column.name in row]

    def differences(self) -> list[Difference]:
        """What of the columns changes, in their order; a default is told as what it stands for."""
        found = []
        for column in COLUMNS:
            old, new = _shown(column, self.before), _shown(column, self.after)
            if old != new:
                found.append(Difference(column.name, old, new))
        return found

    def document(self) -> dict[str, Any]:
        columns = {each.column: {"from": each.old, "to": each.new} for each in self.differences()}
        return {"kind": self.kind, "columns": columns}


@dataclass(frozen=True, slots=True)
class RowPlan:
    """All that would change, by key."""

    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    kept: int = 0

    def counts(self) -> str:
        kinds = [each.kind for each in self.changes]
        said = [f"{kinds.count(kind):,} {kind}" for kind in _KINDS]
        return f"{', '.join(said)}, {self.unchanged:,} unchanged"

    def document(self) -> dict[str, Any]:
        changes = [{"mapping": str(each.key), **each.document()} for each in self.changes]
        return {"changes": changes, "unchanged": self.unchanged, "not_in_file": self.kept}


def planned(
    specs: Iterable[MappingSpec], rows: Mapping[MappingKey, Attributes], home: HomeAccount, *, prune: bool = False
) -> RowPlan:
    """Compare mappings with the rows that are there: by what they say, so a default is as good as nothing.

    Args:
        prune: whether rows that aren't wanted are deleted.
    """
    changes = []
    unchanged = 0
    wanted = {spec.key: spec for spec in specs}
    present = {key: read_row(row, home).spec for key, row in rows.items()}
    for key, spec in wanted.items():
        if present.get(key) == spec:
            unchanged += 1
        else:
            changes.append(Change(key, rows.get(key, {}), present.get(key), spec=spec))
    others = [Change(key, row, present[key], spec=None) for key, row in rows.items() if key not in wanted]
    if prune:
        changes += others
    return RowPlan(tuple(sorted(changes, key=lambda each: each.key)), unchanged, 0 if prune else len(others))


def _shown(column: Column, row: Attributes) -> str:
    """A column's value in words; what stands for it when there is none."""
    attribute = row.get(column.name)
    if not attribute:
        return "" if column.default == "required" else column.default
    text = to_text(attribute)
    kind = next(iter(attribute))
    return text if kind == column.kind.type else f"{text} ({TYPES.get(kind, kind)})"


# ---- the mapping table's rows as people edit them ----


type Rows = dict[MappingKey, Attributes]

# What of a row isn't the mapping: ours, and what people ask beside it.
_BESIDE = frozenset(OURS) | {column.name for column in ASKS}


def write_change(deployment: Deployment, change: Change) -> bool:
    """Make a change, if the row is still as it was seen; False when another actor changed it: nothing was written."""
    table, by = deployment.app.table, {"edited_by": deployment.caller.arn}
    try:
        if change.kind == "new":
            table.put({**change.after, **layout.to_attributes(by)})
        elif change.kind == "changed":
            table.put(*_put_again(change, by))
        else:
            # The stream's record of a deletion shows the row as it was: that tells who deleted it.
            table.update(change.key, _as_seen(change.row).set(by))
            table.delete(change.key, _as_seen(change.row))
    except ConflictError:
        return False
    return True


def _put_again(change: Change, by: Mapping[str, str]) -> tuple[Attributes, Update]:
    """The row without our columns: so a verdict is seen to be new, and all but what changes stays; and its condition.

    An update that took `status` away would do too, but only for those who may write that column.
    """
    kept = {name: value for name, value in change.row.items() if name not in _BESIDE}
    changed = [each.column for each in change.differences()]
    after = {name: change.after[name] for name in changed if name in change.after}
    unchanged = {name: value for name, value in kept.items() if name not in changed}
    return {**unchanged, **after, **layout.to_attributes(by)}, _as_seen(change.row, *kept)


def _ask(deployment: Deployment, key: MappingKey, update: Update) -> bool:
    """Ask something of Rolekeeper in a row; False when the row is gone."""
    try:
        deployment.app.table.update(key, update.only_if_present("tag_key"))
    except ConflictError:
        return False
    return True


def _now(deployment: Deployment, key: MappingKey) -> Attributes:
    """A row as it is now; empty where there is none."""
    return deployment.app.table.get_rows([key]).get(key, {})


def require_row(deployment: Deployment, key: MappingKey) -> Attributes:
    """One row.

    Raises:
        CommandError: there is none.
    """
    row = deployment.app.table.get_row(key)
    if row is None:
        raise CommandError(f"there is no mapping {key}", advice("see: ", Remedy(Kind.MAPPINGS)))
    return row


def said(row: Attributes, column: str) -> str:
    """One of our columns of a row, as text."""
    attribute: Any = row.get(column) or {}
    return str(next(iter(attribute.values()), ""))


def _as_seen(row: Attributes, *others: str) -> Update:
    """Conditions that hold while people's columns of a row, and others of it, say what they said."""
    return if_as_read(row, dict.fromkeys([*(column.name for column in COLUMNS), *others]))


def all_is_well(reason: str) -> bool:
    """Whether a row's reason says that it is in effect wherever it is to be, and no more."""
    return re.fullmatch(rf"{IN_EFFECT}( in [0-9,]+ accounts)?", reason) is not None


# ---- the verdicts on rows that were written ----


# In effect as it was written; all else wants a person's attention.
GOOD = frozenset({Status.PUBLISHED, Status.EXPIRED})
_POLL_SECONDS = 0.5
# Rolekeeper judges a row in about a second; where none comes for this long, it isn't just late.
PATIENCE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class RowVerdict:
    """What Rolekeeper says of a row that was written.

    Attributes:
        deletes: whether the row was deleted, not written.
        judged: whether Rolekeeper has said anything yet; if not, all that follows is empty.
        gone: whether the row is gone, and nothing of it is in effect.
        status: what its column `status` says (`Status`), and `reason` why.
        revision: the one in effect; 0 for none.
        held: the one that is held; 0 for none.
        meant: the role that a rejected row may mean; empty where none is near.
    """

    key: MappingKey
    deletes: bool = False
    judged: bool = False
    gone: bool = False
    status: str = ""
    reason: str = ""
    revision: int = 0
    held: int = 0
    meant: str = ""

    @property
    def is_held(self) -> bool:
        """Whether what was written waits for a second person."""
        return self.status == Status.HELD

    @property
    def good(self) -> bool:
        """Whether what was written is in effect."""
        return self.gone or self.status in GOOD


@dataclass(frozen=True, slots=True)
class Written:
    """The result of writing: the rows written; and those left alone, as another actor changed them (`moved`)."""

    rows: tuple[RowVerdict, ...] = ()
    moved: tuple[MappingKey, ...] = ()

    @property
    def unjudged(self) -> tuple[MappingKey, ...]:
        """The rows of which Rolekeeper had said nothing when the wait ended."""
        return tuple(each.key for each in self.rows if not each.judged)

    @property
    def bad(self) -> tuple[RowVerdict, ...]:
        """The rows that are judged and aren't in effect as written."""
        return tuple(each for each in self.rows if each.judged and not each.good)

    def require_judged(self, patience: float = PATIENCE_SECONDS) -> None:
        """Refuse to go on without a verdict on each row.

        Raises:
            WaitTimeoutError: rows have none after this patience, in seconds.
        """
        if missing := self.unjudged:
            first, *_ = names = [escaped(str(each)) for each in missing]
            raise WaitTimeoutError(
                f"written, but Rolekeeper said nothing of {several(names, 1)} for {patience:g} s",
                f"see its row later: rolekeeper mapping get {first}; its function is on_mapping_change",
            )


def wait_for_verdicts(
    deployment: Deployment,
    keys: Sequence[MappingKey],
    look: Callable[[], Rows],
    *,
    patience: float,
    deletes: Collection[MappingKey] = (),
) -> tuple[RowVerdict, ...]:
    """Look until each of these rows is judged, as long as more are.

    Args:
        look: gives those that are judged, as they are now; one that is gone for good is empty.
        patience: how long none more may be judged until the wait ends, in seconds; 0 doesn't look at all.
    """
    judged = _wait(deployment, keys, look, patience=patience) if patience > 0 else {}
    rejected = [row for row in judged.values() if said(row, "status") == Status.REJECTED]
    roles = names.path_roles(deployment) if rejected else []
    return tuple(_verdict(key, judged, roles, deletes=key in deletes) for key in keys)


def _wait(deployment: Deployment, keys: Sequence[MappingKey], look: Callable[[], Rows], patience: float) -> Rows:
    judged: Rows = {}
    if not keys:
        return judged
    with deployment.progress(len(keys), "rows judged") as progress:
        for left in deployment.looks(_POLL_SECONDS, patience):
            seen = look()
            if len(seen) > len(judged):
                left.renew()
            judged = seen
            progress.at(len(judged))
            if len(judged) >= len(keys) or left.is_over:
                break
    return judged


def _verdict(
    key: MappingKey, judged: Mapping[MappingKey, Attributes], roles: Sequence[str], *, deletes: bool
) -> RowVerdict:
    if key not in judged:
        return RowVerdict(key, deletes)
    row = judged[key]
    status = said(row, "status")
    return RowVerdict(
        key,
        deletes,
        judged=True,
        gone=not row,
        status=status,
        reason=said(row, "status_reason"),
        revision=number_in(row, "status_revision"),
        held=number_in(row, "held_revision"),
        meant=names.nearest_role(said(row, "role"), roles) if status == Status.REJECTED else "",
    )


# ---- undoing what a row says and that isn't in effect ----


@dataclass(frozen=True, slots=True)
class Unpublished:
    """What a row says and that isn't in effect.

    Attributes:
        row: the row; empty where it was deleted, and that isn't in effect yet.
        in_effect: what is published; None for nothing.
        revision: the number under which it is held; 0: it isn't.
        deletes: whether it is a deletion that is held.
    """

    key: MappingKey
    row: Attributes
    in_effect: PublishedMapping | None
    revision: int = 0
    deletes: bool = False

    @property
    def reason(self) -> str:
        """Why it isn't in effect, as the row says."""
        return said(self.row, "status_reason")

    @property
    def named(self) -> str:
        what = "deletion" if self.deletes or not self.row else "edit"
        number = f"revision {self.revision}, " if self.revision else ""
        status = said(self.row, "status") or "not judged yet"
        return f"the {what} of {self.key} ({number}{status})"

    @property
    def left(self) -> str:
        """What is left once it is undone, in words."""
        if self.in_effect:
            return f"This restores revision {self.in_effect.revision}, which is in effect; no instance changes."
        return "This deletes the row, which was never in effect; no instance changes."


def unpublished(deployment: Deployment, key: MappingKey) -> Unpublished | None:
    """What a mapping's row says and that isn't in effect; None where the two agree."""
    stored, row = deployment.app.revisions.read(key), deployment.app.table.get_row(key) or {}
    in_effect = stored.published if stored.published and not stored.published.deleted else None
    if held := _held(stored, row):
        return Unpublished(key, row, in_effect, revision=held.revision, deletes=held.deleted)
    spec = read_row(row, deployment.app.home).spec if row else None
    same = in_effect.spec == spec if in_effect else not row
    return None if same else Unpublished(key, row, in_effect)


def back_to_published(deployment: Deployment, edit: Unpublished) -> RowPlan:
    """What undoing it writes into the table, as a plan: what is held is discarded, so that this is only shown."""
    specs = [edit.in_effect.spec] if edit.in_effect else []
    return planned(specs, {edit.key: edit.row} if edit.row else {}, deployment.app.home, prune=True)


def _held(stored: StoredMapping, row: Attributes) -> PublishedMapping | None:
    held = stored.held.mapping if stored.held and not stored.held.outcome else None
    shown = said(row, "status") == Status.HELD and number_in(row, "held_revision")
    return held if held and held.revision == shown else None


# ---- held edits and deletions ----


def held_edit(deployment: Deployment, key: MappingKey, revision: int | None = None) -> Unpublished:
    """What is held of a mapping, for a person to look at; with a revision, only if that is the one.

    Raises:
        CommandError: there is no such mapping, or it isn't held, or another revision of it is.
    """
    held = held_number(key, require_row(deployment, key), revision)
    edit = unpublished(deployment, key)
    if edit is None or edit.revision != held:
        raise CommandError(f"revision {held} of {key} is no longer held; nothing was changed", "look again")
    return edit


def held_number(key: MappingKey, row: Attributes, revision: int | None) -> int:
    """The number that a row shows as held.

    Raises:
        CommandError: it shows none, or another one than is meant.
    """
    held = number_in(row, "held_revision")
    if not held:
        what = f"no edit of {key} is held: it is {said(row, 'status') or 'not judged yet'}"
        raise CommandError(what, "nothing to do")
    if revision not in {None, held}:
        raise CommandError(f"revision {held} of {key} is held, not {revision}", "look at that one first")
    return held


def approve(deployment: Deployment, held: Mapping[MappingKey, int], *, patience: float = PATIENCE_SECONDS) -> Written:
    """Approve revisions that are held, by their numbers, and wait for the verdicts.

    Args:
        patience: how long Rolekeeper may judge none more of the rows until the wait ends, in seconds; 0: no wait.

    Raises:
        CommandError: one isn't held any more, is the caller's own edit, or was discarded or edited meanwhile. Those
            before it are approved.
    """
    for key, revision in held.items():
        _approve(deployment, key, revision)

    def look() -> Rows:
        # An approved deletion takes the row away for good.
        found = deployment.app.table.get_rows(held)
        seen = {key: found.get(key, {}) for key in held}
        # Where another edit is held by now, or the row is rejected, the number stays in it and approves nothing.
        return {
            key: row
            for key, row in seen.items()
            if "approve" not in row
            or number_in(row, "held_revision") not in {0, held[key]}
            or said(row, "status") not in {"", Status.HELD}
        }

    verdicts = wait_for_verdicts(deployment, list(held), look, patience=patience)
    for each in verdicts:
        if each.judged and each.status != Status.HELD:
            _refuse_discarded(deployment, each.key, held[each.key])
    return Written(verdicts)


def discard(deployment: Deployment, key: MappingKey, revision: int, *, patience: float = PATIENCE_SECONDS) -> Written:
    """Have a revision dropped that is held, by its number, and wait until the row says again what is in effect.

    Raises:
        CommandError: it is no longer held: it was approved, or another edit came.
    """
    if not (_holds(deployment, key, revision) and _ask_to_discard(deployment, key, revision)):
        raise CommandError(f"revision {revision} of {key} is no longer held; nothing was discarded", "look again")

    def look() -> Rows:
        row = _now(deployment, key)
        return {key: row} if not row or ("discard" not in row and "status" in row) else {}

    written = Written(wait_for_verdicts(deployment, [key], look, patience=patience))
    if not written.unjudged:
        _refuse_kept(deployment, key, revision, status=written.rows[0].status)
    return written


def _approve(deployment: Deployment, key: MappingKey, revision: int) -> None:
    """Sign one approval, and write its number into the row."""
    caller, now = deployment.caller, deployment.now()
    expires = int((now + timedelta(days=deployment.settings.history_days)).timestamp())
    signed = {"arn": caller.arn, "at": layout.timestamp(now), "expires": expires}
    stored = deployment.app.revisions.read(key).held
    if stored and same_person(stored.by, caller.arn):
        hint = "edited_by names you; another person runs: rolekeeper mapping approve"
        raise CommandError(f"revision {revision} of {key} is your own edit; it wasn't approved", hint)
    if stays := stored is not None and stored.mapping.revision == revision and _holds(deployment, key, revision):
        # Signed first: a row whose approval nobody signed yet is judged again by the next sweep only.
        item = layout.key_attributes(layout.approval_key(caller.id, key, revision)) | signed
        deployment.app.store.write(deployment.app.store.put(item))
        stays = _ask_to_publish(deployment, key, revision)
    if not stays:
        raise CommandError(f"revision {revision} of {key} is no longer held; it wasn't approved", "look again")


def _holds(deployment: Deployment, key: MappingKey, revision: int) -> bool:
    """Whether a row shows a revision as held.

    It isn't a condition of approving: an approver's policy names no column of Rolekeeper's, not even in a
    condition. A number that is overtaken meanwhile approves nothing, and discards nothing.
    """
    return number_in(_now(deployment, key), "held_revision") == revision


def _ask_to_publish(deployment: Deployment, key: MappingKey, revision: int) -> bool:
    if number_in(_now(deployment, key), "approve") == revision:
        # An update that changes nothing isn't in the stream, so nobody would look at the row.
        _ask(deployment, key, Update().remove("approve"))
    return _ask(deployment, key, Update().set({"approve": revision, "approved_by": deployment.caller.id}))


def _ask_to_discard(deployment: Deployment, key: MappingKey, revision: int) -> bool:
    try:
        return _ask(deployment, key, Update().set({"discard": revision, "edited_by": deployment.caller.arn}))
    except AccessDeniedError:
        # An approver may discard, but not say who edits.
        return _ask(deployment, key, Update().set({"discard": revision}))


def _refuse_discarded(deployment: Deployment, key: MappingKey, revision: int) -> None:
    """Refuse to call published what was discarded while it was being approved."""
    stored = deployment.app.revisions.read(key)
    if stored.held and stored.held.outcome == layout.DISCARDED:
        what = f"revision {revision} of {key} was discarded meanwhile; it isn't in effect"
        raise CommandError(what, advice("see who: ", key.remedy(Kind.MAPPING_HISTORY)))


def _refuse_kept(deployment: Deployment, key: MappingKey, revision: int, status: str) -> None:
    """Refuse to call discarded what was approved, or edited again, meanwhile."""
    stored = deployment.app.revisions.read(key)
    if stored.held and stored.held.mapping.revision == revision and stored.held.outcome == layout.DISCARDED:
        return
    if stored.published and stored.published.revision == revision:
        what = f"revision {revision} of {key} was approved meanwhile, and is in effect; nothing was discarded"
        raise CommandError(what, advice("to go back: ", key.remedy(Kind.ROLL_BACK)))
    what = f"another actor edited {key} meanwhile; nothing was discarded, and the row is {status or 'gone'}"
    raise CommandError(what, advice("see: ", key.remedy(Kind.MAPPING)))


# ---- `mapping set`: a row with some columns changed, read as every row is ----


_BY_NAME = {column.name: column for column in COLUMNS}


class UnreadableRowError(UsageError):
    """The row couldn't be read if it said that: `column` is the first one with a problem, empty where none has one."""

    def __init__(self, problems: Sequence[Problem], remedy: str) -> None:
        super().__init__("; ".join(map(str, problems)), remedy)
        self.column = problems[0].column


def edited(key: MappingKey, row: Attributes, assignments: Sequence[str], home: HomeAccount) -> MappingSpec:
    """The mapping that a row says after `column=value` each.

    Raises:
        UsageError: a column is unknown, or the row couldn't be read then.
    """
    if not assignments:
        raise UsageError("no column is given", "give some as column=value, like role=web")
    after = {**row, **layout.to_attributes(layout.encode(key))}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if name not in _BY_NAME or not equals:
            raise _no_column(assignment, name)
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


def _no_column(assignment: str, name: str) -> UsageError:
    meant = did_you_mean(name, _BY_NAME)
    columns = f"the columns are {', '.join(_BY_NAME)}; what each is for: rolekeeper schema COLUMN"
    return UsageError(f"{assignment!r} sets no column", f"{meant} {columns}".lstrip())


# ---- which revision of a mapping a rollback goes to ----


def revision_to_restore(deployment: Deployment, key: MappingKey, number: int | None) -> PublishedMapping:
    """That revision; without a number, the newest before what is served that isn't a deletion.

    Raises:
        CommandError: there is none such.
    """
    store = deployment.app.store
    pk = layout.mapping_pk(key)
    if number is not None:
        at = (pk, layout.revision_sk(number))
        items = store.get([at])
        if at not in items:
            raise CommandError(f"{key} has no revision {number}", advice("see: ", key.remedy(Kind.MAPPING_HISTORY)))
        found = store.decode(layout.published_from, items[at])
        if found.deleted:
            raise CommandError(
                f"revision {number} of {key} is its deletion",
                advice("to delete it again: ", key.remedy(Kind.REMOVE_MAPPING)),
            )
        return found
    published = deployment.app.revisions.read(key).published
    if published is None:
        raise CommandError(
            f"no revision of {key} was ever published", advice("see: ", key.remedy(Kind.MAPPING_HISTORY))
        )
    old = revision_before(deployment, key, published.revision)
    if old is None:
        remedy = "name one with --to, or edit the row: rolekeeper mapping set"
        raise CommandError(f"{key} has no revision before {published.revision}", remedy)
    return old


# ---- edits as plans, and writing them ----


class MovedError(CommandError):
    """Another actor changed rows after they were planned on."""

    def __init__(self, moved: Sequence[MappingKey], written: int) -> None:
        rows = ", ".join(escaped(str(key)) for key in moved)
        what = f"another actor changed {rows} since the plan: left as it is now; {written:,} others were written"
        super().__init__(what, "run the command again: it plans anew")


def set_columns(deployment: Deployment, key: MappingKey, assignments: Sequence[str]) -> RowPlan:
    """What `column=value` each would change in a row, new or there; an empty value removes a column.

    Raises:
        UsageError: a column is unknown, or the row couldn't be read then.
    """
    row = deployment.app.table.get_row(key)
    spec = edited(key, row or {}, assignments, home=deployment.app.home)
    return planned([spec], {key: row} if row else {}, deployment.app.home)


def remove(deployment: Deployment, key: MappingKey) -> RowPlan:
    """The deletion of a row.

    Raises:
        CommandError: there is none.
    """
    return planned([], {key: require_row(deployment, key)}, deployment.app.home, prune=True)


def restoring(deployment: Deployment, old: PublishedMapping) -> RowPlan:
    """What restoring a revision writes into its row, whatever that says."""
    row = deployment.app.table.get_row(old.key)
    return planned([old.spec], {old.key: row} if row else {}, deployment.app.home)


def write(deployment: Deployment, plan: RowPlan, *, patience: float = PATIENCE_SECONDS) -> Written:
    """Write a plan row by row, each only while it is as it was planned on, and wait for the verdicts.

    Args:
        patience: how long Rolekeeper may judge none more of the rows until the wait ends, in seconds; 0: no wait.
    """
    written: list[Change] = []
    moved: list[MappingKey] = []
    with deployment.progress(len(plan.changes), "rows written") as progress:
        for change in progress.over(plan.changes):
            if write_change(deployment, change):
                written.append(change)
            else:
                moved.append(change.key)
    return Written(judge(deployment, written, patience), tuple(moved))


def undo(deployment: Deployment, edit: Unpublished, *, patience: float = PATIENCE_SECONDS) -> Written:
    """Undo what isn't in effect: what is held is discarded, all else is written.

    Raises:
        CommandError: it is no longer held: it was approved, or another edit came.
    """
    if edit.revision:
        return discard(deployment, edit.key, edit.revision, patience=patience)
    return write(deployment, back_to_published(deployment, edit), patience=patience)


def judge(deployment: Deployment, written: Sequence[Change], patience: float) -> tuple[RowVerdict, ...]:
    """Wait until Rolekeeper judged these rows.

    A row is written without `status`, so one with it is judged. A deletion is done once no mapping serves any more; one
    that would change too much comes back as a row that is held.
    """
    put = [each.key for each in written if each.kind != "deleted"]
    deleted = [each.key for each in written if each.kind == "deleted"]

    def look() -> Rows:
        seen = deployment.app.table.get_rows([*put, *deleted])
        judged = {key: row for key, row in seen.items() if "status" in row}
        gone = [key for key in deleted if key not in seen]
        served = deployment.app.state.read([], gone).published if gone else {}
        return judged | {key: {} for key in gone if key not in served or served[key].deleted}

    return wait_for_verdicts(deployment, [*put, *deleted], look, patience=patience, deletes=deleted)
