"""Values, without I/O."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:  # no `--help` needs them
    from rolekeeper.model import instance, mapping, problem
else:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__)
