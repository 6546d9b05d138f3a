"""A file's mappings as if they were served: what Rolekeeper would make of each row, by its own checks.

Nothing is written. Rows are judged one after the other, as the functions judge them: each with those before it served.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rolekeeper.model import ANY_VALUE, MappingKey, MappingSpec, PublishedMapping
from rolekeeper.policy_reader import PolicyReader
from rolekeeper.revisions import Kept
from rolekeeper.surveyor import Surveyor
from rolekeeper.verdicts import Status
from rolekeeper.weight import Scales
from rolekeeper_cli import output, row_plan
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.edits import mapping_rows
from rolekeeper_cli.fleet import Enforced
from rolekeeper_cli.progress import Progress
from rolekeeper_cli.row_plan import Change, RowPlan

# Those that Rolekeeper would serve, if need be once somebody approved them.
SERVED = frozenset({Status.PUBLISHED, Status.HELD, Status.REMOVED})


@dataclass(frozen=True, slots=True)
class Edit:
    """One mapping that would be served otherwise than now.

    `status` is what Rolekeeper would write into its row, and `reason` why. `change` is None where the row says so
    already and waits for approval. `revision` is what is published now, 0 for nothing.
    """

    key: MappingKey
    status: Status
    reason: str
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
    rows = row_plan.planned(specs, mapping_rows(deployment).all(), deployment.home, prune=prune)
    changes = {each.key: each for each in rows.changes}
    wanted: dict[MappingKey, MappingSpec | None] = {each.key: each for each in specs}
    wanted |= {key: None for key, change in changes.items() if change.spec is None}
    published = deployment.state.read([], sorted(wanted)).published
    judge = _Judge(deployment)
    with Progress(len(wanted), "mappings judged") as progress:
        edits = [
            judge.edit(key, wanted[key], changes.get(key), published.get(key)) for key in progress.over(sorted(wanted))
        ]
    return Proposal(rows, [each for each in edits if each], judge.served)


def show(proposal: Proposal) -> None:
    """The changed rows for people, and under each what Rolekeeper would make of it, unless it would just serve it."""
    for edit in proposal.edits:
        if edit.change:
            row_plan.show_change(edit.change)
        else:
            output.line(f"= {output.one_line(str(edit.key))}")
        if edit.status not in SERVED or edit.status is Status.HELD:
            output.line(f"    would be {edit.status}: {edit.reason}", "yellow" if edit.status in SERVED else "red")


class _Judge:
    """Judges one row after the other. `served` is what would be served, of those that it judged."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._state = Enforced(deployment.store)
        self._surveyor = Surveyor(deployment.ec2, self._state, deployment.mapping_table)
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
        if serving and not check.problem and (serving.spec, serving.profile_arn) == (spec, check.profile_arn):
            return Edit(key, Status.PUBLISHED, "", revision, change) if change else None
        if check.problem:
            return Edit(key, Status.REJECTED, check.problem, revision, change)
        kept = self._deployment.revisions.read(key)
        candidate = PublishedMapping(spec, kept.last + 1, check.profile_arn)
        now = self._deployment.now()
        found = self._surveyor.find(candidate, published, now)
        self._surveyor.add_possible_ties(found.survey, candidate, serving, self._any_value(kept, key), now)
        if found.survey.blocks:
            return Edit(key, Status.CONFLICT, str(found.survey), revision, change)
        weight = self._scales.weigh(candidate, found.effect)
        self._state.served[key] = candidate
        return Edit(key, Status.HELD if weight.too_heavy else Status.PUBLISHED, str(weight), revision, change)

    def _removal(
        self, key: MappingKey, change: Change | None, serving: PublishedMapping | None, revision: int
    ) -> Edit | None:
        if serving is None:
            return Edit(key, Status.REMOVED, "nothing of it is served", revision, change)
        tombstone = replace(serving, revision=revision + 1, deleted=True, suspended="")
        found = self._surveyor.find(tombstone, serving, self._deployment.now())
        weight = self._scales.weigh(tombstone, found.effect)
        self._state.served[key] = tombstone
        return Edit(key, Status.HELD if weight.too_heavy else Status.REMOVED, str(weight), revision, change)

    def _any_value(self, kept: Kept, key: MappingKey) -> PublishedMapping | None:
        return self._state.served.get(MappingKey(key.tag_key, ANY_VALUE), kept.any_value)
