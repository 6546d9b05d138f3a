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

_BY_CLI = r"""aws ec2 run-instances --image-id ami-12345678 --query 'Instances[0].InstanceId' --output text \
  --tag-specifications 'ResourceType=instance,Tags=[{Key=Name,Value=web-1},{Key=app,Value=web}]'"""
# Without the AWS CLI: the command's own Python has boto3.
_BY_SDK = f"""{shlex.quote(sys.executable)} -c "
import boto3
tags = [dict(Key='Name', Value='web-1'), dict(Key='app', Value='web')]
given = dict(MinCount=1, MaxCount=1, TagSpecifications=[dict(ResourceType='instance', Tags=tags)])
print(boto3.client('ec2').run_instances(ImageId='ami-12345678', **given)['Instances'][0]['InstanceId'])" """.rstrip()


def next_steps(aws: EmbeddedAws, accounts: int, environ: Mapping[str, str] = os.environ) -> str:
    """The block, and how to end; `environ` is the person's, whose PATH may lack the command or the AWS CLI."""
    lines = ["To try it, paste this into another terminal:", "", *_block(aws, accounts, environ), ""]
    if accounts > 1:
        others = [f"{name} ({account})" for name, account in zip(NAMES, ACCOUNTS[:accounts], strict=False)][1:]
        lines.append(f"AWS profiles: {HUB} (sees all accounts), {', '.join(others)}. Regions: {', '.join(REGIONS)}.")
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
    launch = _BY_CLI if shutil.which("aws", path=path) else _BY_SDK
    if accounts > 1:
        yield f"export AWS_CONFIG_FILE={shlex.quote(str(profiles_file(aws).absolute()))} AWS_PROFILE={HUB}"
        instance = f"{ACCOUNTS[1]}/{REGION}/$(AWS_PROFILE={NAMES[1]} {launch})"
    else:
        yield "export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any"
        instance = f"$({launch})"
    yield "rolekeeper mapping set app=web role=s3-read --yes"
    yield f"instance={instance}"
    yield 'rolekeeper wait "$instance" --role s3-read'
    yield "rolekeeper fleet"
    yield 'rolekeeper explain "$instance"'
