"""`rolekeeper verify`: a deployment of its own goes through the whole story in the caller's account, and is removed."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:
    from rolekeeper_cli.verifying import machine, names, outcomes, preflight, redact, removal, report, run, scene, sweep
else:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__)
