"""A plan in a file, to be applied as it is: lines of JSON, written while the instances go by.

The first line says where and of what the plan was made, the next ones the mappings and the instances that change, each
with what it rested on. The last line closes it: without it, the file was cut off.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from rolekeeper.mappings.rows.cells import HomeAccount
from rolekeeper.mappings.rows.columns import Attributes
from rolekeeper.mappings.rows.reader import read_row, row_of
from rolekeeper.model.instance import InstanceKey
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.instances import where
from rolekeeper_cli.views.looking import Seen
from rolekeeper_cli.views.proposal import Proposal

FORM = 2


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """Where and of what a plan was made.

    Attributes:
        account: `region` and `stack`: the deployment.
        instances: those that it was narrowed to, each ACCOUNT/REGION/ID; empty for the fleet.
        targets: those that it was narrowed to, as a command names them; empty for all.
        specs: the file's mappings, if it was made of one.
        prune: whether the other rows were to be deleted.
    """

    account: str
    region: str
    stack: str
    instances: Sequence[str] = ()
    targets: Sequence[str] = ()
    specs: Sequence[MappingSpec] = ()
    prune: bool = False


@dataclass(frozen=True, slots=True)
class PlannedEdit:
    """A mapping that the plan edits: its row as it was seen, what was published then, and what was to become of it."""

    tag_key: str
    tag_value: str
    row: Attributes
    revision: int
    status: str
    takes_effect: bool

    @property
    def key(self) -> MappingKey:
        """The mapping's."""
        return MappingKey(self.tag_key, self.tag_value)


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """An instance that the plan changes, and what that rested on.

    Attributes:
        instance: its id, in an `account` and a `region`.
        name: its name.
        tags: its tags.
        association: the id of the association that it had; empty for none.
        before: the profile that it carried, by ARN, and `after`: the one that it is to carry; empty for none.
        action: the decision's, and so are `mapping` and `revision`.
    """

    instance: str
    account: str
    region: str
    name: str
    tags: Mapping[str, str]
    association: str
    before: str
    after: str
    action: str
    mapping: str
    revision: int

    @property
    def key(self) -> InstanceKey:
        """The instance's."""
        return InstanceKey(self.account, self.region, self.instance)


def planned_change(seen: Seen) -> PlannedChange:
    """What a plan keeps of one instance that changes."""
    decision, association = seen.decision, seen.observed.association
    return PlannedChange(
        **where(seen.instance.key),
        name=seen.instance.tags.get("Name", ""),
        tags=dict(seen.instance.tags),
        association=association.id if association else "",
        before=seen.carries,
        after=seen.should_carry,
        action=decision.action.value,
        mapping=str(decision.mapping or ""),
        revision=decision.revision,
    )


@contextmanager
def writing(path: Path, basis: PlanHeader, proposed: Proposal) -> Iterator[Callable[[Seen], None]]:
    """Write a plan; gives what takes its instances. The file is there once it is whole.

    Raises:
        UsageError: it can't be written there.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        # Tags may hold what isn't everybody's to read.
        file = os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}", "name another file") from error

    def write(document: Mapping[str, Any]) -> None:
        file.write(json.dumps(document, default=repr) + "\n")

    def keep(seen: Seen) -> None:
        if seen.decision.action.mutates:
            write({"change": asdict(planned_change(seen))})

    try:
        with file:
            rows = [row_of(each) for each in basis.specs]
            write({"rolekeeper_plan": FORM, **asdict(replace(basis, specs=())), "specs": rows})
            for each in proposed.edits:
                row, key = each.change.row if each.change else {}, each.key
                edit = PlannedEdit(
                    key.tag_key,
                    key.tag_value,
                    row,
                    revision=each.revision,
                    status=each.status.value,
                    takes_effect=each.takes_effect,
                )
                write({"edit": asdict(edit)})
            yield keep
            write({"end": True})
        partial.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


class PlanFile:
    """A plan that was written. Its instances are read when they are asked for: there may be many."""

    def __init__(self, path: Path, home: HomeAccount) -> None:
        """Read all but the instances.

        Raises:
            UsageError: the file can't be read.
            CommandError: it is no plan, or not a whole one.
        """
        self._path = path
        documents = self._documents()
        head = next(documents, {})
        if head.get("rolekeeper_plan") != FORM:
            raise self._no_plan("doesn't begin as one")
        last: Mapping[str, Any] = {}
        try:
            told = {each.name: head[each.name] for each in fields(PlanHeader)}
            self.basis = PlanHeader(**told | {"specs": [self._spec(row, home) for row in head["specs"]]})
            self.edits: list[PlannedEdit] = []
            for last in documents:
                if "edit" in last:
                    self.edits.append(PlannedEdit(**last["edit"]))
        except (KeyError, TypeError) as error:
            raise self._no_plan("holds what no plan holds") from error
        if "end" not in last:
            raise self._no_plan("is cut off")

    def changes(self) -> Iterator[PlannedChange]:
        """The instances that change."""
        for each in self._documents():
            if "change" in each:
                try:
                    yield PlannedChange(**each["change"])
                except TypeError as error:
                    raise self._no_plan("holds what no plan holds") from error

    def _documents(self) -> Iterator[Mapping[str, Any]]:
        try:
            with self._path.open(encoding="utf-8") as file:
                for line in file:
                    document = json.loads(line)
                    if not isinstance(document, dict):
                        raise self._no_plan("holds what no plan holds")
                    yield document
        except OSError as error:
            what = f"{self._path} can't be read: {error.strerror}"
            raise UsageError(what, "name a file that rolekeeper plan --out wrote") from error
        except ValueError as error:
            raise self._no_plan("holds what no plan holds") from error

    def _spec(self, row: Attributes, home: HomeAccount) -> MappingSpec:
        spec = read_row(row, home).spec
        if spec is None:
            raise self._no_plan("holds a mapping that can't be read")
        return spec

    def _no_plan(self, what: str) -> CommandError:
        return CommandError(f"{self._path} is no plan: it {what}", "make one: rolekeeper plan --out FILE")
