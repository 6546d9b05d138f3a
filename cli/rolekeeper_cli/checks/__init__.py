"""The checks of `rolekeeper doctor`. A check yields what is wrong, and returns what to show if nothing is."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:
    from rolekeeper_cli.checks import caller, deployment, finding, guards, roles, run, stack, work
else:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__)
