"""What an instance loses and gets as time passes, and what an edit brings: `carries.py` played forward.

It shares nothing with `mappings/impact.py`. The tests of that and the simulation ask it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from rolekeeper.model.instance import Action
from rolekeeper.model.mapping import PIN_TAG, MappingKey, Pin, PublishedMapping
from spec.carries import Situation, ignored, left_alone, pinned, wanted

_PINNED = MappingKey(PIN_TAG, "")


@dataclass(frozen=True)
class Change:
    """What an instance loses or gets at a moment; `quarantines`: by a mapping to `NONE`."""

    at: datetime
    action: Action
    move: tuple[str, str]
    quarantines: bool

    def covers(self, other: "Change") -> bool:
        """Whether this tells of the other, which may come later: a quarantine is more than a role given up."""
        same = (self.action, self.move[1]) == (other.action, other.move[1])
        return same and self.at <= other.at and self.quarantines >= other.quarantines


@dataclass(frozen=True)
class TimedInstance:
    """A running instance, and what governs it: fields as in `Situation`."""

    tags: Mapping[str, str]
    carries: str = ""
    pin: Pin | None = None
    take_over: bool = False
    mappings: Mapping[MappingKey, PublishedMapping] = field(default_factory=dict)
    grants: Mapping[str, MappingKey] = field(default_factory=dict)
    account: str = ""
    region: str = ""

    def moments(self, since: datetime, until: datetime) -> list[datetime]:
        """When something ends between two moments."""
        left_alone = ignored(self.tags, since)
        ends = [left_alone[2] if left_alone else None, self.pin.expires_at if self.pin else None]
        ends += [mapping.spec.expires_at for mapping in self.mappings.values()]
        return sorted({at for at in ends if at and since < at <= until})

    def at(self, now: datetime) -> tuple["TimedInstance", Change | None]:
        """The same once Rolekeeper has finished, and what that changed."""
        seen = Situation(
            self.tags,
            self.carries,
            list(self.mappings.values()),
            now,
            self.grants,
            self.pin,
            take_over=self.take_over,
            account=self.account,
            region=self.region,
        )
        found = wanted(seen)
        best = min((mapping.key for mapping in seen.ranked.best), default=None)
        giver = _PINNED if pinned(self.pin, now) else best
        if (to := found.carries) == self.carries:
            # A grant is handed over to the mapping that gives the same role now.
            governed = giver and to in self.grants and not found.shows and not self._left_alone(seen)
            return replace(self, grants={**self.grants, to: giver}) if governed and giver else self, None
        action = Action.DETACH if not to else Action.REPLACE if self.carries else Action.ATTACH
        grants = {name: key for name, key in self.grants.items() if name != to} | ({to: giver} if giver else {})
        quarantines = action is Action.DETACH and giver is not None and giver != _PINNED
        return replace(self, carries=to, grants=grants), Change(now, action, (self.carries, to), quarantines)

    def _left_alone(self, seen: Situation) -> bool:
        return left_alone(seen.pin, seen.tags, seen.now, quarantined=seen.ranked.quarantines) is not None

    def play(self, since: datetime, until: datetime) -> tuple["TimedInstance", list[Change]]:
        played, changes = self, list[Change]()
        for moment in self.moments(since, until):
            played, change = played.at(moment)
            changes += [change] if change else []
        return played, changes

    def edited(self, mapping: PublishedMapping) -> "TimedInstance":
        return replace(self, mappings={**self.mappings, mapping.key: mapping})

    def brought_by(self, mapping: PublishedMapping, at: datetime, until: datetime) -> list[Change]:
        """What an edit brings beyond what would come by then anyway, by playing on with it and without it.

        A suspended one gives nothing yet, but what its role replaces, it replaces once that can be used.
        """
        usable = self.edited(replace(mapping, suspended_because="", remedy=""))
        without, with_it = self.course(at, until), usable.course(at, until, withheld=mapping)
        beyond = list[Change]()
        for change in with_it:
            if known := next((other for other in without if other.covers(change)), None):
                without.remove(known)
            else:
                beyond.append(change)
        return beyond

    def course(self, at: datetime, until: datetime, withheld: PublishedMapping | None = None) -> list[Change]:
        """What changes at a moment and since, but for what a suspended mapping would attach."""
        met, changes = self, list[Change]()
        for moment in (at, *self.moments(at, until)):
            then, change = met.at(moment)
            attaches = change and change.action is Action.ATTACH and then.grants.get(change.move[1])
            if withheld and withheld.suspended_because and attaches == withheld.key:
                continue
            met = then
            changes += [change] if change else []
        return changes
