"""Edits and deletions that are held: approving them, and discarding them, each by its number."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from rolekeeper.mappings.rows.columns import Attributes
from rolekeeper.mappings.table import number_in
from rolekeeper.mappings.verdict import Status
from rolekeeper.model import escaped
from rolekeeper.model.mapping import MappingKey, same_person
from rolekeeper.model.problem import Kind, advice
from rolekeeper.storage import layout
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, WaitTimeoutError
from rolekeeper_cli.uses import names
from rolekeeper_cli.uses.rows import Rows, mapping_rows, require_row, said
from rolekeeper_cli.uses.until import looks

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
            first = escaped(str(missing[0]))
            others = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
            raise WaitTimeoutError(
                f"written, but Rolekeeper said nothing of {first}{others} for {patience:g} s",
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
        for left in looks(deployment, _POLL_SECONDS, patience):
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


# ---- held edits and deletions ----


@dataclass(frozen=True, slots=True)
class HeldEdit:
    """What is held of a mapping: its number, whether it is a deletion, why it is held, and the row that shows it."""

    key: MappingKey
    revision: int
    deletes: bool
    reason: str
    row: Attributes


def held_edit(deployment: Deployment, key: MappingKey, revision: int | None = None) -> HeldEdit:
    """What is held of a mapping, for a person to look at; with a revision, only if that is the one.

    Raises:
        CommandError: there is no such mapping, or it isn't held, or another revision of it is.
    """
    row = require_row(deployment, key)
    held = held_number(key, row, revision)
    stored = deployment.app.revisions.read(key).held
    return HeldEdit(
        key, held, stored is not None and stored.mapping.deleted, reason=said(row, "status_reason"), row=row
    )


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
    rows = mapping_rows(deployment)
    for key, revision in held.items():
        _approve(deployment, key, revision)

    def look() -> Rows:
        # An approved deletion takes the row away for good.
        found = rows.some(held)
        seen = {key: found.get(key, {}) for key in held}
        # Where another edit is held by now, the number stays in the row and approves nothing.
        return {
            key: row
            for key, row in seen.items()
            if "approve" not in row or number_in(row, "held_revision") not in {0, held[key]}
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
    rows = mapping_rows(deployment)
    if not (rows.holds(key, revision) and rows.discard(key, revision)):
        raise CommandError(f"revision {revision} of {key} is no longer held; nothing was discarded", "look again")

    def look() -> Rows:
        row = rows.some([key]).get(key, {})
        return {key: row} if not row or ("discard" not in row and "status" in row) else {}

    written = Written(wait_for_verdicts(deployment, [key], look, patience=patience))
    if not written.unjudged:
        _refuse_kept(deployment, key, revision, status=written.rows[0].status)
    return written


def _approve(deployment: Deployment, key: MappingKey, revision: int) -> None:
    """Sign one approval, and write its number into the row."""
    rows, caller, now = mapping_rows(deployment), deployment.caller, deployment.now()
    expires = int((now + timedelta(days=deployment.settings.history_days)).timestamp())
    signed = {"arn": caller.arn, "at": layout.timestamp(now), "expires": expires}
    stored = deployment.app.revisions.read(key).held
    if stored and same_person(stored.by, caller.arn):
        hint = "edited_by names you; another person runs: rolekeeper mapping approve"
        raise CommandError(f"revision {revision} of {key} is your own edit; it wasn't approved", hint)
    if stays := stored is not None and stored.mapping.revision == revision and rows.holds(key, revision):
        # Signed first: a row whose approval nobody signed yet is judged again by the next sweep only.
        item = layout.key_attributes(layout.approval_key(caller.id, key, revision)) | signed
        deployment.app.store.write(deployment.app.store.put(item))
        stays = rows.approve(key, revision, caller.id)
    if not stays:
        raise CommandError(f"revision {revision} of {key} is no longer held; it wasn't approved", "look again")


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
