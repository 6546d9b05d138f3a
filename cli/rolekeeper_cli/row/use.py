"""The mapping table's rows, each with what is in effect beside what it says and that waits; and their revisions."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from rolekeeper.aws.errors import CorruptItemError
from rolekeeper.mappings.rows import COLUMNS, KEYS, Attributes, HomeAccount, read_row, row_of
from rolekeeper.mappings.snapshot import NO_LONGER_HELD
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import MappingKey, PublishedMapping
from rolekeeper.model.problem import Kind, Problem, Remedy, advice, stored
from rolekeeper.storage import layout
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.row.edits import require_row, to_text
from rolekeeper_cli.row.effect import GOOD, IDLE, Effect, of_rows, with_status, worth_saying
from rolekeeper_cli.row.names import require_mapping
from rolekeeper_cli.row.view import EditEntryView, ImpactView, InEffectView, MappingView, WaitingEditView

type Columns = Mapping[str, tuple[str, str]]


def plain(attribute: Any) -> Any:
    """A DynamoDB value as YAML and JSON know it; sets are sorted lists."""
    return _simple(layout.plain(attribute))


def file_row(row: Attributes, home: HomeAccount) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """A row for a file, without defaults. A row that can't be read stays as it is, and its problems say why."""
    verdict = read_row(row, home)
    written = row_of(verdict.spec) if verdict.spec else row
    names = [column.name for column in (*KEYS, *COLUMNS) if column.name in written]
    return {name: plain(written[name]) for name in names}, verdict.problems


def _ours(value: Any, kind: type) -> Any:
    """A column of Rolekeeper's, which anyone who may write the table may have overwritten."""
    return value if type(value) is kind else None


def _simple(value: Any) -> Any:
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case set():
            return sorted(map(_simple, value))
        case Mapping():
            return {name: _simple(each) for name, each in sorted(value.items())}
        case list():
            return [_simple(each) for each in value]
        case str() | bool() | None:
            return value
    return "(Binary that can't be shown)"


def views(deployment: Deployment, keys: Iterable[MappingKey] = ()) -> list[MappingView]:
    """These rows, or all, with what is in effect of each and what isn't. CommandError if one isn't there."""
    named = {key: require_row(deployment, key) for key in keys}
    return views_of(deployment, named or deployment.app.table.all_rows())


def revisions(deployment: Deployment, key: MappingKey, limit: int) -> list[EditEntryView]:
    """A mapping's edits and their results, newest first, or CommandError if there are none."""
    if found := history(deployment, key, limit):
        return found
    require_mapping(deployment, key, "; a row that was deleted before it was judged leaves no history")
    raise CommandError(f"{key} has no history", advice("see: ", Remedy(Kind.MAPPINGS)))


def history(deployment: Deployment, key: MappingKey, limit: int) -> list[EditEntryView]:
    """The same; empty if there are none: Rolekeeper has judged no edit of it yet, or none lately."""
    return list(map(_entry, deployment.app.revisions.history(key, limit)))


def _entry(stored: Mapping[str, Any]) -> EditEntryView:
    values = {name: None if stored.get(name) == "" else stored.get(name) for name in EditEntryView.fields}
    return EditEntryView(**values | {"effect": ImpactView.of(stored["effect"]) if stored.get("effect") else None})


def diffs(deployment: Deployment, key: MappingKey, entries: Iterable[EditEntryView], *, limit: int) -> list[Columns]:
    """The columns that each edit of a history changed, before and after; empty for one that isn't known in full.

    A default is empty, as are all columns before a new row and after a deletion.
    """
    published: dict[int, PublishedMapping] = {}
    for item in deployment.app.store.last(layout.mapping_pk(key), "revision#", limit):
        with suppress(CorruptItemError):
            revision = deployment.app.store.decode(layout.published_from, item)
            published[revision.revision] = revision
    held = deployment.app.revisions.read(key).held
    known = ({held.mapping.revision: held.mapping} if held else {}) | published

    def diff(entry: EditEntryView) -> Columns:
        # What a rejected edit wrote isn't kept: its entry names the revision that stays in effect.
        after = known.get(entry.revision or 0) if entry.changes else None
        was = published.get(max((number for number in published if after and number < after.revision), default=0))
        if after is None or (was is None and after.revision > 1):
            return {}
        both = (row_of(each.spec) if each and not each.deleted else {} for each in (was, after))
        before, then = ({name: to_text(value) for name, value in row.items()} for row in both)
        names = [column.name for column in COLUMNS if before.get(column.name) != then.get(column.name)]
        return {name: (before.get(name, ""), then.get(name, "")) for name in names}

    return [diff(each) for each in entries]


def key_of(view: MappingView) -> MappingKey:
    return MappingKey(view.columns["tag_key"], view.columns["tag_value"])


def last_edits(deployment: Deployment, views: Iterable[MappingView]) -> dict[str, dict[str, str]]:
    """When (`at`) each row was edited last, and who claims to have done it (`by`), by its mapping; empty if unknown."""
    at: dict[str, layout.Key] = {}
    entries: dict[str, Mapping[str, Any]] = {}
    for view in views:
        if view.status == Status.HELD:
            at[view.mapping] = layout.held_key(key_of(view))
        elif view.status in GOOD and view.status_revision:
            at[view.mapping] = layout.mapping_pk(key_of(view)), layout.revision_sk(view.status_revision)
        else:
            # Only the history has an edit that isn't in effect.
            entries[view.mapping] = next(iter(deployment.app.revisions.history(key_of(view), 1)), {})
    items = deployment.app.store.get(at.values())
    entries |= {name: items.get(where, {}) for name, where in at.items()}
    return {
        name: {"at": str(entry.get("at", "")), "by": str(entry.get("claimed_by") or entry.get("by", ""))}
        for name, entry in entries.items()
    }


def consent(entry: EditEntryView) -> str:
    """Why an edit that was held took effect, in words; empty for any other.

    IAM proves the id of who approved it, and a role's session in it. A user's name is what the approver claims.
    """
    if not (by := entry.approved_by):
        return NO_LONGER_HELD if entry.cause == NO_LONGER_HELD else ""
    claimed, session = entry.approver_claims or "", by.partition(":")[2]
    name = session or (re.split(r"[/:]", claimed)[-1] if claimed.startswith("arn:") else "")
    return f"approved by {name} ({by})" if name else f"approved by {by}"


def views_of(deployment: Deployment, rows: Mapping[MappingKey, Attributes]) -> list[MappingView]:
    """Rows, each with what is in effect and what waits."""
    rows = with_status(deployment, rows)
    effects = of_rows(deployment, rows)
    return [_view(key, row, effects[key]) for key, row in rows.items()]


def noteworthy(view: MappingView) -> str:
    """Why a row has its status; empty if it is just in effect."""
    reason = view.status_reason or ""
    return reason if worth_saying(stored(reason, view.status_details)) else ""


def _view(key: MappingKey, row: Attributes, effect: Effect) -> MappingView:
    """A row; a column of Rolekeeper's with a value that it can't have written is null."""
    values, in_effect = {name: plain(attribute) for name, attribute in row.items()}, effect.in_effect
    texts = {name: _ours(values.get(name), str) or None for name in ("status", "status_reason")}
    counts = ("status_revision", "held_revision", "matched", "occupied", "moved")
    numbers = {name: _ours(values.get(name), int) for name in counts}
    edit = next((edit for edit in effect.edits if edit.edited), None)
    what = "deletion" if edit and edit.deletes else "edit"
    return MappingView(
        **{**texts, **numbers},
        mapping=str(key),
        columns={column.name: values[column.name] for column in (*KEYS, *COLUMNS) if column.name in values},
        status_details=_ours(values.get("status_details"), list),
        in_effect=InEffectView(role=in_effect.spec.role, revision=in_effect.revision) if in_effect else None,
        idle_because=IDLE[effect.idle.code] if effect.idle else None,
        waits=WaitingEditView(what=what, role=edit.role, because=edit.because) if edit else None,
        not_in_effect=effect.views(),
    )
