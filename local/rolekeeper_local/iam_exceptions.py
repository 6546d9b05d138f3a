"""What ministack's IAM enforcement lacks for Rolekeeper's policies. docs/local.md, "IAM", lists all of it.

The template is never weakened for the emulator, and nothing is stripped from a policy: each correction adds what the
evaluation lacks.
"""

import functools
import itertools
import json
from collections.abc import Callable
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.services import iam

from rolekeeper_local import dynamodb_keys, launch_templates
from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_api import Ec2Api
from rolekeeper_local.ec2_model import Ec2Error, Instance

#: Calls that pass a role to EC2 (the service authorization reference's "iam:PassRole" dependents that we meet).
_PASSING = frozenset(
    {
        "ec2:AssociateIamInstanceProfile",
        "ec2:ReplaceIamInstanceProfileAssociation",
        "ec2:RunInstances",
        "iam:AddRoleToInstanceProfile",
    }
)
#: The key that carries the passed role from the request to the check; no policy can name it.
_ROLE = "rolekeeper-local/role-passed"
#: The same for the keys of a transaction's items, in the order in which they are checked.
_ITEMS = "rolekeeper-local/items"
#: How the names of the condition keys of a simulation begin.
_ENTRY = "ContextEntries.member"


def install(ec2_api: Ec2Api) -> None:
    pin_origin = app.pin_request_origin
    app.pin_request_origin = lambda address, _secure: pin_origin(address, True)  # noqa: FBT003 - its signature
    requests, passed = _Requests(ec2_api), _PassRoleCheck()
    correct(requests.keys, "request_tag_context", iam_actions)
    correct(requests.resource_arn, "extract_resource_arn", iam_actions)
    correct(_without_batch, "extract_iam_action", iam_actions)
    correct(_with_role, "_resolve_condition_key", iam_evaluator)
    correct(_with_user_id, "_conditions_met", iam_evaluator)
    correct(passed.enforce, "enforce", iam_evaluator)
    correct(passed.access_denied_response, "access_denied_response", iam_actions)
    correct(_with_context, "SimulatePrincipalPolicy", iam._IAM_HANDLERS)


def _with_context(original: Callable[..., Any], params: dict[str, Any]) -> object:
    """A simulation with its `ContextEntries`, which ministack leaves out."""
    given: dict[str, str | list[str]] = {}
    for number in itertools.takewhile(lambda n: f"{_ENTRY}.{n}.ContextKeyName" in params, itertools.count(1)):
        entry = f"{_ENTRY}.{number}"
        values = [iam._p(params, name) for name in params if name.startswith(f"{entry}.ContextKeyValues.")]
        given[iam._p(params, f"{entry}.ContextKeyName").lower()] = values if len(values) > 1 else values[0]
    made = iam_evaluator.EvalContext
    iam_evaluator.EvalContext = functools.partial(made, service_context=given)
    try:
        return original(params)
    finally:
        iam_evaluator.EvalContext = made


class _PassRoleCheck:
    """The check of iam:PassRole beside that of the action, and the error that names iam:PassRole."""

    def __init__(self) -> None:
        self._refused_role = ""

    def enforce(self, original: Callable[..., Any], *request: str, **named: Any) -> object:
        access_key_id, _iam_action, _service, region = request
        resource = named.get("resource_arn", "*")
        context = dict(named.pop("service_context", None) or {})
        role = context.pop(_ROLE, "")
        context |= next(context.pop(_ITEMS, iter(())), {})
        self._refused_role = ""
        refused = original(*request, service_context=context, **named)
        if refused or not role:
            return refused
        keys = {"iam:PassedToService": "ec2.amazonaws.com", "iam:AssociatedResourceArn": resource}
        refused = original(access_key_id, "iam:PassRole", "iam", region, resource_arn=role, service_context=keys)
        if refused:
            self._refused_role = role
        return refused

    def access_denied_response(
        self, original: Callable[..., Any], service: str, action: str, *rest: Any, **named: Any
    ) -> object:
        if self._refused_role and action in _PASSING:
            action, named["resource_arn"] = "iam:PassRole", self._refused_role
            self._refused_role = ""
        return original(service, action, *rest, **named)


class _Requests:
    """A request's condition keys and its resource."""

    def __init__(self, ec2_api: Ec2Api) -> None:
        self._ec2_api = ec2_api

    def keys(self, original: Callable[..., Any], *request: Any) -> dict[str, Any]:
        service, iam_action, body, params = request
        context: dict[str, Any] = original(*request)
        if service == "ec2":
            context |= self._ec2_keys(iam_action, params)
        elif service == "dynamodb":
            whole, items = dynamodb_keys.keys_of(body)
            context |= whole | ({_ITEMS: iter(items)} if items else {})
        elif service == "events" and iam_action == "events:PutEvents":
            context |= _events_keys(body)
        elif iam_action == "sts:AssumeRole":
            context["sts:RoleSessionName"] = _first(params, "RoleSessionName")
        elif iam_action == "iam:AddRoleToInstanceProfile":
            role = iam._roles.get(_first(params, "RoleName"))
            context |= {_ROLE: role["Arn"]} if role else {}
        return context

    def resource_arn(self, original: Callable[..., Any], service: str, *request: Any) -> str:
        # request: method, path, headers, body, params, region, account
        body, params, region, account = request[3:7]
        if service == "ec2" and (_first(params, "AssociationId") or _tagged(params)):
            instance = self._instance(params)
            return f"arn:aws:ec2:{region}:{account}:instance/{instance.id if instance else '*'}"
        if service == "iam" and (arn := _iam_arn(params, account)):
            return arn
        found = str(original(service, *request))
        if found == "*" and service == "dynamodb":
            asked = json.loads(body or b"{}")
            return str(asked.get("ResourceArn") or asked.get("TableArn") or found)
        if found == "*" and service == "events" and (rule := json.loads(body or b"{}").get("Rule")):
            found = f"arn:aws:events:{region}:{account}:rule/{json.loads(body).get('EventBusName', 'default')}/{rule}"
        # A rule of the default bus has no bus in its ARN (service authorization reference, "Amazon EventBridge").
        return found.replace(":rule/default/", ":rule/")

    def _ec2_keys(self, iam_action: str, params: dict[str, Any]) -> dict[str, Any]:
        keys: dict[str, Any] = {}
        if instance := self._instance(params):
            for key, value in instance.tags.items():
                keys[f"aws:ResourceTag/{key}"] = keys[f"ec2:ResourceTag/{key}"] = value
            if row := self._ec2_api.truth().association_of(instance.id):
                keys["ec2:InstanceProfile"] = row.profile_arn
        if iam_action == "ec2:RunInstances":
            params = _with_template(params)
        reference = _first(params, "IamInstanceProfile.Arn") or _first(params, "IamInstanceProfile.Name")
        if iam_action in _PASSING and reference and (profile := self._ec2_api.find_profile(reference)):
            keys["ec2:NewInstanceProfile"] = profile.arn
            if profile.roles:
                keys[_ROLE] = profile.roles[0]
        elif reference.startswith("arn:"):
            keys["ec2:NewInstanceProfile"] = reference
        return keys

    def _instance(self, params: dict[str, Any]) -> Instance | None:
        truth = self._ec2_api.truth()
        instance_id = _first(params, "InstanceId") or _first(params, "InstanceId.1") or _tagged(params)
        try:
            if association_id := _first(params, "AssociationId"):
                instance_id = truth.describe_associations(association_ids=[association_id])[0][0].instance_id
            return truth.instance(instance_id) if instance_id else None
        except Ec2Error:
            return None


def _with_template(params: dict[str, Any]) -> dict[str, Any]:
    """A launch with what its template adds; one that EC2 will refuse as it is."""
    try:
        return {**launch_templates.with_template({name: _first(params, name) for name in params})}
    except Ec2Error:
        return params


def _events_keys(body: bytes) -> dict[str, Any]:
    entries = json.loads(body or b"{}").get("Entries", [])
    keys = {}
    for key, field in (("events:source", "Source"), ("events:detail-type", "DetailType")):
        values = list(dict.fromkeys(str(entry.get(field, "")) for entry in entries))
        keys[key] = values[0] if len(values) == 1 else values
    return keys


def _with_role(original: Callable[[str, Any], Any], key: str, context: Any) -> Any:
    value = original(key, context)
    if key.lower() == "aws:principalarn" and ":assumed-role/" in value:
        # The caller's account isn't the one whose resource is asked for, where another account calls.
        name = iam_evaluator._role_name_from_assumed_arn(value)
        role = iam._roles.get_scoped(context.principal_account, None, name)
        return role["Arn"] if role else value
    return value


def _with_user_id(original: Callable[..., bool], conditions: dict[str, Any], context: Any) -> bool:
    # A service has none. A session's name has no character that JSON escapes (STS API reference, "AssumeRole").
    user_id = context.principal_keys.get("aws:userid", "")
    return original(json.loads(json.dumps(conditions).replace("${aws:userid}", user_id)), context)


def _without_batch(original: Callable[..., str | None], service: str, *request: Any) -> str | None:
    action = original(service, *request)
    return action.removesuffix("Batch") if action and service == "sqs" else action


def _iam_arn(params: dict[str, Any], account: str) -> str:
    if _first(params, "Action") == "GenerateServiceLastAccessedDetails":
        return _first(params, "Arn")
    # AddRoleToInstanceProfile names both; its resource is the profile (service authorization reference, IAM).
    for kind, field, known in (
        ("instance-profile", "InstanceProfileName", iam._instance_profiles),
        ("role", "RoleName", iam._roles),
    ):
        if name := _first(params, field):
            made = known.get(name)
            return str(made["Arn"]) if made else f"arn:aws:iam::{account}:{kind}{_first(params, 'Path') or '/'}{name}"
    return ""


def _tagged(params: dict[str, Any]) -> str:
    """The first instance that CreateTags or DeleteTags is about."""
    resource = _first(params, "ResourceId.1")
    return resource if resource.startswith("i-") else ""


def _first(params: dict[str, Any], name: str) -> str:
    value = params.get(name, "")
    return str(value[0] if isinstance(value, list) else value)
