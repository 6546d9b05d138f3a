"""What a person can do once the embedded AWS is ready: a block to paste into another terminal."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from rolekeeper_local.embedded import REGION, EmbeddedAws
from rolekeeper_local.settings import ACCOUNTS
from rolekeeper_local.spokes import HUB, NAMES, REGIONS, profiles_file

_TAGS = {"Name": "web-1", "app": "web"}
_ROLE = "s3-read"  # one of the starter roles


def next_steps(aws: EmbeddedAws, accounts: int, environ: Mapping[str, str] = os.environ) -> str:
    """The block, and how to end; `environ` is the person's, whose PATH may lack the command or the AWS CLI."""
    lines = ["To try it, paste this into another terminal:", "", *_block(aws, accounts, environ), ""]
    if accounts > 1:
        others = ", ".join(
            f"{name} ({account})" for name, account in list(zip(NAMES, ACCOUNTS, strict=True))[1:accounts]
        )
        lines.append(f"AWS profiles: {HUB} (sees all accounts), {others}. Regions: {', '.join(REGIONS)}.")
    return "\n".join([*lines, "Ctrl-C ends this AWS. It keeps nothing."])


def _block(aws: EmbeddedAws, accounts: int, environ: Mapping[str, str]) -> Iterator[str]:
    path, ours = environ.get("PATH", ""), Path(sys.executable).with_name("rolekeeper")
    found = shutil.which("rolekeeper", path=path)
    if not (found and Path(found).resolve() == ours.resolve()):
        path = f"{ours.parent}{os.pathsep}{path}"
        yield f'export PATH={shlex.quote(str(ours.parent))}:"$PATH"'
    yield f"export AWS_ENDPOINT_URL={aws.endpoint} AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION} AWS_PAGER="
    # What the person has set for the real AWS.
    yield "unset AWS_PROFILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN"
    if accounts > 1:
        yield f"export AWS_CONFIG_FILE={shlex.quote(str(profiles_file(aws).absolute()))} AWS_PROFILE={HUB}"
    else:
        yield "export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any"
    yield f"rolekeeper mapping set app={_TAGS['app']} role={_ROLE} --yes"
    where, profile = (f"{ACCOUNTS[1]}/{REGION}/", NAMES[1]) if accounts > 1 else ("", "")
    launch = _by_cli(profile) if shutil.which("aws", path=path) else _by_sdk(profile)
    yield f"instance={where}$({launch})"
    yield f'rolekeeper wait "$instance" --role {_ROLE}'
    yield "rolekeeper fleet"
    yield 'rolekeeper explain "$instance"'


def _by_cli(profile: str) -> str:
    tags = ",".join(f"{{Key={key},Value={value}}}" for key, value in _TAGS.items())
    option = f"--profile {profile} " if profile else ""
    return (
        f"aws ec2 run-instances {option}--image-id ami-12345678 --query 'Instances[0].InstanceId' --output text \\\n"
        f"  --tag-specifications 'ResourceType=instance,Tags=[{tags}]'"
    )


def _by_sdk(profile: str) -> str:
    """The same without the AWS CLI, by the Python of the command, which has boto3."""
    tags = [{"Key": key, "Value": value} for key, value in _TAGS.items()]
    session = f"Session(profile_name={profile!r})" if profile else "Session()"
    given = f"MinCount=1, MaxCount=1, TagSpecifications=[{{'ResourceType': 'instance', 'Tags': {tags}}}]"
    launched = f"boto3.{session}.client('ec2').run_instances(ImageId='ami-12345678', {given})"
    code = f"import boto3; print({launched}['Instances'][0]['InstanceId'])"
    return f'{shlex.quote(sys.executable)} -c "{code}"'
