"""What looks at all instances, or at what is due: the sweep, expiries, what operators write."""

from rolekeeper.fleet.expiry import Expiries
from rolekeeper.fleet.overrides import DeployedMode, OperatorOverrides
from rolekeeper.fleet.sweep import Sweep

__all__ = ["DeployedMode", "Expiries", "OperatorOverrides", "Sweep"]
