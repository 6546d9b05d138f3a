"""A mapping's way: its row, the verdict on it, and what is published."""

from rolekeeper.mappings.assess import Assessor
from rolekeeper.mappings.publish import Publisher
from rolekeeper.mappings.table import MappingTable
from rolekeeper.mappings.verdict import Status

__all__ = ["Assessor", "MappingTable", "Publisher", "Status"]
