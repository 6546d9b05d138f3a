"""The registry of targets: the accounts and Regions that a hub serves beside its own, each an item of the state table.

A target enters it when a message comes from there and a probe finds that its spoke lets the hub in. Whatever the table
holds is only said of it: what a target may be asked for is decided by its spoke's own roles.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.aws import Ec2, Iam
from rolekeeper.aws.errors import AwsRefusalError, ConflictError, CorruptItemError
from rolekeeper.model import shown
from rolekeeper.model.instance import Target
from rolekeeper.settings import Access, Settings
from rolekeeper.storage import Store, Update, codec, layout

# Items of one read, which are together below the megabyte that a Query answers at most (DynamoDB API reference).
PAGE, PROBLEM = 400, 500
NOTED = timedelta(hours=1)  # so often does a process write that it had events of a target
VERSION_TAG = "rolekeeper:version"  # of the reader role (spoke.yaml)
PROBED = 5  # instances of a probe's page, the fewest that EC2 takes (EC2 API reference, `DescribeInstances`)
_REGISTERED, _PROBLEM, _SINCE = "since", "problem", "problem_since"


@dataclass(frozen=True, slots=True)
class ServedTarget:
    """A registered target. `instances` are those that its last sweep saw, and `drift` of them it sent.

    `problem` says why it can't be served, empty where it can; `unit` is its organizational unit, where that is known.
    """

    target: Target
    version: str = ""
    since: datetime | None = None
    last_event: datetime | None = None
    last_sweep: datetime | None = None
    instances: int = 0
    drift: int = 0
    problem: str = ""
    problem_since: datetime | None = None
    unit: str = ""


@dataclass(frozen=True)
class Registry:
    """The registered targets. `noted` is when this process wrote of a target last; one that keeps it writes less."""

    store: Store
    noted: MutableMapping[Target, datetime] = field(default_factory=dict)

    def all(self) -> list[ServedTarget]:
        """All registered targets, by account and Region. One whose item isn't what we wrote has that as its problem."""
        return [self._read(item) for item in self._items()]

    def _read(self, item: Mapping[str, Any]) -> ServedTarget:
        try:
            return self.store.decode(_served, dict(item))
        except CorruptItemError as error:
            return ServedTarget(_target(item["sk"]), problem=shown(str(error), PROBLEM))

    def _items(self) -> Iterator[Mapping[str, Any]]:
        after = ""
        while True:
            items = self.store.first(layout.TARGETS, "target$", PAGE, after)  # "$" comes right after "#"
            yield from items
            if len(items) < PAGE:
                return
            after = items[-1]["sk"]

    def get(self, target: Target) -> ServedTarget | None:
        item = self.store.get([layout.target_key(target)]).get(layout.target_key(target))
        return self._read(item) if item else None

    def add(self, served: ServedTarget) -> None:
        """Register a target, in the place of what was known of it."""
        known = {name: value for name, value in codec.encode(served).items() if value != "" and name != "target"}
        self.store.write(self.store.put({**layout.key_attributes(layout.target_key(served.target)), **known}))
        if served.last_event:
            self.noted[served.target] = served.last_event

    def note_event(self, target: Target, at: datetime, version: str = "") -> bool:
        """Note that an event came from a target; with a `version`, that too. Returns whether it is registered.

        Without a version it is written at most once in an hour.
        """
        noted = self.noted.get(target)
        if noted and at - noted < NOTED and not version:
            return True
        seen = {"last_event": layout.timestamp(at), **({"version": version} if version else {})}
        registered = self._update(target, Update().set(seen))
        if registered:
            self.noted[target] = at
        else:
            self.noted.pop(target, None)
        return registered

    def note_sweep(self, target: Target, instances: int, drift: int, at: datetime) -> None:
        """Note a sweep that came to its end. The target answered, so what was wrong with it is over."""
        swept = {"last_sweep": layout.timestamp(at), "instances": instances, "drift": drift}
        self._update(target, Update().set(swept).remove(_PROBLEM, _SINCE))

    def note_problem(self, target: Target, words: str, at: datetime) -> bool:
        """Note why a target can't be served; returns whether it is news: one of several that find it has it so."""
        words = shown(words, PROBLEM)
        noted = Update().set({_PROBLEM: words, _SINCE: layout.timestamp(at)})
        return self._update(target, noted.only_if(_PROBLEM, "<>", words, or_absent=True))

    def clear_problem(self, target: Target) -> bool:
        """Note that a target can be served; returns whether it could not."""
        return self._update(target, Update().remove(_PROBLEM, _SINCE).only_if_present(_PROBLEM))

    def remove(self, target: Target) -> None:
        """Forget a target. Its next event registers it again, while its spoke is there."""
        self.store.write(self.store.delete(layout.target_key(target)))
        self.noted.pop(target, None)

    def _update(self, target: Target, update: Update) -> bool:
        """Update a target's item; returns whether the condition held. One that isn't registered stays so."""
        try:
            self.store.write(self.store.update(layout.target_key(target), update.only_if_present(_REGISTERED)))
        except ConflictError:
            return False
        return True


def probe(settings: Settings, ec2: Ec2, iam: Iam) -> str:
    """Ask a target whether the hub may read there; returns the version of its spoke, empty where it has none.

    Raises:
        AwsRefusalError: it refuses, or doesn't answer.
    """
    reader = settings.spoke_role(Access.READER).rpartition("/")[2]
    role = iam.get_role(reader)
    next(ec2.pages(size=PROBED))
    return role.tags.get(VERSION_TAG, "") if role else ""


def problem_of(error: AwsRefusalError) -> str:
    """What is wrong with a target that refuses: the same words each time, so without what AWS says of the caller."""
    return f"{error.action} on {error.resource} is refused ({error.code})"


def _served(item: Mapping[str, Any]) -> ServedTarget:
    return codec.decode(ServedTarget, {**item, "target": codec.encode(_target(item["sk"]))})


def _target(sk: str) -> Target:
    _, account, region = f"{sk}##".split("#")[:3]
    return Target(account, region)
