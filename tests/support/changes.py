"""What EC2 took, as the history tells it."""

from typing import Any

from rolekeeper.model.instance import Action, InstanceKey
from rolekeeper.storage import layout
from rolekeeper.storage.state import Store


def changes_of(store: Store, instance: InstanceKey) -> list[dict[str, Any]]:
    """The history entries of the changes that EC2 took, newest first.

    Of two reconciles that race, EC2 refuses one ("There is an existing association"): an entry, but no change.
    """
    return [
        entry
        for entry in store.history(layout.instance_pk(instance))
        if Action(entry["decision"]["action"]).mutates and "association-id" in entry["answer"]
    ]
