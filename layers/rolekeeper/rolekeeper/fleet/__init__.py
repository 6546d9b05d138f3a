"""What looks at all instances, or at what is due: the sweep, expiries, what operators write."""

from rolekeeper.fleet.expiry import Expiries
from rolekeeper.fleet.overrides import OperatorOverrides, report_deployed_mode
from rolekeeper.fleet.sweep import Sweep, SweepResult

__all__ = ["Expiries", "OperatorOverrides", "Sweep", "SweepResult", "report_deployed_mode"]
