"""What the console knows of the fleet: one thread writes it, and each page takes a picture of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Condition

from rolekeeper.model.instance import Target
from rolekeeper_cli.console.fleet_rows import FleetRow
from rolekeeper_cli.console.notes import Note

# Rows of a page.
PAGE = 200
# The most instances that are kept, as memory is bounded (0.9 KB each): the command lists larger fleets.
MOST = 50_000


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is known at one time.

    Attributes:
        version: it grows with each change of what a page shows.
        rows: the instances, in the order in which they are listed.
        read: how many have been read so far, while all are read for the first time.
        read_at: when all of them were read last; None until they were.
        cut: whether there are more than are kept.
        notes: what hinders the reading, by what it is about.
        withheld: why nothing is changed now; empty where it is.
        targets: the accounts and Regions that the deployment looks after.
    """

    version: int
    rows: tuple[FleetRow, ...]
    read: int
    read_at: datetime | None
    cut: bool
    notes: Mapping[str, Note]
    withheld: str
    targets: tuple[Target, ...] = ()

    @property
    def unreadable(self) -> Note | None:
        """Why nothing is known at all; None where something is."""
        return self.notes.get("whole") if not self.rows and self.read_at is None else None


class KnownFleet:
    """See the module. All of it may be used by several threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._changed = Condition()
        self._rows: dict[str, FleetRow] = {}
        self._stamps: dict[str, int] = {}
        self._stamp_of_all = 0
        self._read_at: datetime | None = None
        self._read, self._version = 0, 1
        self._cut = False
        self._withheld = ""
        self._targets: tuple[Target, ...] = ()
        self._notes: dict[str, Note] = {}
        self._picture: Fleet | None = None

    # ---- what pages ask ----

    def picture(self, patience: float = 0.0) -> Fleet:
        """What is known. Of the first read, a page's rows are waited for, or all where there are fewer, that long."""
        with self._changed:
            self._changed.wait_for(lambda: self._read_at or "whole" in self._notes or len(self._rows) >= PAGE, patience)
            if self._picture is None:
                self._picture = Fleet(
                    version=self._version,
                    rows=tuple(sorted(self._rows.values(), key=lambda each: each.order)),
                    read=self._read,
                    read_at=self._read_at,
                    cut=self._cut,
                    notes=dict(self._notes),
                    withheld=self._withheld,
                    targets=self._targets,
                )
            return self._picture

    def row(self, instance: str) -> FleetRow | None:
        """One instance, as far as it was read."""
        with self._changed:
            return self._rows.get(instance)

    def target(self, text: str) -> Target | None:
        """Where the instance of this id is, or the only one of this name; None where there is none such."""
        with self._changed:
            if text in self._rows:
                return self._rows[text].target
            named = [each.target for each in self._rows.values() if each.name == text]
            return named[0] if len(named) == 1 else None

    def stamp(self, instance: str) -> int:
        """Another number once the instance changed, was decided about, or is withheld; 0 where it isn't known."""
        with self._changed:
            return max(self._stamps[instance], self._stamp_of_all) if instance in self._stamps else 0

    # ---- what the thread writes ----

    def take(self, found: Mapping[str, FleetRow | None]) -> None:
        """Instances as they are now; None for one that is gone."""
        with self._changed:
            changed = False
            for id_, row in found.items():
                former = self._rows.get(id_)
                if row is None:
                    changed |= self._rows.pop(id_, None) is not None
                    self._stamps.pop(id_, None)
                elif former is None and len(self._rows) >= self._most:
                    changed |= not self._cut
                    self._cut = True
                elif row != former:
                    self._rows[id_] = row
                    self._stamps[id_] = self._version + 1
                    changed = True
            if changed:
                self._change()

    def decided(self, instances: Iterable[str]) -> None:
        """These were decided about: their stories have more to tell, whether or not they changed."""
        with self._changed:
            known = [each for each in instances if each in self._rows]
            if known:
                # No change of a page of the fleet, but no stamp is given twice.
                self._version += 1
                self._picture = None
            for each in known:
                self._stamps[each] = self._version

    def reads(self, number: int) -> None:
        """So many have been read of all."""
        with self._changed:
            if self._read_at is None and self._read != number:
                self._read = number
                self._change()

    def whole(self, seen: Iterable[str], at: datetime) -> None:
        """All instances were read: those that weren't seen are gone."""
        with self._changed:
            self.take(dict.fromkeys(self._rows.keys() - set(seen)))
            self._cut = self._cut and len(self._rows) >= self._most
            # How old it is, a page asks for by itself: only the first end of a read is news.
            first, self._read_at = self._read_at is None, at
            self._picture = None
            if first:
                self._change()

    def note(self, name: str, note: Note | None) -> None:
        """What hinders a thing, or that nothing does any longer."""
        with self._changed:
            if self._notes.get(name) != note:
                if note:
                    self._notes[name] = note
                else:
                    del self._notes[name]
                self._change()

    def looks_after(self, targets: Iterable[Target]) -> None:
        """The accounts and Regions whose instances are read."""
        with self._changed:
            if self._targets != (told := tuple(targets)):
                self._targets = told
                self._change()

    def withhold(self, why: str) -> None:
        """Why nothing is changed now; empty where it is."""
        with self._changed:
            if self._withheld != why:
                self._withheld = why
                self._change()
                # Each instance's page says so.
                self._stamp_of_all = self._version

    def hindered(self, *names: str) -> bool:
        """Whether something hinders one of these."""
        with self._changed:
            return any(each in self._notes for each in names)

    def moving(self) -> list[str]:
        """The instances that EC2 is about to change by itself."""
        with self._changed:
            return [each.id for each in self._rows.values() if each.moves]

    def _change(self) -> None:
        self._version += 1
        self._picture = None
        self._changed.notify_all()
