"""What a role may do, how two differ, and whether a role can be given at all."""

from rolekeeper.permissions.compare import Difference, PolicyReader
from rolekeeper.permissions.roles import Roles

__all__ = ["Difference", "PolicyReader", "Roles"]
