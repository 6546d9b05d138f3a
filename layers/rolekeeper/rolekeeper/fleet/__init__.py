"""What looks at all instances, or at what is due: sweep, expiries, what operators write, the registry of targets."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:
    from rolekeeper.fleet import expiry, overrides, sweep, targets
else:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__)
