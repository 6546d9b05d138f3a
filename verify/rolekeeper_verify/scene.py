"""What a verification plays in: a deployment of this version under a path of its own, and what it is tried on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rolekeeper.aws.errors import AwsRefusalError, NotReadyError
from rolekeeper.model.instance import Target
from rolekeeper_cli import installed
from rolekeeper_cli.aws.deployment import Deployment, describe_stack, outputs_of
from rolekeeper_cli.control.use import sweep
from rolekeeper_cli.deploy.artifacts import Bucket, built, upload
from rolekeeper_cli.deploy.deploy import PATIENT
from rolekeeper_cli.deploy.rollout import NAMED_ROLES, Operation, Rollout, Template, as_asked
from rolekeeper_cli.errors import CommandError
from rolekeeper_verify.aws import NO_ROOM, Aws
from rolekeeper_verify.machine import Machine
from rolekeeper_verify.names import FOLDER, Names
from rolekeeper_verify.proof import BUCKET, INSTANCE, STACK, Record, begin, end

_TEMPLATE = FOLDER / "scene.yaml"
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
# AWS Config's items (AWS Config pricing): two for each of about 70 things, when it is made and when it is gone.
CONFIG_USD = 2 * 70 * 0.003
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
    """See the module."""

    record: Record
    deployment: Deployment  # the deployment that is verified
    machine: Machine
    # The ARNs of the instance profiles `a`, `b` and `foreign`, the last outside the deployment's path.
    profiles: Mapping[str, str]
    security_group: str
    events: str  # the URL of the queue that hears EC2's events

    @property
    def names(self) -> Names:
        return self.record.names


def deploy(caller: Deployment, record: Record, machine: Machine) -> Scene:
    """Make both stacks, and sweep: before the first sweep a deployment changes nothing.

    CommandError if CloudFormation can't make one, or something has its name; AwsRefusalError if the caller may not.
    """
    names = record.names
    stacks = caller.client("cloudformation", PATIENT)
    with built() as folder:
        url = upload(folder, _bucket(caller, record))
    given = {"Stack": names.stack, "Id": names.id, "Vpc": machine.vpc}

    def begin_stack(name: str, template: Template, parameters: Mapping[str, str]) -> Operation:
        if describe_stack(stacks, name):
            raise _taken(f"stack {name}")
        record.add(STACK, name, caller.now())
        made = partial(record.add, STACK, at=caller.now())
        return Rollout(stacks, name, caller.sleep).start(template, as_asked(parameters), made)

    # Both at once: CloudFormation takes minutes for an instance profile.
    scene = Template({"TemplateBody": _TEMPLATE.read_text()}, NAMED_ROLES)
    making = begin_stack(names.scene, scene, given)
    main = begin_stack(names.stack, Template({"TemplateURL": url}), {**_PARAMETERS, "RolePath": names.role_path})
    main.deployed(f"the deployment of {names.stack}")
    making.deployed(f"the deployment of {names.scene}")
    verified = caller.of_stack(names.stack)
    settings, version = verified.settings, verified.outputs.get("Version")
    if (settings.role_path, version) != (names.role_path, installed.version()):
        what = f"the deployment is version {version} with the role path {settings.role_path}"
        raise CommandError(what, "see the stack's events")
    sweep(verified, wait=True)
    made = outputs_of(describe_stack(stacks, names.scene) or {})
    profiles = {name: made[name.capitalize()] for name in ("a", "b", "foreign")}
    return Scene(
        record, verified, machine, profiles=profiles, security_group=made["SecurityGroup"], events=made["Events"]
    )


def _bucket(caller: Deployment, record: Record) -> Bucket:
    """Make the bucket, which is first: its name tells in which Region the rest is, and the record in it whose it is."""
    aws = Aws(caller)
    name = record.names.bucket(aws.account, aws.region)
    bucket = Bucket(caller.client("s3", PATIENT), Target(aws.account, aws.region), name, new=True)
    begin(name)
    record.add(BUCKET, name, caller.now())
    if not bucket.ensure():
        record.made.clear()
        end(name)
        raise _taken(f"bucket {name}")
    record.keep_in(aws, name)
    record.keep(record.text())
    return bucket


def _taken(what: str) -> CommandError:
    return CommandError(f"there is a {what} already", "run it again: each verification takes a name of its own")


def allow_no_change(scene: Scene) -> None:
    """Bring the deployment's limits to 0, so that each edit that changes an instance has to be approved."""
    limits = {"MaxChangesPerEdit": "0", "MaxChangesPercent": "0"}
    kept = [name for name in scene.deployment.stack.parameters if name not in limits]
    stacks = scene.deployment.client("cloudformation", PATIENT)
    rollout = Rollout(stacks, scene.names.stack, scene.deployment.sleep)
    rollout.make(Template({"UsePreviousTemplate": True}), as_asked(limits, kept))


def launch(scene: Scene, *, role: str = "", profile: str = "") -> str:
    """Launch an instance with a tag that asks for a role, or with a profile, in the first zone that has room.

    With a tag it makes a call every 20 seconds; without one nothing on it asks for credentials. Returns its id.
    CommandError if no zone has room; AwsRefusalError if EC2 refuses it for another reason.
    """
    names, now = scene.names, scene.deployment.now
    given: dict[str, Any] = {"IamInstanceProfile": {"Arn": profile}} if profile else {}
    given |= {"SecurityGroupIds": [scene.security_group], "UserData": _user_data(scene, calls=bool(role))}
    given |= scene.machine.launch_request(names.id, {names.tag_key: role} if role else {})
    for subnet in scene.machine.subnets:
        try:
            instance = _launched(scene, {**given, "SubnetId": subnet, "ClientToken": scene.record.token(now())})
        except AwsRefusalError as error:
            if error.code not in NO_ROOM:
                raise
        else:
            scene.record.add(INSTANCE, instance, now())
            return instance
    what = f"no zone has room for {scene.machine.instance_type}: tried {', '.join(scene.machine.subnets)}"
    raise CommandError(what, "name another type or subnet (--instance-type, --subnet), or run it again later")


def _launched(scene: Scene, request: Mapping[str, Any]) -> str:
    for left in scene.deployment.looks(every=2, patience=_KNOWN_SECONDS):
        try:
            answer = Aws(scene.deployment).call("ec2:RunInstances", **request)
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
        units["rolekeeper-verify-calls.service"] = _CALLS.format(scene.deployment.region)
    starts = [name for name, unit in units.items() if "[Install]" in unit]
    config = {
        # It asks IMDS for credentials, at each start of the instance.
        "bootcmd": ["systemctl mask --now amazon-ssm-agent"],
        "write_files": [{"path": f"/etc/systemd/system/{name}", "content": unit} for name, unit in units.items()],
        "runcmd": [f"systemctl enable --now {' '.join(starts)}"],
    }
    return f"#cloud-config\n{json.dumps(config)}"
