"""Conditions of a template on where its stack is: `AWS::Region`, `AWS::AccountId` and their like.

A condition may compare any parameter, pseudo parameters too (CloudFormation user guide, "CloudFormation template
Conditions syntax", "Get AWS values using pseudo parameters"). ministack knows none of these in a condition and compares
their names, so what is to be made once in an account is never made. `AWS::StackName` and `AWS::StackId` aren't known
here either.
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
