"""What the stories of the demo share: steps one after the other, and EC2's own answer after each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from rich.table import Table

from rolekeeper.model.instance import InstanceKey
from rolekeeper.storage import layout
from rolekeeper.storage.table import Store
from rolekeeper_local.account import EmulatedAccount, Shown
from rolekeeper_local.timeline import Timeline

type Step = tuple[str, Callable[[], None]]


class Story(ABC):
    """A story is its steps; each fails by itself."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline

    @abstractmethod
    def steps(self) -> list[Step]:
        """What is told, with a title each."""

    def play(self) -> None:
        """Play every step, in order."""
        for number, (title, step) in enumerate(self.steps(), 1):
            with self.timeline.step(f"{number}. {title}"):
                step()

    def running(self, world: EmulatedAccount, instance_id: str) -> None:
        """Wait until the instance runs."""
        self.state(world, instance_id, "running")

    def state(self, world: EmulatedAccount, instance_id: str, state: str) -> None:
        """Wait for a state."""
        self.timeline.until(f"{instance_id} is {state}", lambda: world.state(instance_id) == state or None)

    def attached(self, world: EmulatedAccount, instance_id: str, profile: str) -> Shown:
        """Wait until EC2 shows the profile as associated."""
        return self.timeline.until(f"EC2 shows {profile} on {instance_id}", lambda: world.carries(instance_id, profile))


def fleet_table(worlds: Iterable[EmulatedAccount]) -> Table:
    """The fleet as it is: the role from EC2, mapping and reason from the last history entry.

    Of several accounts it has what fits into 80 columns.
    """
    worlds = list(worlds)
    table = Table(title="The fleet", title_justify="left")
    if len(worlds) == 1:
        for column in ("instance", "name", "state", "tags", "role", "mapping", "reason"):
            table.add_column(column, overflow="fold")
        for cells in _cells(worlds[0]):
            table.add_row(*cells)
        return table
    for column in ("account", "region", "instance"):
        table.add_column(column, no_wrap=True)
    for column in ("role", "mapping"):
        table.add_column(column, overflow="fold")
    for world in worlds:
        for instance, _name, _state, _tags, role, mapping, _reason in _cells(world):
            table.add_row(world.account, world.region, instance, role, mapping)
    return table


def _cells(world: EmulatedAccount) -> Iterable[tuple[str, ...]]:
    store = Store(world.dynamodb, world.state_table)
    for row in world.fleet():
        tags = {tag["Key"]: tag["Value"] for tag in row.get("Tags", ())}
        key = InstanceKey(world.account, world.region, row["InstanceId"])
        entries = store.history(layout.instance_pk(key), limit=1)
        decision = entries[0]["decision"] if entries else {"mapping": "", "reason": "nothing was ever to do"}
        shown = world.shown(row["InstanceId"])
        yield (
            row["InstanceId"],
            tags.pop("Name", ""),
            row["State"]["Name"],
            ", ".join(f"{name}={value}" for name, value in sorted(tags.items())),
            shown.profile if shown else "none",
            decision["mapping"],
            decision["reason"],
        )
