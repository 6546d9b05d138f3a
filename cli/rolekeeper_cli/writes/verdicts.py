"""What Rolekeeper says of rows that were written, and waiting until it does."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from rolekeeper.mappings.rows.columns import Attributes
from rolekeeper.mappings.table import number_in
from rolekeeper.mappings.verdict import Status
from rolekeeper.model import escaped
from rolekeeper.model.mapping import MappingKey
from rolekeeper_cli import known
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import WaitTimeoutError
from rolekeeper_cli.writes.mapping_rows import Rows, said

# In effect as it was written; all else wants a person's attention.
GOOD = frozenset({Status.PUBLISHED, Status.EXPIRED})
_POLL_SECONDS = 0.5
# Rolekeeper judges a row in about a second; where none comes for this long, it isn't just late.
PATIENCE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class RowVerdict:
    """What Rolekeeper says of a row that was written.

    Attributes:
        key: the mapping.
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
        deployment: where.
        keys: the rows.
        look: gives those that are judged, as they are now; one that is gone for good is empty.
        patience: how long none more may be judged until the wait ends, in seconds; 0 doesn't look at all.
        deletes: the rows that were deleted.
    """
    judged = _wait(deployment, keys, look, patience=patience) if patience > 0 else {}
    rejected = [row for row in judged.values() if said(row, "status") == Status.REJECTED]
    roles = known.path_roles(deployment) if rejected else []
    return tuple(_verdict(key, judged, roles, deletes=key in deletes) for key in keys)


def _wait(deployment: Deployment, keys: Sequence[MappingKey], look: Callable[[], Rows], patience: float) -> Rows:
    judged: Rows = {}
    deadline = deployment.now().timestamp() + patience
    with deployment.progress(len(keys), "rows judged") as progress:
        while len(judged) < len(keys):
            seen = look()
            if len(seen) > len(judged):
                deadline = deployment.now().timestamp() + patience
            judged = seen
            progress.at(len(judged))
            if len(judged) < len(keys):
                if deployment.now().timestamp() >= deadline:
                    break
                deployment.sleep(_POLL_SECONDS)
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
        meant=known.nearest_role(said(row, "role"), roles) if status == Status.REJECTED else "",
    )
