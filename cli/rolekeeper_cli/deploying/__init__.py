"""Deploying, upgrading and destroying the stack, with boto3 alone from the wheel, or with the SAM CLI from a clone."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:
    from rolekeeper_cli.deploying import artifacts, deploy, destroy, parameters, rollout, spoke, stack
else:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__)
