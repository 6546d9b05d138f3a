"""The documents that `rolekeeper guard` prints: what to put around a deployment. Pure, but for `deployed.py`."""

from typing import TYPE_CHECKING

from rolekeeper_cli.lazy import modules_of

if TYPE_CHECKING:
    from rolekeeper_cli.policies import control, document, mapping_table

__all__ = ["control", "document", "mapping_table"]
__getattr__ = modules_of(__name__, __all__)
