"""Tags of an instance, set and removed as the caller. Rolekeeper hears of it as of every other tag."""

from rolekeeper.aws.errors import classified
from rolekeeper.model.instance import InstanceKey
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import UsageError

# EC2 user guide, "Tag restrictions": in Unicode characters.
KEY_LENGTH, VALUE_LENGTH = 128, 256
_RESERVED = "aws:"
_UNTOUCHED = "nothing was changed"


def set_tag(deployment: Deployment, instance_id: str, key: str, value: str) -> None:
    """Give an instance a tag, or the tag that it has another value.

    Raises:
        UsageError: EC2 takes no such tag. AWS wasn't asked.
        AwsRefusalError: AWS refused.
    """
    _require_here(deployment)
    _require_key(key)
    if len(value) > VALUE_LENGTH:
        raise UsageError(f"a tag's value has at most {VALUE_LENGTH} characters, not {len(value):,}", _UNTOUCHED)
    with classified("ec2:CreateTags", _arn(deployment, instance_id)):
        deployment.app.client("ec2").create_tags(Resources=[instance_id], Tags=[{"Key": key, "Value": value}])


def remove_tag(deployment: Deployment, instance_id: str, key: str) -> None:
    """Take a tag from an instance, whatever its value; one that it hasn't makes no difference.

    Raises:
        UsageError: there can be no such tag, or it is AWS's. AWS wasn't asked.
        AwsRefusalError: AWS refused.
    """
    _require_here(deployment)
    _require_key(key)
    with classified("ec2:DeleteTags", _arn(deployment, instance_id)):
        deployment.app.client("ec2").delete_tags(Resources=[instance_id], Tags=[{"Key": key}])


def _require_here(deployment: Deployment) -> None:
    if deployment.elsewhere:
        account = deployment.settings.account
        raise UsageError(f"tags in account {account} are set with its own credentials", _UNTOUCHED)


def _require_key(key: str) -> None:
    if not key:
        raise UsageError("a tag's key can't be empty", _UNTOUCHED)
    if len(key) > KEY_LENGTH:
        raise UsageError(f"a tag's key has at most {KEY_LENGTH} characters, not {len(key):,}", _UNTOUCHED)
    if key.lower().startswith(_RESERVED):
        raise UsageError(f"tags whose key begins with {_RESERVED} are AWS's own", _UNTOUCHED)


def _arn(deployment: Deployment, instance_id: str) -> str:
    return InstanceKey(deployment.settings.account, deployment.settings.region, instance_id).arn
