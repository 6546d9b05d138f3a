"""Mappings, tags, pins and the clock change in any order; `resolve` always says what trying everything says.

What is right is in `spec.carries`, which shares nothing with `instances.decide`.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fakes.clock import START
from rolekeeper.instances.decide import mapping_keys as keys_for
from rolekeeper.instances.decide import resolve
from rolekeeper.model.instance import Candidates, Instance, InstanceKey, InstanceState
from rolekeeper.model.mapping import IGNORE_TAG, NO_ROLE, MappingKey, MappingSpec, Pin, PublishedMapping
from spec.carries import ignored, left_alone, pinned, rank_for
from strategies.happenings import (
    Ignore,
    accounts,
    ages,
    at_most,
    columns,
    ignores,
    mapping_keys,
    pins,
    regions,
    roles,
    scopes,
    tag_keys,
    tag_maps,
)
from strategies.values import KEY, arn

# What makes a row lose, whatever else it says.
WAYS_TO_LOSE: dict[str, dict[str, Any]] = {
    "priority": {"priority": 50_000},
    "disabled": {"enabled": False},
    "expired": {"expires_at": START},
    "account": {"accounts": frozenset({"111111111111"})},
    "region": {"regions": frozenset({"ap-south-1"})},
    "units": {"units": frozenset({"ou-a1b2-c3d4e5f6"})},
    "requires": {"require_tags": {"never": "*"}},
}
KINDS = {"winner", "agree", "tie", "nothing", "pinned", "pin-unclear", "ignored", "ignore-unclear", "not ignored"}
KINDS |= {"deleted", "disabled", "expired", "account", "region", "units", "requires", "priority"}


class Resolution(RuleBasedStateMachine):
    """See the module. `rows` are the published mappings and tombstones, by key."""

    met: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[MappingKey, PublishedMapping] = {}
        self.instance = Instance(KEY, InstanceState.RUNNING, {})
        self.pin: Pin | None = None
        self.ignored: Ignore | None = None
        self.now: datetime = START

    # ---- what happens ----

    @initialize(tags=tag_maps, keys=st.lists(mapping_keys, max_size=4), role=roles)
    def begin(self, tags: dict[str, str], keys: list[MappingKey], role: str) -> None:
        self.instance = replace(self.instance, tags=tags)
        for key in keys:
            self.write_row(key, role, {})

    @rule(key=mapping_keys, role=roles, rest=columns)
    def write_row(self, key: MappingKey, role: str, rest: dict[str, Any]) -> None:
        self.rows[key] = PublishedMapping(MappingSpec(key, role, **rest), 1, arn(role))

    @rule(data=st.data(), rest=scopes)
    @precondition(lambda self: self.rows)
    def edit_row(self, data: st.DataObject, rest: dict[str, Any]) -> None:
        row = self._any_row(data)
        self.rows[row.key] = replace(row, spec=replace(row.spec, **rest))

    @rule(data=st.data(), age=st.none() | ages)
    @precondition(lambda self: self.rows)
    def give_row_an_end(self, data: st.DataObject, age: timedelta | None) -> None:
        row = self._any_row(data)
        end = None if age is None else self.now + age
        self.rows[row.key] = replace(row, spec=replace(row.spec, expires_at=end))

    @rule(data=st.data(), profile=st.sampled_from(["web", "other"]))
    @precondition(lambda self: self.rows)
    def name_another_profile(self, data: st.DataObject, profile: str) -> None:
        row = self._any_row(data)
        if row.spec.role != NO_ROLE:
            self.rows[row.key] = replace(row, profile_arn=arn(profile))

    @rule(data=st.data(), gone=st.sampled_from(["deleted", "missing", "suspended"]))
    @precondition(lambda self: self.rows)
    def take_row_away(self, data: st.DataObject, gone: str) -> None:
        row = self._any_row(data)
        if gone == "missing":
            del self.rows[row.key]
        else:
            self.rows[row.key] = replace(
                row, deleted=gone == "deleted", suspended_because="" if gone == "deleted" else "gone"
            )

    @rule(key=tag_keys, value=st.sampled_from([None, "web", "web", "", "*"]))
    def tag(self, key: str, value: str | None) -> None:
        tags = {name: text for name, text in self.instance.tags.items() if name != key}
        self.instance = replace(self.instance, tags=tags if value is None else tags | {key: value})

    @rule(account=accounts, region=regions)
    def look_at_the_like_elsewhere(self, account: frozenset[str], region: frozenset[str]) -> None:
        key = InstanceKey(min(account, default=KEY.account), min(region, default=KEY.region), KEY.id)
        self.instance = replace(self.instance, key=key)

    @rule(data=st.data(), no_more=st.booleans())
    def ignore(self, data: st.DataObject, *, no_more: bool) -> None:
        self.ignored = None if no_more else data.draw(ignores(self.now))
        tags = {name: text for name, text in self.instance.tags.items() if name != IGNORE_TAG}
        self.instance = replace(self.instance, tags=tags | ({IGNORE_TAG: self.ignored.text} if self.ignored else {}))

    @rule(data=st.data(), release=st.booleans())
    def pin_or_release(self, data: st.DataObject, *, release: bool) -> None:
        self.pin = None if release else data.draw(pins(self.now))

    @rule(minutes=st.sampled_from([1, 30, 60]))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    # ---- what holds ----

    @invariant()
    def all_of_it_holds(self) -> None:
        self.it_is_what_trying_everything_finds()
        self.the_order_of_reading_doesnt_matter()
        self.only_the_keys_of_its_tags_have_to_be_read()
        self.who_loses_could_as_well_not_be_there()
        self.until_the_next_moment_nothing_changes()

    def it_is_what_trying_everything_finds(self) -> None:
        ranked, found = rank_for(self.instance, self.rows.values(), self.now), self._found()
        best = {each.key for each in ranked.best}
        excluded = left_alone(self.pin, self.instance.tags, self.now, quarantined=ranked.quarantines)
        shown = found.exclusion and (found.exclusion.action, found.exclusion.code, found.exclusion.until)
        assert shown == excluded
        overruled = excluded is not None or pinned(self.pin, self.now)
        if overruled:
            self._pin_or_nothing_governs(found)
        elif ranked.tie:
            assert {each.key for each in found.in_conflict} == best
            assert found.winner is None
            self.met.add("tie")
        else:
            assert not found.in_conflict
            assert (found.winner.key if found.winner else None) == min(best, default=None)
            self.met.add("winner" if found.winner else "nothing")
        self._losers_are_told_why(found, overruled=overruled)

    def the_order_of_reading_doesnt_matter(self) -> None:
        forth = sorted(self.rows.values(), key=lambda each: each.key)
        assert self._found(forth) == self._found(forth[::-1]) == self._found()

    def only_the_keys_of_its_tags_have_to_be_read(self) -> None:
        wanted = keys_for(self.instance.tags)
        assert len(set(wanted)) == len(wanted)
        assert self._found([self.rows[key] for key in wanted if key in self.rows]) == self._found()

    def who_loses_could_as_well_not_be_there(self) -> None:
        found = self._found()
        best = {each.key for each in rank_for(self.instance, self.rows.values(), self.now).best}
        for loser in found.overridden:
            if found.exclusion and loser.mapping in best:
                continue  # without what the ignore tag overrides a quarantine may win, and come before that tag
            others = self._found([row for key, row in self.rows.items() if key != loser.mapping])
            if found.exclusion or found.winner:
                assert _governing(others) == _governing(found)
            elif loser.mapping not in {each.key for each in found.in_conflict}:
                assert others.in_conflict == found.in_conflict

    def until_the_next_moment_nothing_changes(self) -> None:
        moments = [row.spec.expires_at for row in self.rows.values()]
        moments += [self.pin.expires_at if self.pin else None, self.ignored.until if self.ignored else None]
        to_come = min((each for each in moments if each and each > self.now), default=self.now + timedelta(days=9))
        just_before = to_come - timedelta(microseconds=1)
        assert resolve(self.instance, self.rows.values(), just_before, self.pin) == self._found()

    @rule(key=mapping_keys, role=roles, way=st.sampled_from([*WAYS_TO_LOSE, "deleted"]), rest=columns)
    def one_that_loses_changes_nothing(self, key: MappingKey, role: str, way: str, rest: dict[str, Any]) -> None:
        ranked, before = rank_for(self.instance, self.rows.values(), self.now), self._found()
        if key in self.rows or not (ranked.best or way != "priority"):
            return
        losing = rest | WAYS_TO_LOSE.get(way, {})
        self.rows[key] = PublishedMapping(MappingSpec(key, role, **losing), 1, arn(role), deleted=way == "deleted")
        after = self._found()
        assert _governing(after) == _governing(before)
        assert {each.mapping for each in after.overridden} - {each.mapping for each in before.overridden} <= {key}

    # ---- how ----

    def _found(self, rows: list[PublishedMapping] | None = None) -> Candidates:
        return resolve(self.instance, self.rows.values() if rows is None else rows, self.now, self.pin)

    def _pin_or_nothing_governs(self, found: Candidates) -> None:
        assert not found.in_conflict
        if found.exclusion:
            assert found.winner is None
            self.met.add(found.exclusion.code)
            return
        assert self.pin
        assert found.winner
        assert found.winner.key.pins
        assert (found.winner.spec.role, found.winner.profile_arn) == (self.pin.role, self.pin.profile_arn)
        self.met.add("pinned")

    def _losers_are_told_why(self, found: Candidates, *, overruled: bool) -> None:
        """Every row of its tags is named once: it governs, or it lost, for a reason that is true of it."""
        ranked = rank_for(self.instance, self.rows.values(), self.now)
        best = {each.key for each in ranked.best}
        told = {each.mapping: each.why for each in found.overridden}
        assert len(told) == len(found.overridden)
        says_ignore = ignored(self.instance.tags, self.now) is not None
        if told.pop(MappingKey(IGNORE_TAG, ""), ""):
            self.met.add("not ignored")
            assert says_ignore
        elif says_ignore:
            assert found.exclusion
        governing = {
            each.key for each in (*found.in_conflict, *([found.winner] if found.winner else ())) if not each.key.pins
        }
        assert told.keys() | governing == ranked.overridden.keys() | best
        assert not told.keys() & governing
        for key, why in told.items():
            if key in ranked.overridden:
                true = [words for words in ranked.overridden[key] if all(word in why for word in words)]
                assert true, f"{key} is told {why!r}, where {ranked.overridden[key]} are true"
                self.met.add(true[0][0])
            elif overruled and (ranked.tie or key == min(best)):
                assert ("pin" if pinned(self.pin, self.now) else IGNORE_TAG) in why
            else:
                assert f"agrees with {min(best)}" in why
                self.met.add("agree")

    def _any_row(self, data: st.DataObject) -> PublishedMapping:
        return self.rows[data.draw(st.sampled_from(sorted(self.rows)))]


def _governing(found: Candidates) -> tuple[object, ...]:
    return found.winner, found.in_conflict, found.exclusion


def test_whatever_is_edited_tagged_or_pinned_it_is_what_trying_everything_finds() -> None:
    Resolution.met.clear()
    run_state_machine_as_test(Resolution, settings=at_most(500, 30))
    assert Resolution.met == KINDS, "each way to win, lose or be left alone was met"
