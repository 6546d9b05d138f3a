"""Values, without I/O."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:
    from rolekeeper.model import instance, mapping, problem

# Imported when first used: no `--help` needs them.
__all__ = ["instance", "mapping", "problem"]
if not TYPE_CHECKING:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__, __all__)
