"""The state table: its items, their form, and what is kept of instances."""

from rolekeeper.storage.state import State, Store, Update

__all__ = ["State", "Store", "Update"]
