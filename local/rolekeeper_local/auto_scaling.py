"""Auto Scaling groups that launch instances; ministack only counts them.

AWS_FACTS.md, "What instances are launched with". A group launches what its desired capacity lacks, replaces what was
terminated, and terminates what is too many, the oldest first. A policy with overrides uses them in turn. A launch
lifecycle hook holds an instance once it runs.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import autoscaling
from ministack.services.cloudformation import provisioners

from rolekeeper_local import ec2_filters, ec2_wire, launch_templates
from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_api import Ec2Api, now
from rolekeeper_local.ec2_model import Ec2Error, Instance, State
from rolekeeper_local.ec2_wire import Params, Response

logger = logging.getLogger(__name__)

type Record = dict[str, Any]
type Call = Callable[[Params], Response]

_LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
_TEMPLATES = ("LaunchTemplate", "MixedInstancesPolicy")
_SPECIFICATION = "LaunchTemplateSpecification"
_NAMES = ("LaunchTemplateId", "LaunchTemplateName")
#: What a group doesn't show.
_INTERNAL = ("_refused", "InstanceRefreshes")
_PAGE = 50
_NOTHING_TO_LAUNCH = (
    "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or "
    "MixedInstancesPolicy parameter."
)


@dataclass(slots=True)
class _Member:
    """An instance of a group, as the group shows it.

    Attributes:
        group: Account, Region and name of the group.
        waits: By lifecycle hook, the time at which it ends by its default result.
    """

    group: tuple[str, str, str]
    shown: Record
    waits: dict[str, float] = field(default_factory=dict)


class AutoScaling:
    """The groups of every account and Region, and the instances that they launched."""

    def __init__(self, ec2_api: Ec2Api) -> None:
        self._ec2_api = ec2_api
        #: By the instance's id, oldest first.
        self._members: dict[str, _Member] = {}

    def install(self) -> None:
        correct(lambda _original, _group: None, "_reconcile_instances", autoscaling)
        calls: Mapping[str, Callable[[Call, Params], Response]] = {
            "CreateAutoScalingGroup": self._create,
            "UpdateAutoScalingGroup": self._update,
            "DeleteAutoScalingGroup": self._delete,
            "DescribeAutoScalingGroups": _describe,
            "DescribeAutoScalingInstances": self._describe_instances,
            "CompleteLifecycleAction": self._complete,
            "RecordLifecycleActionHeartbeat": self._heartbeat,
            "CreateLaunchConfiguration": _create_configuration,
            "DescribeLaunchConfigurations": _describe_configurations,
        }
        for name, call in calls.items():
            correct(self._answered(call), name, autoscaling._ACTION_MAP)
        correct(_fields, "_asg_fields", provisioners)
        resources = provisioners._RESOURCE_HANDLERS
        correct(_make_group, "create", resources["AWS::AutoScaling::AutoScalingGroup"])
        correct(_make_configuration, "create", resources["AWS::AutoScaling::LaunchConfiguration"])

    def _answered(self, call: Callable[[Call, Params], Response]) -> Callable[[Call, Record], Response]:
        def answer(original: Call, params: Record) -> Response:
            self.tick()
            try:
                return call(original, ec2_wire.params_of(b"", params))
            except Ec2Error as error:
                refused: Response = autoscaling._error(error.code, autoscaling.escape(error.message))
                return refused

        return answer

    # ---- time ----

    def tick(self) -> None:
        """Take each instance through its lifecycle, and each group to its desired capacity."""
        for id_, member in list(self._members.items()):
            with request_scope(*member.group[:2]):
                self._advance(id_, member)
        for (account, region, _name), group in autoscaling._asgs.all_items():
            with request_scope(account, region):
                self._scale(group)

    def _advance(self, id_: str, member: _Member) -> None:
        truth = self._ec2_api.truth()
        state = truth.instance(id_).state if truth.knows(id_) else State.TERMINATED
        if state in (State.SHUTTING_DOWN, State.TERMINATED):
            del self._members[id_]
            return
        if member.group[2] not in autoscaling._asgs:
            truth.terminate(id_)
        elif member.shown["LifecycleState"] == "Pending" and state is State.RUNNING:
            member.waits = {
                name: now() + hook["HeartbeatTimeout"]
                for name, hook in _hooks(member).items()
                if hook["LifecycleTransition"] == _LAUNCHING
            }
            member.shown["LifecycleState"] = "Pending:Wait" if member.waits else "InService"
        for name in [name for name, until in member.waits.items() if until <= now()]:
            self._end_wait(id_, name, result=_hooks(member).get(name, {}).get("DefaultResult", "ABANDON"))

    def _end_wait(self, id_: str, hook: str, *, result: str) -> None:
        member = self._members[id_]
        del member.waits[hook]
        if result != "CONTINUE":
            member.waits = {}
            self._ec2_api.truth().terminate(id_)
        elif not member.waits:
            member.shown["LifecycleState"] = "InService"

    def _scale(self, group: Record) -> None:
        mine = self._of(group["AutoScalingGroupName"])
        missing = group["DesiredCapacity"] - len(mine)
        for id_ in list(mine)[: max(-missing, 0)]:
            self._ec2_api.truth().terminate(id_)
        for number in range(max(missing, 0)):
            try:
                self._launch(group, len(mine) + number)
            except Ec2Error as error:
                # Asked again at the next tick; a profile that was made just now is known a moment later.
                if group.get("_refused") != str(error):
                    logger.warning("%s can't launch: %s", group["AutoScalingGroupName"], error)
                group["_refused"] = str(error)
                break
        group["Instances"] = [each.shown for each in self._of(group["AutoScalingGroupName"]).values()]

    def _launch(self, group: Record, number: int) -> None:
        name = group["AutoScalingGroupName"]
        tags = {tag["Key"]: tag["Value"] for tag in group["Tags"] if tag["PropagateAtLaunch"]}
        ways = _ways(group)
        own = ec2_wire.instance_tag_params({**tags, "aws:autoscaling:groupName": name})
        (instance,) = self._ec2_api.run({**ways[number % len(ways)], **own})
        self._members[instance.id] = _Member((get_account_id(), get_region(), name), _shown(group, instance))

    def _of(self, group: str) -> dict[str, _Member]:
        wanted = (get_account_id(), get_region(), group)
        return {id_: member for id_, member in self._members.items() if member.group == wanted}

    # ---- the calls ----

    def _create(self, original: Call, params: Params) -> Response:
        launches = self._launches(params)
        answer = original(params)
        if answer[0] == 200:  # noqa: PLR2004 - HTTP's
            name = params["AutoScalingGroupName"]
            autoscaling._asgs[name] |= launches
            _add_hooks(name, autoscaling._parse_nested(params, "LifecycleHookSpecificationList") or [])
        return answer

    def _update(self, original: Call, params: Params) -> Response:
        changed = any(key.startswith((*_TEMPLATES, "LaunchConfigurationName")) for key in params)
        launches = self._launches(params) if changed else {}
        answer = original(params)
        if group := autoscaling._asgs.get(params.get("AutoScalingGroupName")):
            group |= launches
            group["DesiredCapacity"] = min(max(group["DesiredCapacity"], group["MinSize"]), group["MaxSize"])
        return answer

    def _launches(self, params: Params) -> Record:
        """What a request says that a group launches; refused unless that can be launched."""
        configuration = params.get("LaunchConfigurationName", "")
        if not configuration and not any(key.startswith(_TEMPLATES) for key in params):
            raise Ec2Error("ValidationError", _NOTHING_TO_LAUNCH)
        try:
            asked = {member: autoscaling._parse_nested(params, member) for member in _TEMPLATES}
            launches = {**_named(asked), "LaunchConfigurationName": configuration}
            for way in _ways(launches):
                if profile := ec2_wire.profile(launch_templates.with_template(way), required=False):
                    self._ec2_api.truth().usable_profile(profile)
        except Ec2Error as error:
            text = f"You must use a valid fully-formed launch template. {error.message}"
            raise Ec2Error("ValidationError", text) from error
        return launches

    def _delete(self, original: Call, params: Params) -> Response:
        name = params.get("AutoScalingGroupName", "")
        if self._of(name) and params.get("ForceDelete", "").lower() != "true":
            text = "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s)"
            raise Ec2Error("ResourceInUse", f"{text} still in the group.")
        return original(params)

    def _describe_instances(self, _original: Call, params: Params) -> Response:
        asked = ec2_wire.members(params, "InstanceIds.member")
        here = (get_account_id(), get_region())
        rows = [
            {**member.shown, "AutoScalingGroupName": member.group[2]}
            for id_, member in self._members.items()
            if member.group[:2] == here and (not asked or id_ in asked)
        ]
        return _page("DescribeAutoScalingInstances", "AutoScalingInstances", rows, params=params)

    def _complete(self, _original: Call, params: Params) -> Response:
        self._waiting(params)
        self._end_wait(params["InstanceId"], params["LifecycleHookName"], result=params["LifecycleActionResult"])
        return _answer("CompleteLifecycleAction")

    def _heartbeat(self, _original: Call, params: Params) -> Response:
        member, hook = self._waiting(params), params["LifecycleHookName"]
        member.waits[hook] = now() + _hooks(member)[hook]["HeartbeatTimeout"]
        return _answer("RecordLifecycleActionHeartbeat")

    def _waiting(self, params: Params) -> _Member:
        """The instance that a request is about; refused unless this hook holds it. Tokens aren't known here."""
        id_ = params.get("InstanceId", "")
        member = self._of(params.get("AutoScalingGroupName", "")).get(id_)
        if member is None or params.get("LifecycleHookName") not in member.waits:
            raise Ec2Error("ValidationError", f"No active Lifecycle Action found with instance ID {id_}")
        return member


def _describe(_original: Call, params: Params) -> Response:
    names = ec2_wire.members(params, "AutoScalingGroupNames.member")
    filters = autoscaling._parse_nested(params, "Filters") or []
    passes = ec2_filters.passing([(each["Name"], each["Values"]) for each in filters])
    rows = [
        {key: value for key, value in group.items() if value not in ("", {}) and key not in _INTERNAL}
        for name, group in autoscaling._asgs.items()
        if (not names or name in names) and passes({}, {tag["Key"]: tag["Value"] for tag in group["Tags"]})
    ]
    return _page("DescribeAutoScalingGroups", "AutoScalingGroups", rows, params=params)


def _create_configuration(original: Call, params: Params) -> Response:
    answer = original(params)
    if answer[0] == 200:  # noqa: PLR2004 - HTTP's
        _add_profile(params["LaunchConfigurationName"], params)
    return answer


def _describe_configurations(_original: Call, params: Params) -> Response:
    names = ec2_wire.members(params, "LaunchConfigurationNames.member")
    rows = [row for name, row in autoscaling._launch_configs.items() if not names or name in names]
    return _page("DescribeLaunchConfigurations", "LaunchConfigurations", rows, params=params)


def _page(action: str, member: str, rows: list[Record], *, params: Params) -> Response:
    page, token = ec2_wire.cut(rows, params, size=_PAGE)
    shown = {member: list(page), **({"NextToken": token} if token else {})}
    return _answer(action, autoscaling._member_xml(shown))


def _answer(action: str, result: str = "") -> Response:
    answer: Response = autoscaling._xml(200, f"{action}Response", f"<{action}Result>{result}</{action}Result>")
    return answer


# ---- stacks ----


def _fields(original: Callable[[Record], Record], props: Record) -> Record:
    return {**original(props), **_named({member: props.get(member) or {} for member in _TEMPLATES})}


def _make_group(original: Callable[..., tuple[str, Record]], logical_id: str, props: Record, stack: str) -> Any:
    made = original(logical_id, props, stack)
    _add_hooks(made[0], props.get("LifecycleHookSpecificationList", []))
    return made


def _make_configuration(original: Callable[..., tuple[str, Record]], logical_id: str, props: Record, stack: str) -> Any:
    made = original(logical_id, props, stack)
    _add_profile(made[0], props)
    return made


# ---- records ----


def _hooks(member: _Member) -> dict[str, Record]:
    hooks = autoscaling._hooks.values()
    return {each["LifecycleHookName"]: each for each in hooks if each["AutoScalingGroupName"] == member.group[2]}


def _add_hooks(group: str, specified: list[Record]) -> None:
    for each in specified:
        name = each["LifecycleHookName"]
        autoscaling._hooks[f"{group}/{name}"] = autoscaling._hook_record(group, name, each)


def _add_profile(configuration: str, fields: Mapping[str, Any]) -> None:
    if profile := fields.get("IamInstanceProfile"):
        autoscaling._launch_configs[configuration]["IamInstanceProfile"] = profile


def _named(value: Any) -> Any:
    """The same, with id and name of each launch template in it, as a group shows them."""
    if isinstance(value, list):
        return [_named(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys().isdisjoint(_NAMES):
        return {key: _named(each) for key, each in value.items()}
    template = launch_templates.find(value)
    return {key: template[key] for key in _NAMES} | {"Version": str(value.get("Version") or "$Default")}


def _ways(group: Record) -> list[Params]:
    """How a group launches: RunInstances' parameters by its template, each override or its launch configuration."""
    configuration = autoscaling._launch_configs.get(group["LaunchConfigurationName"])
    if configuration:
        profile = configuration.get("IamInstanceProfile", "")
        named = {f"IamInstanceProfile.{'Arn' if profile.startswith('arn:') else 'Name'}": profile} if profile else {}
        return [{"ImageId": configuration["ImageId"], "InstanceType": configuration["InstanceType"], **named}]
    policy = group["MixedInstancesPolicy"].get("LaunchTemplate", {})
    template = policy.get(_SPECIFICATION) or group["LaunchTemplate"]
    if not template:
        raise Ec2Error("ValidationError", f"Launch configuration '{group['LaunchConfigurationName']}' was not found")
    return [
        {
            **{f"LaunchTemplate.{key}": text for key, text in each.get(_SPECIFICATION, template).items()},
            **({"InstanceType": each["InstanceType"]} if "InstanceType" in each else {}),
        }
        for each in policy.get("Overrides") or [{}]
    ]


def _shown(group: Record, instance: Instance) -> Record:
    launched: Record = {"LaunchConfigurationName": group["LaunchConfigurationName"]}
    if id_ := instance.tags.get("aws:ec2launchtemplate:id"):
        version = instance.tags["aws:ec2launchtemplate:version"]
        launched = {"LaunchTemplate": _named({"LaunchTemplateId": id_, "Version": version})}
    return {
        "InstanceId": instance.id,
        "InstanceType": instance.attributes["instance-type"],
        "AvailabilityZone": instance.attributes["availability-zone"],
        "LifecycleState": "Pending",
        "HealthStatus": "Healthy",
        "ProtectedFromScaleIn": group["NewInstancesProtectedFromScaleIn"],
        **launched,
    }
