"""Plans of edits between the page that shows one and the button that writes it: that very plan, once."""

import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.mappings.rows.columns import Attributes
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Action
from rolekeeper.model.mapping import MappingKey
from rolekeeper_cli.console.forms import Form
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.uses import preview
from rolekeeper_cli.uses.fleet import Enforced, Seen, pages, withheld
from rolekeeper_cli.uses.plan import Tally, document
from rolekeeper_cli.uses.preview import Preview
from rolekeeper_cli.uses.proposal import Proposal, foresee
from rolekeeper_cli.uses.rows import RowPlan
from rolekeeper_cli.uses.targets import Places

# As many instances as one reads; the counts are of all.
NAMED = 200
_KEPT = 100


@dataclass(frozen=True, slots=True)
class EditPlan:
    """What an edit of one mapping would do. The rows are those that it was planned on: `write` refuses others.

    Attributes:
        key: the mapping.
        rows: what would be written.
        edit: what Rolekeeper would make of the row, as `plan` shows it; None where it is in effect by now.
        why: what else there is to know of the verdict; empty where it says only what follows.
        preview: what would happen to instances, in sum.
        instances: those that would change, wait or be blocked, as `plan` shows them, the first `NAMED`.
        more: how many more of them there are.
        typed: the form that it came from, and the row that was edited there; None where it came from a button.
    """

    key: MappingKey
    rows: RowPlan
    edit: Mapping[str, Any] | None
    preview: Preview
    why: str = ""
    instances: Sequence[Mapping[str, Any]] = ()
    more: int = 0
    typed: tuple[Form, Attributes] | None = None

    @property
    def deletes(self) -> bool:
        """Whether the row would go."""
        return any(each.kind == "deleted" for each in self.rows.changes)


def plan(deployment: Deployment, key: MappingKey, rows: RowPlan) -> EditPlan:
    """What writing these rows would do; where the caller may not look at what that takes, the preview says so."""
    try:
        return planned(deployment, key, rows, proposal=foresee(deployment, rows))
    except AccessDeniedError as error:
        return EditPlan(
            key, rows, None, preview=Preview(unknown=f"you aren't allowed {error.action} on {error.resource}")
        )


def planned(deployment: Deployment, key: MappingKey, rows: RowPlan, proposal: Proposal) -> EditPlan:
    """A plan of rows that were judged, with what it would do to instances once it is in effect."""
    edit = next(iter(proposal.edits), None)
    # What the verdict says stands beside it, so it is no note.
    expected = preview.of_proposal(proposal, withheld(deployment), approved=True)
    tally, named, others = Tally(), list[Mapping[str, Any]](), 0
    for seen in _instances(deployment, key, proposal):
        tally.count(seen)
        if seen.decision.action is not Action.NOTHING:
            if len(named) < NAMED:
                named.append(document(seen))
            else:
                others += 1
    expected = replace(expected, foreign=tally.foreign)
    said = edit.besides if edit and (edit.warns or edit.status is not Status.PUBLISHED) else ""
    return EditPlan(
        key, rows, edit.document() if edit else None, preview=expected, why=said, instances=named, more=others
    )


def _instances(deployment: Deployment, key: MappingKey, proposal: Proposal) -> Iterator[Seen]:
    """The instances with the mapping's tag, as they would be decided then."""
    places = Places.chosen(deployment)
    for each in places.look(partial(pages, tags=[key]), lambda place: Enforced.of(place, proposal.served_at(place))):
        if isinstance(each, Seen):
            yield each


class EditPlans:
    """Plans by a random id, each written once at most. The oldest go."""

    def __init__(self) -> None:
        self._plans: OrderedDict[str, EditPlan] = OrderedDict()
        self._lock = Lock()

    def keep(self, plan: EditPlan) -> str:
        """Keep a plan; returns its id."""
        id_ = secrets.token_urlsafe(16)
        with self._lock:
            self._plans[id_] = plan
            while len(self._plans) > _KEPT:
                self._plans.popitem(last=False)
        return id_

    def get(self, id_: str) -> EditPlan | None:
        """A plan; None if it isn't there, or no longer."""
        with self._lock:
            return self._plans.get(id_)

    def take(self, id_: str) -> EditPlan | None:
        """Take a plan out; None if it isn't there, or no longer."""
        with self._lock:
            return self._plans.pop(id_, None)
