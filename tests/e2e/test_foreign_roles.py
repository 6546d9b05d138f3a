"""Roles of other actors stay where they are: unless both the stack and a row let them go."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import STACK
from support.new_profiles import launch_with
from support.roles import assumed
from support.waiting import eventually

pytestmark = pytest.mark.emulator


def function_ec2(world: EmulatedAccount, role: str) -> Any:
    """EC2 with the credentials of one of the functions' roles."""
    found = world.cloudformation.describe_stack_resource(StackName=STACK, LogicalResourceId=role)
    arn = world.iam.get_role(RoleName=str(found["StackResourceDetail"]["PhysicalResourceId"]))["Role"]["Arn"]
    return assumed(world.aws, arn).client("ec2")


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        call()


def test_a_foreign_role_stays_and_iam_keeps_the_functions_from_it(deployed: EmulatedAccount) -> None:
    deployed.make_role("node", path="/")
    deployed.put_mapping("team", "*", role="s3-read")
    eventually(lambda: deployed.mapping_status("team", "*", "Published"))
    node = launch_with(deployed, "node", "node", team="a")
    present = eventually(lambda: deployed.carries(node, "node")).association_id
    deployed.sweep()
    row = deployed.mapping("team", "*")
    assert row["occupied"] == 1
    assert "instances that carry foreign roles keep them" in row["status_reason"]

    for role in ("OnInstanceEventRole", "OnRetryRole"):
        ec2, ours = function_ec2(deployed, role), {"Name": "s3-read"}
        refused(partial(ec2.disassociate_iam_instance_profile, AssociationId=present))
        replace = ec2.replace_iam_instance_profile_association
        refused(partial(replace, AssociationId=present, IamInstanceProfile=ours))
    assert deployed.carries(node, "node")

    bare = deployed.launch("bare", team="a")
    eventually(lambda: deployed.carries(bare, "s3-read"))
    deployed.delete_mapping("team", "*")
    eventually(lambda: deployed.shown(bare) is None)
    assert deployed.carries(node, "node"), "a deleted mapping takes away managed roles only"
