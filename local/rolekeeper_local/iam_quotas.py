"""IAM's limit on the inline policies of a role together, which ministack doesn't have.

At most 10,240 characters, not counting white space (IAM user guide, "IAM and AWS STS quotas").
"""

import json
from collections.abc import Callable
from typing import Any

from ministack.services import iam

from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Response

_LARGEST = 10_240


def install() -> None:
    correct(_put_role_policy, "PutRolePolicy", iam._IAM_HANDLERS)


def _put_role_policy(original: Callable[..., Response], params: dict[str, Any]) -> Response:
    name = iam._p(params, "RoleName")
    role = iam._roles.get(name) or {"InlinePolicies": {}}
    policies = {**role["InlinePolicies"], iam._p(params, "PolicyName"): iam._p(params, "PolicyDocument")}
    # A stack's policies aren't text.
    texts = (each if isinstance(each, str) else json.dumps(each) for each in policies.values())
    if sum(len("".join(text.split())) for text in texts) > _LARGEST:
        message = f"Maximum policy size of {_LARGEST} bytes exceeded for role {name}"
        refused: Response = iam._error(409, "LimitExceeded", message, ns="iam")
        return refused
    return original(params)
