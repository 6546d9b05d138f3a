"""Starting an instance as the caller, so that EC2 takes the role that waits for it."""

from rolekeeper.aws.errors import classified
from rolekeeper.model.instance import InstanceKey, InstanceState
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import UsageError


def start(deployment: Deployment, instance_id: str) -> InstanceState:
    """Start an instance; returns the state that EC2 answers. One that runs already goes on.

    Raises:
        UsageError: it is in another target.
        AwsRefusalError: AWS refused, as it isn't stopped or there is none.
    """
    if deployment.elsewhere:
        account = deployment.settings.account
        raise UsageError(f"instances in account {account} are started with its own credentials", "nothing was changed")
    key = InstanceKey(deployment.settings.account, deployment.settings.region, instance_id)
    with classified("ec2:StartInstances", key.arn):
        answer = deployment.app.client("ec2").start_instances(InstanceIds=[instance_id])
    return InstanceState(answer["StartingInstances"][0]["CurrentState"]["Name"])
