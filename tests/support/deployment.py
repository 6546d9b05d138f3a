"""What CloudFormation makes of a template: SAM's shorthands expanded, parameters, conditions and names filled in.

`python -m support.deployment FILE` writes the expanded template, for the linters that don't know SAM's shorthands.
"""

import functools
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from support.policy_simulation import ACCOUNT, REGION, Document
from support.templates import ROOT

STACK = "rolekeeper"
# As `sam package` leaves it: code that was uploaded. SAM refuses local folders.
UPLOADED = "s3://bucket/key"
NO_VALUE = object()
# What Ref and GetAtt give, by type. {0} is the resource's name.
REFS = {
    "AWS::IAM::ManagedPolicy": "arn:aws:iam::{account}:policy/{0}",
    "AWS::SNS::Topic": "arn:aws:sns:{region}:{account}:{0}",
    "AWS::SQS::Queue": "https://sqs.{region}.amazonaws.com/{account}/{0}",
    "AWS::StepFunctions::StateMachine": "arn:aws:states:{region}:{account}:stateMachine:{0}",
}
ARNS = {
    "AWS::CloudWatch::Alarm": "arn:aws:cloudwatch:{region}:{account}:alarm:{0}",
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:{region}:{account}:table/{0}",
    "AWS::Events::EventBus": "arn:aws:events:{region}:{account}:event-bus/{0}",
    "AWS::Events::Rule": "arn:aws:events:{region}:{account}:rule/{0}",
    "AWS::IAM::Role": "arn:aws:iam::{account}:role/{0}",
    "AWS::KMS::Key": "arn:aws:kms:{region}:{account}:key/{0}",
    "AWS::Lambda::Function": "arn:aws:lambda:{region}:{account}:function:{0}",
    "AWS::Logs::LogGroup": "arn:aws:logs:{region}:{account}:log-group:{0}:*",
    "AWS::SNS::Topic": REFS["AWS::SNS::Topic"],
    "AWS::SQS::Queue": "arn:aws:sqs:{region}:{account}:{0}",
    "AWS::StepFunctions::StateMachine": REFS["AWS::StepFunctions::StateMachine"],
}
# The property by which a resource names itself. The others' names are CloudFormation's: the stack's and their own here.
NAMES = {
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::Events::EventBus": "Name",
    "AWS::Events::Rule": "Name",
    "AWS::IAM::Role": "RoleName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
}


@functools.cache
def _translated(path: str) -> str:
    template = yaml_parse((ROOT / path).read_text())
    shared = template.get("Globals", {}).get("Function", {})
    for place in (*(each["Properties"] for each in template["Resources"].values()), shared):
        place.update({name: UPLOADED for name in ("CodeUri", "ContentUri", "DefinitionUri") if name in place})
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    return json.dumps(translator.translate(template, {}, passthrough_metadata=True), indent=1)


def translated(path: str = "template.yaml") -> Any:
    """The template as CloudFormation gets it from SAM's transform; a copy of the caller's own."""
    return json.loads(_translated(path))


@dataclass(frozen=True)
class Place:
    """The account and Region that a template is deployed in."""

    account: str = ACCOUNT
    region: str = REGION

    def ref(self, name: str, resource: Any) -> str:
        """What Ref gives of a resource, which has this name in the template."""
        return self._filled(REFS.get(resource["Type"], "{0}"), _name(name, resource))

    def arn(self, name: str, resource: Any) -> str:
        return self._filled((REFS | ARNS)[resource["Type"]], _name(name, resource))

    def _filled(self, pattern: str, name: str) -> str:
        return pattern.format(name, account=self.account, region=self.region)


@dataclass(frozen=True)
class Deployment:
    """The template's resources without any function left to resolve."""

    resources: Mapping[str, Any]
    arns: Mapping[str, str]
    parameters: Mapping[str, str]
    place: Place

    def changed(self, template: Any, name: str) -> "Deployment":
        """The same of a template in which one resource differs, though not in its name."""
        resource = _Resolver(template, self.parameters, self.place).resolve(template["Resources"][name])
        return replace(self, resources={**self.resources, name: resource})

    def of_type(self, kind: str) -> dict[str, Any]:
        return {name: each["Properties"] for name, each in self.resources.items() if each["Type"] == kind}

    def identity_policies(self, role: str) -> tuple[Document, ...]:
        """A role's own policies, and the template's that it names or that name it."""
        properties = self.resources[role]["Properties"]
        managed = self.of_type("AWS::IAM::ManagedPolicy")
        ours = {self.arns[name]: each["PolicyDocument"] for name, each in managed.items()}
        own = [each["PolicyDocument"] for each in properties.get("Policies", [])]
        naming = [each for each in (*self.of_type("AWS::IAM::Policy").values(), *managed.values()) if "Roles" in each]
        beside = [each["PolicyDocument"] for each in naming if role in each["Roles"]]
        return (*own, *(ours[arn] for arn in properties.get("ManagedPolicyArns", [])), *beside)

    def resource_policy(self, name: str) -> Document | None:
        """What a resource says of who may use it: the policy of a queue, topic, key, table, bus, function or role."""
        properties = self.resources[name]["Properties"]
        for key in ("KeyPolicy", "AssumeRolePolicyDocument", "ResourcePolicy"):
            if key in properties:
                document: Document = properties[key].get("PolicyDocument", properties[key])
                return document
        for kind, named in (("AWS::SQS::QueuePolicy", "Queues"), ("AWS::SNS::TopicPolicy", "Topics")):
            for each in self.of_type(kind).values():
                if self._ref(name) in each[named]:
                    policy: Document = each["PolicyDocument"]
                    return policy
        for each in self.of_type("AWS::Events::EventBusPolicy").values():
            if each["EventBusName"] == self._ref(name):
                return {"Version": "2012-10-17", "Statement": [{"Sid": each["StatementId"], **each["Statement"]}]}
        permissions = [
            each for each in self.of_type("AWS::Lambda::Permission").values() if each["FunctionName"] == name
        ]
        return (
            {"Version": "2012-10-17", "Statement": [self._allow(each) for each in permissions]} if permissions else None
        )

    def _ref(self, name: str) -> str:
        return self.place.ref(name, self.resources[name])

    def _allow(self, permission: Any) -> dict[str, Any]:
        conditions = {
            "ArnLike": {"aws:SourceArn": permission["SourceArn"]} if "SourceArn" in permission else {},
            "StringEquals": {"aws:SourceAccount": permission["SourceAccount"]} if "SourceAccount" in permission else {},
        }
        return {
            "Effect": "Allow",
            "Principal": {"AWS": "*"} if permission["Principal"] == "*" else {"Service": permission["Principal"]},
            "Action": permission["Action"],
            "Resource": self.arns[permission["FunctionName"]],
            "Condition": {operator: keys for operator, keys in conditions.items() if keys},
        }


def deployment(template: Any, place: Place = Place(), /, **parameters: str) -> Deployment:
    """A translated template as it is deployed with `parameters`, and the defaults of the others."""
    resolver = _Resolver(template, parameters, place)
    kept = {
        name: each
        for name, each in template["Resources"].items()
        if "Condition" not in each or resolver.condition(each["Condition"])
    }
    resources = {name: resolver.resolve(each) for name, each in kept.items()}
    arns = {name: place.arn(name, each) for name, each in resources.items() if each["Type"] in ARNS | REFS}
    return Deployment(resources, arns, parameters, place)


def _name(name: str, resource: Any) -> str:
    named: str = resource["Properties"].get(NAMES.get(resource["Type"]), name)
    return named


class _Resolver:
    """CloudFormation's functions, as far as the template uses them; any other is an error."""

    def __init__(self, template: Any, parameters: Mapping[str, str], place: Place) -> None:
        self._place = place
        self._resources = template["Resources"]
        self._conditions = template["Conditions"]
        unknown = parameters.keys() - template["Parameters"].keys()
        assert not unknown, f"the template has no parameter {unknown}"
        declared = template["Parameters"]
        defaults = {name: str(each["Default"]) for name, each in declared.items() if "Default" in each}
        lists = {name for name, each in declared.items() if each["Type"] == "CommaDelimitedList"}
        self._values = {
            "AWS::AccountId": place.account,
            "AWS::NoValue": NO_VALUE,
            "AWS::Partition": "aws",
            "AWS::Region": place.region,
            "AWS::StackName": STACK,
            "AWS::URLSuffix": "amazonaws.com",
            **defaults,
            **{name: value.split(",") if name in lists else value for name, value in parameters.items()},
        }

    def condition(self, name: str) -> bool:
        return bool(self.resolve(self._conditions[name]))

    def resolve(self, node: Any) -> Any:
        if isinstance(node, list):
            return [each for each in map(self.resolve, node) if each is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, argument),) = node.items()
            if function == "Condition" and isinstance(argument, str):
                return self.condition(argument)
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(function.removeprefix("Fn::"), argument)
        return {key: value for key, each in node.items() if (value := self.resolve(each)) is not NO_VALUE}

    def _call(self, function: str, argument: Any) -> Any:
        match function:
            case "Ref":
                return self._named(argument)
            case "GetAtt":
                return self._attribute(*(argument if isinstance(argument, list) else argument.split(".", 1)))
            case "Sub":
                return re.sub(r"\$\{([^}!]+)\}", lambda found: self._in_text(found[1]), argument)
            case "If":
                return self.resolve(argument[1] if self.condition(argument[0]) else argument[2])
            case "Equals":
                left, right = self.resolve(argument)
                return left == right
            case "Not":
                return not self.resolve(argument[0])
            case "And":
                return all(self.resolve(argument))
            case "Join":
                return argument[0].join(self.resolve(argument[1]))
            case _:
                raise NotImplementedError(function)

    def _in_text(self, name: str) -> str:
        return str(self._attribute(*name.split(".", 1)) if "." in name else self._named(name))

    def _named(self, name: str) -> Any:
        return self._values[name] if name in self._values else self._place.ref(name, self._resolved(name))

    def _attribute(self, name: str, attribute: str) -> str:
        resource = self._resolved(name)
        if attribute == "Arn":
            return self._place.arn(name, resource)
        if attribute == "StreamArn":
            return f"{self._place.arn(name, resource)}/stream/2026-01-01T00:00:00.000"
        if attribute in {"QueueName", "TopicName"}:
            return _name(name, resource)
        raise NotImplementedError(f"{name}.{attribute}")

    def _resolved(self, name: str) -> Any:
        """The resource with nothing but its type, and its name where it gives itself one."""
        resource = self._resources[name]
        key = NAMES.get(resource["Type"], "")
        own = resource["Properties"].get(key)
        return {"Type": resource["Type"], "Properties": {} if own is None else {key: self.resolve(own)}}


def main() -> None:
    to = Path(sys.argv[1])
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(translated(), indent=1) + "\n")


if __name__ == "__main__":
    main()
