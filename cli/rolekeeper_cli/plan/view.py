"""What would change in the fleet, and what a plan changed."""

from collections.abc import Sequence
from typing import Annotated

from rolekeeper_cli.instance.view import InstanceNameView
from rolekeeper_cli.row.view import MappingView, PacedView, PlannedEditView, VerdictView
from rolekeeper_cli.shell.view import View
from rolekeeper_cli.target.view import UnseenTargetView


class PlannedChangeView(InstanceNameView):
    """An instance that doesn't stay as it is."""

    name: Annotated[str, "its Name tag"]
    state: Annotated[str, "EC2's state"]
    action: Annotated[str, "Attach, Replace, Detach, Wait or Hold"]
    code: Annotated[str, "the decision's code"]
    from_: Annotated[str | None, "the instance profile that it carries"]
    to: Annotated[str | None, "the one that it should carry"]
    role: Annotated[str | None, "the role that it should carry"]
    mapping: Annotated[str | None, "the mapping that governs it"]
    revision: Annotated[int, "that mapping's revision"]
    reason: Annotated[str, "why"]


class PermissionsView(View):
    account: Annotated[str, "their account"]
    from_: Annotated[str | None, "the instance profile before"]
    to: Annotated[str | None, "the one after"]
    instances: Annotated[int, "how many instances"]
    gained: Annotated[Sequence[str], "what they gain"]
    lost: Annotated[Sequence[str], "what they lose"]
    unknown: Annotated[str, "why that isn't known"]
    severe: Annotated[Sequence[str], "what of it is severe"]


class AccountChangesView(View):
    account: Annotated[str, "the account"]
    instances: Annotated[int, "how many instances it has"]
    changes: Annotated[int, "how many of these change"]


class PlanCountsView(View):
    attach: Annotated[int, "how many get a role"]
    replace: Annotated[int, "how many get another role"]
    detach: Annotated[int, "how many lose their role"]
    wait: Annotated[int, "how many wait"]
    hold: Annotated[int, "how many are blocked"]
    nothing: Annotated[int, "how many instances stay as they are"]
    changes: Annotated[int, "how many change"]
    instances: Annotated[int, "how many were looked at"]
    percent: Annotated[float, "how many percent of these change"]
    accounts: Annotated[Sequence[AccountChangesView], "the same by account"]


class PlanView(View):
    changes: Annotated[Sequence[PlannedChangeView], "the instances that don't stay as they are"]
    mappings: Annotated[Sequence[PlannedEditView], "the edits of a file"]
    permissions: Annotated[Sequence[PermissionsView], "what instances gain and lose"]
    paced: Annotated[Sequence[PacedView], "the mappings whose changes don't all go at once"]
    waiting: Annotated[Sequence[MappingView], "the rows that aren't in effect as they are"]
    withheld: Annotated[str | None, "why no changes are made now; empty if they are"]
    unseen: Annotated[Sequence[UnseenTargetView], "the targets that couldn't be read"]
    summary: Annotated[PlanCountsView, "the numbers"]


class AppliedView(View):
    instances: Annotated[int, "how many instances are as planned"]
    waiting: Annotated[int, "how many wait for edits that aren't in effect"]
    mappings: Annotated[Sequence[str], "the mappings that were edited"]
    not_in_effect: Annotated[Sequence[VerdictView], "the edits that aren't in effect"]
