"""What a template's policies answer to the cases of a spec, and which of their guards can be lost unnoticed."""

import copy
import fnmatch
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from spec.permitted import Case
from support.deployment import Deployment
from support.policy_simulation import ACCOUNT, Policies, Request, simulate

ANY_ROLE = f"arn:aws:iam::{ACCOUNT}:role/any"


def answered_otherwise(
    cases: Sequence[Case],
    today: Mapping[bool, Deployment],
    asked_of: Callable[[Case, Deployment], tuple[Request, Policies]],
) -> list[Case]:
    """The cases that IAM answers otherwise than they say; the rest is as in `unnoticed`."""
    answers = simulate([asked_of(case, today[case.takes_over]) for case in cases])
    return [case for case, answer in zip(cases, answers, strict=True) if answer.allowed is not case.allowed]


def unnoticed(
    template: Any,
    today: Mapping[bool, Deployment],
    refused: Sequence[Case],
    asked_of: Callable[[Case, Deployment], tuple[Request, Policies]],
    ours: Collection[Case],
) -> set[str]:
    """The names of the guards whose loss no case notices.

    `today` has the deployments of the translated template, by whether they may take over; `refused` the cases that are
    refused there, of which `ours` are those in which a role of the template asks; `asked_of` is what a case asks.
    """
    before = {case: asked_of(case, today[case.takes_over]) for case in refused}
    lost: dict[str, list[tuple[Request, Policies]]] = {}
    for weakening in weakenings(template, today[False].resources):
        changed_template = weakening.applied(template)
        weaker = {over: each.changed(changed_template, weakening.resource) for over, each in today.items()}
        asked = lost[weakening.name] = []
        for case, (_, policies_before) in before.items():
            if not weakening.concerns(case.action):
                continue
            request, policies = asked_of(case, weaker[case.takes_over])
            # What the role's other policies allow is no more than before.
            changed = [each for each in policies.identity if each not in policies_before.identity]
            if changed and case in ours and policies.resource is None:
                # What several roles share is asked once, as what one of them asks; a resource's policy may name roles.
                request, policies = replace(request, principal=ANY_ROLE), replace(policies, identity=changed)
            if (changed or policies != policies_before) and (request, policies) not in asked:
                asked.append((request, policies))
    answers = iter(simulate([each for asked in lost.values() for each in asked]))
    allowed = {name: sum(answer.allowed for answer in islice(answers, len(asked))) for name, asked in lost.items()}
    assert len(allowed) >= 15
    return {name for name, times in allowed.items() if not times}


# ---- each way in which one guard could be lost ----

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
    """Each condition dropped or lenient; resource and principal wider; what denies dropped.

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
    for guard in ("SourceArn", "SourceAccount"):
        if guard in properties:
            yield Weakening(f"{name} without {guard}", (*above, guard), DROPPED, actions)
