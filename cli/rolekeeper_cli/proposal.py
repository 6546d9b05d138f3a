"""A file's mappings as if they were served: what Rolekeeper would make of each row, by its own checks.

Nothing is written. Rows are judged one after the other, as the functions judge them: each with those before it served.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rolekeeper.columns import Attributes
from rolekeeper.mappings import read_row
from rolekeeper.model import ANY_VALUE, MappingKey, MappingSpec, PublishedMapping
from rolekeeper.policy_reader import PolicyReader
from rolekeeper.revisions import Kept
from rolekeeper.surveyor import Surveyor
from rolekeeper.verdicts import Status
from rolekeeper.weight import Scales
from rolekeeper_cli import output, row_plan
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.edits import mapping_rows, said
from rolekeeper_cli.fleet import Enforced
from rolekeeper_cli.progress import Progress
from rolekeeper_cli.row_plan import Change, RowPlan

# Nothing to tell of beside the change itself.
_PLAIN = frozenset({Status.PUBLISHED, Status.REMOVED})


@dataclass(frozen=True, slots=True)
class Edit:
    """One mapping that would be served otherwise than now.

    Attributes:
        key: the mapping.
        status: what Rolekeeper would write into its row (`Removed` where none is left), and `reason` why.
        serves: whether it would be served so, if need be once somebody approved it.
        revision: what is published now, 0 for nothing.
        change: the change of its row; None where the row says so already.
    """

    key: MappingKey
    status: Status
    reason: str
    serves: bool
    revision: int
    change: Change | None = None

    def document(self) -> dict[str, Any]:
        """For programs."""
        kind, columns = "unchanged", {}
        if self.change:
            kind = self.change.kind
            columns = {one.column: {"from": one.old, "to": one.new} for one in self.change.differences()}
        return {
            "mapping": str(self.key),
            "kind": kind,
            "columns": columns,
            "status": self.status.value,
            "serves": self.serves,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Proposal:
    """A file's mappings, judged.

    Attributes:
        rows: what would change in the mapping table.
        edits: what would become of it, by key.
        served: the mappings and tombstones that would be served in the place of what is.
    """

    rows: RowPlan = field(default_factory=RowPlan)
    edits: Sequence[Edit] = ()
    served: Mapping[MappingKey, PublishedMapping] = field(default_factory=dict)


def propose(deployment: Deployment, specs: Sequence[MappingSpec], *, prune: bool) -> Proposal:
    """Judge mappings as if they were written into the table; with `prune`, all other rows were deleted."""
    table = mapping_rows(deployment).all()
    rows = row_plan.planned(specs, table, deployment.home, prune=prune)
    changes = {each.key: each for each in rows.changes}
    wanted: dict[MappingKey, MappingSpec | None] = {each.key: each for each in specs}
    wanted |= {key: None for key, change in changes.items() if change.spec is None}
    freed = {} if prune else _in_conflict(table, deployment, wanted)
    published = deployment.state.read([], sorted(wanted | freed)).published
    judge = _Judge(deployment)
    edits: dict[MappingKey, Edit] = {}

    def judged(keys: Iterable[MappingKey], specs: Mapping[MappingKey, MappingSpec | None]) -> dict[MappingKey, Edit]:
        found = {key: judge.edit(key, specs[key], changes.get(key), published.get(key)) for key in keys}
        return {key: edit for key, edit in found.items() if edit}

    with Progress(len(wanted), "mappings judged") as progress:
        edits |= judged(progress.over(sorted(wanted)), wanted)
    # Of two rows in a tie, mending either clears both (`ties`): so do the file's rows that of others.
    tied = {key: wanted[key] for key, edit in edits.items() if edit.status is Status.CONFLICT} | freed
    while True:
        again = judged(sorted(tied), tied)
        edits |= {key: edit for key, edit in again.items() if edit.serves}
        left = {key: tied[key] for key, edit in again.items() if edit.status is Status.CONFLICT}
        if len(left) == len(tied):
            return Proposal(rows, sorted(edits.values(), key=lambda each: each.key), judge.served)
        tied = left


def _in_conflict(
    table: Mapping[MappingKey, Attributes], deployment: Deployment, wanted: Mapping[MappingKey, object]
) -> dict[MappingKey, MappingSpec]:
    """What the table's other rows say that aren't served because of a tie."""
    tied = {key: row for key, row in table.items() if key not in wanted and said(row, "status") == Status.CONFLICT}
    specs = {key: read_row(row, deployment.home).spec for key, row in tied.items()}
    return {key: spec for key, spec in specs.items() if spec}


def show(proposal: Proposal) -> None:
    """The changed rows for people, and under each what Rolekeeper would make of it, unless it would just serve it."""
    for edit in proposal.edits:
        if edit.change:
            row_plan.show_change(edit.change)
        else:
            output.line(f"= {output.one_line(str(edit.key))}")
        if edit.status not in _PLAIN:
            output.line(f"    would be {edit.status}: {edit.reason}", "yellow" if edit.serves else "red")


class _Judge:
    """Judges one row after the other. `served` is what would be served, of those that it judged."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._state = Enforced(deployment.store)
        self._surveyor = Surveyor(deployment.ec2, self._state, deployment.mapping_table, deployment.ownership)
        self._scales = Scales(deployment.limits, self._surveyor, PolicyReader(deployment.iam))

    @property
    def served(self) -> Mapping[MappingKey, PublishedMapping]:
        return self._state.served

    def edit(
        self, key: MappingKey, spec: MappingSpec | None, change: Change | None, published: PublishedMapping | None
    ) -> Edit | None:
        """What would become of one row; None where it is served as it says already."""
        revision = published.revision if published else 0
        serving = published if published and not published.deleted else None
        if spec is None:
            return self._removal(key, change, serving, revision)
        check = self._deployment.served_roles.check(spec)
        if check.problem:
            return Edit(key, Status.REJECTED, check.problem, serves=False, revision=revision, change=change)
        same = serving is not None and (serving.spec, serving.profile_arn) == (spec, check.profile_arn)
        if same and change is None:
            return None
        kept, now = self._deployment.revisions.read(key), self._deployment.now()
        candidate = PublishedMapping(spec, kept.last + 1, check.profile_arn)
        found = self._surveyor.find(candidate, published, now)
        self._surveyor.add_possible_ties(found.survey, candidate, serving, self._any_value(kept, key), now)
        if found.survey.blocks and not same:
            return Edit(key, Status.CONFLICT, str(found.survey), serves=False, revision=revision, change=change)
        weight = self._scales.weigh(candidate, found.effect)
        if not same:
            self._state.served[key] = candidate
        status, reason = Status.PUBLISHED, str(weight)
        if weight.too_heavy:
            status = Status.HELD
        elif found.survey.ties:
            status, reason = Status.CONFLICT, f"{found.survey}; until then such instances stay as they are"
        elif spec.expired(now):
            status = Status.EXPIRED
        return Edit(key, status, reason, serves=True, revision=revision, change=change)

    def _removal(
        self, key: MappingKey, change: Change | None, serving: PublishedMapping | None, revision: int
    ) -> Edit | None:
        if serving is None:
            return Edit(key, Status.REMOVED, "nothing of it is served", serves=True, revision=revision, change=change)
        tombstone = replace(serving, revision=revision + 1, deleted=True, suspended="")
        found = self._surveyor.find(tombstone, serving, self._deployment.now())
        weight = self._scales.weigh(tombstone, found.effect)
        self._state.served[key] = tombstone
        status = Status.HELD if weight.too_heavy else Status.REMOVED
        return Edit(key, status, str(weight), serves=True, revision=revision, change=change)

    def _any_value(self, kept: Kept, key: MappingKey) -> PublishedMapping | None:
        return self._state.served.get(MappingKey(key.tag_key, ANY_VALUE), kept.any_value)
