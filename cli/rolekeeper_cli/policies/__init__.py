"""The documents that `rolekeeper guard` prints: what to put around a deployment. Pure, but for `deployed.py`."""
