"""An instance's way: a request, what EC2 shows, the decision, the change, the record."""

from rolekeeper.instances.reconcile import Reconciler
from rolekeeper.instances.retry import RetryLoop

__all__ = ["Reconciler", "RetryLoop"]
