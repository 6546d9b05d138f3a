"""Conditions of a template on where its stack is: `AWS::Region`, `AWS::AccountId` and their like.

A condition may compare any parameter, pseudo parameters too (CloudFormation user guide, "CloudFormation template
Conditions syntax", "Get AWS values using pseudo parameters"). ministack knows none of these in a condition and compares
their names, so what is to be made once in an account is never made. `AWS::StackName` and `AWS::StackId` aren't known
here either.

What a condition leaves out is ignored, or deleted where it is there (the same guide, "Conditions"), so a change set
shows it only then. ministack shows all of it as to be made.
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

from collections.abc import Callable
from typing import Any

from ministack.core.responses import get_account_id, get_region  # type: ignore[import-not-found]
from ministack.services.cloudformation import changesets, engine, handlers, stacks  # type: ignore[import-not-found]


def install() -> None:
    """Correct this process; call once, before the first request."""
    evaluate = _knowing_its_place(engine._evaluate_conditions)
    for module in (changesets, engine, handlers, stacks):
        module._evaluate_conditions = evaluate
    changesets._resolve_props_for_diff = _without_what_is_left_out(changesets._resolve_props_for_diff)


def _knowing_its_place(original: Callable[..., dict[str, bool]]) -> Callable[..., dict[str, bool]]:
    def evaluate(template: dict[str, Any], parameters: dict[str, Any]) -> dict[str, bool]:
        # All of them are of the partition `aws` here.
        place = {
            "AWS::Region": get_region(),
            "AWS::AccountId": get_account_id(),
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
        }
        return original(template, {**parameters, **{name: {"Value": value} for name, value in place.items()}})

    return evaluate


def _without_what_is_left_out(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def resolved(template: dict[str, Any], parameters: dict[str, Any], *stack: str) -> dict[str, Any]:
        found = original(template, parameters, *stack)
        made = changesets._evaluate_conditions(template, parameters) if template else {}
        resources = {
            name: resource
            for name, resource in found.get("Resources", {}).items()
            if made.get(resource.get("Condition"), True)
        }
        return {**found, "Resources": resources} if found else found

    return resolved
