"""What a verification plays in: a deployment of this version under a path of its own, and what it is tried on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rolekeeper.aws.errors import NotReadyError
from rolekeeper_cli import installed
from rolekeeper_cli.deploying.artifacts import Bucket, Place, built, upload
from rolekeeper_cli.deploying.deploy import PATIENT
from rolekeeper_cli.deploying.rollout import NAMED_ROLES, Template, make, start
from rolekeeper_cli.deployment import Deployment, describe_stack, outputs_of
from rolekeeper_cli.uses.control import sweep
from rolekeeper_cli.verifying.aws import Aws
from rolekeeper_cli.verifying.machine import Machine
from rolekeeper_cli.verifying.names import Names

_TEMPLATE = installed.VERIFYING / "scene.yaml"
# It acts from the start, keeps little, and only the story sweeps.
_PARAMETERS = {
    "Mode": "enforce",
    "SweepSchedule": "rate(1 day)",
    "SweepOverdueHours": "48",
    "HistoryDays": "1",
    "LogRetentionDays": "1",
}
# Instances end themselves so many minutes after each start, whatever becomes of the verification.
LIVES_MINUTES = 45
# What all of it costs at most, removed after half an hour (docs/verify.md has the sum).
COST_USD = 0.05
# How long EC2 may not know a profile that was made just now (docs/AWS_FACTS.md, "Errors").
_KNOWN_SECONDS = 60
# Units of systemd by their names, because a shutdown that is planned once is forgotten when the instance is stopped.
_ENDS_ITSELF = {
    "rolekeeper-verify.service": "[Service]\nType=oneshot\nExecStart=/usr/bin/systemctl poweroff\n",
    "rolekeeper-verify.timer": f"[Timer]\nOnBootSec={LIVES_MINUTES}min\n[Install]\nWantedBy=timers.target\n",
}
# The second is what role `b` allows, and what a probe denies: no policy can deny the first.
_CALLS = """[Service]
Environment=AWS_REGION={}
ExecStart=/bin/sh -c 'aws sts get-caller-identity; aws ec2 describe-regions'
Restart=always
RestartSec=20
[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """See the module.

    Attributes:
        deployment: the deployment that is verified.
        profiles: the ARNs of the instance profiles `a`, `b` and `foreign`, the last outside the deployment's path.
        events: the URL of the queue that hears EC2's events.
    """

    names: Names
    deployment: Deployment
    machine: Machine
    profiles: Mapping[str, str]
    security_group: str
    events: str


def deploy(caller: Deployment, names: Names, machine: Machine) -> Scene:
    """Make both stacks, and sweep: before the first sweep a deployment changes nothing.

    Raises:
        CommandError: CloudFormation can't make one.
        AwsRefusalError: the caller may not.
    """
    where, region = caller.caller, str(caller.session.region_name)
    with built() as folder:
        # The bucket is first: its name tells in which Region the rest is.
        bucket = names.bucket(where.account, region)
        place = Place(where.account, region, where.partition)
        url = upload(folder, Bucket(caller.client("s3", PATIENT), place, bucket, ours=True))
    stacks = caller.client("cloudformation", PATIENT)
    given = {"Stack": names.stack, "Id": names.id, "Vpc": machine.vpc}
    scene = Template({"TemplateBody": _TEMPLATE.read_text()}, NAMED_ROLES)
    # Both at once: CloudFormation takes minutes for an instance profile.
    making = start(stacks, names.scene, scene, parameters=_as_asked(given), sleep=caller.sleep)
    parameters = _as_asked({**_PARAMETERS, "RolePath": names.role_path})
    make(stacks, names.stack, Template({"TemplateURL": url}), parameters=parameters, sleep=caller.sleep)
    making.deployed(f"the deployment of {names.scene}")
    verified = caller.of_stack(names.stack)
    sweep(verified, wait=True)
    made = outputs_of(describe_stack(stacks, names.scene) or {})
    profiles = {name: made[name.capitalize()] for name in ("a", "b", "foreign")}
    return Scene(
        names, verified, machine, profiles=profiles, security_group=made["SecurityGroup"], events=made["Events"]
    )


def allow_no_change(scene: Scene) -> None:
    """Bring the deployment's limits to 0, so that each edit that changes an instance has to be approved."""
    limits = {"MaxChangesPerEdit": "0", "MaxChangesPercent": "0"}
    kept = [name for name in scene.deployment.stack.parameters if name not in limits]
    asked = [*_as_asked(limits), *({"ParameterKey": name, "UsePreviousValue": True} for name in kept)]
    stacks = scene.deployment.client("cloudformation", PATIENT)
    template = Template({"UsePreviousTemplate": True})
    make(stacks, scene.names.stack, template, parameters=asked, sleep=scene.deployment.sleep)


def _as_asked(parameters: Mapping[str, str]) -> list[Mapping[str, Any]]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]


def launch(scene: Scene, *, role: str = "", profile: str = "") -> str:
    """Launch an instance with a tag that asks for a role, or with a profile; returns its id.

    With a tag it makes a call every 20 seconds; without one nothing on it asks for credentials.
    """
    names = scene.names
    request = scene.machine.launch_request(names.id, {names.tag_key: role} if role else {})
    given: dict[str, Any] = {"IamInstanceProfile": {"Arn": profile}} if profile else {}
    given |= {"SecurityGroupIds": [scene.security_group], "UserData": _user_data(scene, calls=bool(role))}
    for left in scene.deployment.looks(every=2, patience=_KNOWN_SECONDS):
        try:
            answer = Aws(scene.deployment).call("ec2:RunInstances", **request, **given)
        except NotReadyError:
            if left.is_over:
                raise
        else:
            return str(answer["Instances"][0]["InstanceId"])
    raise AssertionError  # looks go on


def _user_data(scene: Scene, *, calls: bool) -> str:
    """A cloud-config, as JSON."""
    units = dict(_ENDS_ITSELF)
    if calls:
        units["rolekeeper-verify-calls.service"] = _CALLS.format(scene.deployment.session.region_name)
    starts = [name for name, unit in units.items() if "[Install]" in unit]
    config = {
        # It asks IMDS for credentials, at each start of the instance.
        "bootcmd": ["systemctl mask --now amazon-ssm-agent"],
        "write_files": [{"path": f"/etc/systemd/system/{name}", "content": unit} for name, unit in units.items()],
        "runcmd": [f"systemctl enable --now {' '.join(starts)}"],
    }
    return f"#cloud-config\n{json.dumps(config)}"
