"""What `rolekeeper doctor` looks at. A check yields what isn't as it should be, and returns how it is when all is."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:
    from rolekeeper_cli.checks import caller, deployment, guards, roles, run, stack, work

__all__ = ["caller", "deployment", "guards", "roles", "run", "stack", "work"]
if not TYPE_CHECKING:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__, __all__)
