"""The roles under the role path, which of them lack a baseline, and credentials that are cut off."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from rolekeeper_cli.instance.view import InstanceNameView
from rolekeeper_cli.shell.view import View
from rolekeeper_cli.target.view import UnseenTargetView


class SmallerPolicyView(View):
    """A policy without the services that its role never called."""

    policy: Annotated[str, "its name or ARN"]
    drops: Annotated[Sequence[str], "the services that the role can do without"]
    document: Annotated[Mapping[str, Any] | None, "what is left of the policy; null if nothing is"]
    command: Annotated[str, "the AWS CLI's command that makes it smaller"]


class RoleView(View):
    """A role, who uses it, and what it may do. What couldn't be read is null."""

    role: Annotated[str, "its name"]
    account: Annotated[str | None, "its account, of a hub's roles"] = None
    arn: Annotated[str, "its ARN"]
    created: Annotated[datetime | None, "when it was created"]
    last_used: Annotated[datetime | None, "when it was last used, in 400 days"]
    unused: Annotated[bool | None, "whether no mapping gives it, no instance carries it and nothing used it in 90 days"]
    profiles: Annotated[Sequence[str] | None, "the instance profiles that hold it"]
    instances: Annotated[Sequence[str] | None, "the instances that carry it"]
    mappings: Annotated[Sequence[str] | None, "the mappings that give it"]
    services: Annotated[Sequence[str] | None, "the services that it may use"]
    may: Annotated[Sequence[str] | None, "what it may do"]
    broad: Annotated[bool | None, "whether it is broad"]
    broad_because: Annotated[str | None, "why it is"]
    services_last_used: Annotated[Mapping[str, datetime | None] | None, "by service, when it last called it"]
    unused_services: Annotated[Sequence[str] | None, "the services that it didn't call in 90 days"]
    unknown_because: Annotated[str | None, "why these aren't known"]
    smaller: Annotated[Sequence[SmallerPolicyView], "its policies without what it never called, if that is certain"]


class RoleCountsView(View):
    roles: Annotated[int, "how many there are"]
    broad: Annotated[int, "how many are broad"]
    unused: Annotated[int, "how many are unused"]
    with_unused_services: Annotated[int, "how many may use services that they didn't call"]
    could_be_smaller: Annotated[int, "how many have a policy that could be smaller"]


class QuotasView(View):
    instance_profiles: Annotated[int, "the instance profiles"]
    instance_profiles_quota: Annotated[int, "the most that it may have"]
    roles: Annotated[int, "the roles"]
    roles_quota: Annotated[int, "the most that it may have"]


class RolesView(View):
    roles: Annotated[Sequence[RoleView], "the roles"]
    summary: Annotated[RoleCountsView, "their numbers"]
    account: Annotated[QuotasView | None, "the deployment's account"]
    unknown: Annotated[Sequence[str], "what couldn't be read, and why"]
    unseen: Annotated[Sequence[UnseenTargetView] | None, "of a hub, the targets that couldn't be read"] = None


class InclusionView(View):
    """A role that a mapping gives, compared with a baseline."""

    role: Annotated[str, "its name"]
    mappings: Annotated[Sequence[str], "the mappings that give it"]
    includes: Annotated[bool | None, "whether it may do all that the policy allows"]
    lacks: Annotated[Sequence[str], "what it may not"]
    unknown_because: Annotated[str | None, "why that isn't known"]


class RevokedRoleView(View):
    """A role whose policy denies what the instance got of it."""

    role: Annotated[str, "its name"]
    role_arn: Annotated[str, "its ARN"]
    policy: Annotated[str, "the inline policy's name"]
    before: Annotated[datetime, "what the instance got before is denied"]
    document: Annotated[Mapping[str, Any], "the policy"]


class RevokedView(InstanceNameView):
    """An instance whose credentials are cut off."""

    revoked: Annotated[Sequence[RevokedRoleView], "the roles of which that was written"]
    left: Annotated[Sequence[str], "what couldn't be written, and what to do"]
    unknown_because: Annotated[str | None, "why roles that another actor attached aren't known"]


class CleanedView(View):
    """A role whose policy lost the entries that are over."""

    role: Annotated[str, "its name"]
    removed: Annotated[Sequence[str], "the instances of these entries"]
    left: Annotated[int, "how many statements the policy still has"]
    deleted: Annotated[bool, "whether the policy is deleted"]
