"""The roles that can be given: whether EC2 may assume each, and whether it has an instance profile."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from rolekeeper.model.problem import Advice, Remedy, advice, typed
from rolekeeper.permissions.policies import listed
from rolekeeper.permissions.roles import STATEMENT, check_trust
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.doctor.view import Findings, fail, warn
from rolekeeper_cli.shell.layout import several


def roles(deployment: Deployment) -> Findings:
    found, path = deployment.path_roles, deployment.settings.role_path
    for each in found:
        if not check_trust(each.trust).problem:
            continue
        what = f"EC2 can't assume role {each.name}"
        if users := deployment.role_users.get(each.name, ()):
            yield fail(f"{what}, which {several(users)} is to give", _retrust(each.name, each.trust))
        else:
            yield warn(f"{what}; no mapping gives it", _recreate(each.name, path))
    where = f"under {path}"
    return f"EC2 can assume all roles {where}: {len(found):,}" if found else f"there are no roles {where} yet"


def profiles(deployment: Deployment) -> Findings:
    """Roles under the path that EC2 can assume, and that no instance profile there holds."""
    path = deployment.settings.role_path
    arn = deployment.app.iam.arn("instance-profile", path, "*")
    found = deployment.items("iam:ListInstanceProfiles", arn, "InstanceProfiles", PathPrefix=path)
    held = {role["RoleName"] for each in found for role in each["Roles"]}
    for each in deployment.path_roles:
        if each.name in held or check_trust(each.trust).problem:
            continue
        users = deployment.role_users.get(each.name, ())
        remedy = typed(
            f"aws iam create-instance-profile --instance-profile-name {each.name} --path {path} && "
            f"aws iam add-role-to-instance-profile --instance-profile-name {each.name} --role-name {each.name}"
        )
        what = f"role {each.name} has no instance profile under {path}"
        if not deployment.settings.create_missing_profiles:
            given = f"{what}, and {several(users)} is to give it" if users else f"{what}; no mapping gives it"
            yield (fail if users else warn)(given, remedy)
        elif users:
            yield warn(f"{what}; Rolekeeper makes it when it next looks at {several(users)}, in enforce", remedy)
    return "every role that EC2 can assume has its instance profile, or gets it with its first mapping"


def _recreate(name: str, path: str) -> str:
    """What to do with a role that isn't for EC2: it must not be made one that a tag could give."""
    return (
        f"it isn't for instances: recreate it outside {path} (aws iam create-role --path / --role-name NEW_NAME …), "
        f"give its users the new ARN, and delete it here (aws iam delete-role --role-name {name}); a role can't be "
        f"moved. If instances are to carry it after all, write its mapping, then look again"
    )


def _retrust(name: str, trust: Mapping[str, Any]) -> Remedy | Advice:
    """The command that lets EC2 assume a role. It replaces the whole policy, so what is there is in it too."""
    whole = {"Version": "2012-10-17", **trust, "Statement": [*listed(trust.get("Statement")), json.loads(STATEMENT)]}
    update = f"aws iam update-assume-role-policy --role-name {name} --policy-document"
    if check_trust(whole).problem:
        denied = "a statement of its trust policy denies EC2 sts:AssumeRole; take that out: "
        return advice(denied, typed(f"{update} …"))
    return typed(f"{update} {shlex.quote(json.dumps(whole))}")
