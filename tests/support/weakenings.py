"""Each way in which one guard of the template's policies could be lost."""

import copy
import fnmatch
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

type Path = tuple[str | int, ...]

# Where a type has its policy documents.
DOCUMENTS: dict[str, list[Path]] = {
    "AWS::DynamoDB::Table": [("ResourcePolicy", "PolicyDocument")],
    "AWS::Events::EventBusPolicy": [("Statement",)],
    "AWS::IAM::ManagedPolicy": [("PolicyDocument",)],
    "AWS::IAM::Policy": [("PolicyDocument",)],
    "AWS::IAM::Role": [("AssumeRolePolicyDocument",), ("Policies", 0, "PolicyDocument")],
    "AWS::KMS::Key": [("KeyPolicy",)],
    "AWS::SNS::TopicPolicy": [("PolicyDocument",)],
    "AWS::SQS::QueuePolicy": [("PolicyDocument",)],
}
DROPPED = object()


@dataclass(frozen=True)
class Weakening:
    """One value in the translated template that is put in another's place, or dropped.

    It concerns the `actions`, which are patterns.
    """

    name: str
    path: Path
    value: Any
    actions: tuple[str, ...]

    def concerns(self, action: str) -> bool:
        return any(fnmatch.fnmatchcase(action, pattern) for pattern in self.actions)

    @property
    def resource(self) -> str:
        return str(self.path[1])

    def applied(self, template: Any) -> Any:
        """The template with this one change; the rest is shared with the one that is given."""
        return _put(template, self.path, self.value)


def _put(node: Any, path: Path, value: Any) -> Any:
    first, *rest = path
    changed = copy.copy(node)
    if rest:
        changed[first] = _put(node[first], tuple(rest), value)
    elif value is DROPPED:
        del changed[first]
    else:
        changed[first] = value
    return changed


def weakenings(template: Any, deployed: Collection[str]) -> Iterator[Weakening]:
    """Each condition dropped or lenient; resource, action and principal wider; what denies dropped.

    The template is as SAM translates it; `deployed` are the names of the resources that the deployment has.
    """
    for name, resource in template["Resources"].items():
        if name not in deployed:
            continue
        properties, above = resource["Properties"], ("Resources", name, "Properties")
        assert len(properties.get("Policies", [])) <= 1, f"{name}: only the first document would be weakened"
        for path in DOCUMENTS.get(resource["Type"], []):
            yield from _of_document(f"{name}.{path[0]}", properties, path, above)
        if resource["Type"] == "AWS::Lambda::Permission":
            yield from _of_permission(name, properties, above)


def _of_document(name: str, properties: Any, path: Path, above: Path) -> Iterator[Weakening]:
    document = properties
    for each in path:
        if isinstance(document, dict) and each not in document:
            return
        document = document[each]
    if path == ("Statement",):
        yield from _of_statement(name, document, (*above, *path))
        return
    for index, statement in enumerate(document["Statement"]):
        here = (*above, *path, "Statement", index)
        if "Fn::If" in statement:
            condition, met, _ = statement["Fn::If"]
            yield Weakening(f"{name}: {condition} taken for met", here, met, _actions(met))
            yield from _of_statement(name, met, (*here, "Fn::If", 1))
        else:
            yield from _of_statement(name, statement, here)


def _actions(statement: Any) -> tuple[str, ...]:
    return tuple(statement["Action"]) if isinstance(statement["Action"], list) else (statement["Action"],)


def _of_statement(document: str, statement: Any, path: Path) -> Iterator[Weakening]:
    name, actions = f"{document}: {statement.get('Sid', 'trust')}", _actions(statement)
    if statement["Effect"] == "Deny":
        nothing = {**statement, "Condition": {"StringEquals": {"aws:PrincipalArn": "nobody"}}}
        yield Weakening(f"{name} dropped", path, nothing, actions)
        return
    conditions = statement.get("Condition", {})
    for operator, keys in conditions.items():
        for key, value in keys.items():
            here = (*path, "Condition", operator, key)
            yield Weakening(f"{name} without {operator} {key}", here, DROPPED, actions)
            yield from _wider(f"{name}, {key}", value, here, actions)
        if operator != "Null" and not operator.startswith("ForAllValues:"):
            lenient = {other: tests for other, tests in conditions.items() if other != operator}
            lenient[f"{operator.removesuffix('IfExists')}IfExists"] = keys
            if lenient != conditions:
                yield Weakening(f"{name} with {operator}IfExists", (*path, "Condition"), lenient, actions)
    # The policy of a resource concerns this resource, whatever it says.
    if "Principal" not in statement and statement["Resource"] != "*":
        yield Weakening(f"{name} on everything", (*path, "Resource"), "*", actions)
        yield from _wider(name, statement["Resource"], (*path, "Resource"), actions)
    for service in sorted({action.split(":")[0] for action in actions}):
        if (every := f"{service}:*") not in actions:
            yield Weakening(f"{name} with {every}", (*path, "Action"), [*actions, every], (every,))
    if statement.get("Principal", "*") != "*":
        yield Weakening(f"{name} for everybody", (*path, "Principal"), {"AWS": "*"}, actions)


def _wider(name: str, value: Any, path: Path, actions: tuple[str, ...]) -> Iterator[Weakening]:
    """Of an ARN that is written out: for every Region or name, or with a path that doesn't end where it should."""
    text = value.get("Fn::Sub", "") if isinstance(value, dict) else ""
    for part, wider, says in (
        ("${RolePath}*", "/rolekeeper*", "whose path has no last slash"),
        ("${RolePath}*", "/*", "under any path"),
        ("${AWS::Region}", "*", "in every Region"),
        ("${Namespace}-", "*", "of every name"),
    ):
        if part in text:
            yield Weakening(f"{name} {says}", path, {"Fn::Sub": text.replace(part, wider)}, actions)


def _of_permission(name: str, properties: Any, above: Path) -> Iterator[Weakening]:
    actions = ("lambda:InvokeFunction",)
    yield Weakening(f"{name} for everybody", (*above, "Principal"), "*", actions)
    yield Weakening(f"{name} with lambda:*", (*above, "Action"), "lambda:*", ("lambda:*",))
    for guard in ("SourceArn", "SourceAccount"):
        if guard in properties:
            yield Weakening(f"{name} without {guard}", (*above, guard), DROPPED, actions)
