"""Reading a row of the mapping table: columns, their values, and what is wrong with them."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:
    from rolekeeper.mappings.rows import columns, reader

__all__ = ["columns", "reader"]
if not TYPE_CHECKING:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__, __all__)
