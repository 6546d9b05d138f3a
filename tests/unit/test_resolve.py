"""Which mapping governs an instance, and why another doesn't, in words; and that it is what trying everything finds.

What is right is in `spec.carries`, which shares nothing with `instances.decide`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekeeper.instances.decide import mapping_keys, resolve
from rolekeeper.model.instance import Candidates, Instance, InstanceKey
from rolekeeper.model.mapping import IGNORE_TAG, MappingKey, MappingSpec, Pin, PublishedMapping
from spec.carries import ignored, left_alone, pinned, rank_for
from strategies import happenings as may
from strategies.values import KEY, NOW, arn, instance, published


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"enabled": False}, "it is disabled"),
        ({"expires_at": NOW}, "it expired at 2026-03-01T09:00:00Z"),
        ({"expires_at": NOW - timedelta(days=1)}, "it expired at 2026-02-28T09:00:00Z"),
        ({"accounts": frozenset({"999999999999"})}, "it is not for account 123456789012"),
        ({"not_accounts": frozenset({"123456789012"})}, "it excludes account 123456789012"),
        ({"regions": frozenset({"eu-west-1"})}, "it is not for region us-east-1"),
        (
            {"units": frozenset({"ou-a1b2-c3d4e5f6"})},
            "it is for organizational units, and this account isn't in one of them",
        ),
        (
            {"units": frozenset({"r-a1b2/*"}), "not_units": frozenset({"ou-a1b2-c3d4e5f6"})},
            "it is for organizational units, and this account isn't in one of them, or is in one that it excludes",
        ),
        ({"require_tags": {"env": "prod", "team": "a"}}, "it also requires env=prod, team=a"),
        ({"require_tags": {"env": "*"}}, "it also requires env=*"),
        ({"deleted": True}, "its row was deleted"),
    ],
)
def test_a_mapping_that_doesnt_apply_loses_and_says_why(columns: dict[str, object], why: str) -> None:
    excluded = published("workload=web", "web", priority=1, **columns)  # type: ignore[arg-type]  # a table of columns
    fallback = published("workload=*", "base")
    found = resolve(instance(workload="web"), [excluded, fallback], NOW)
    assert found.winner == fallback
    assert [(each.mapping, each.why) for each in found.overridden] == [(excluded.key, why)]


def test_the_keys_to_read_are_each_tags_exact_value_and_any_value() -> None:
    assert mapping_keys({"env": "prod", "workload": ""}) == [
        MappingKey("env", "prod"),
        MappingKey("env", "*"),
        MappingKey("workload", ""),
        MappingKey("workload", "*"),
    ]


def test_a_tag_whose_value_is_a_star_is_asked_for_once() -> None:
    assert mapping_keys({"env": "*"}) == [MappingKey("env", "*")]


# ---- whatever is written, tagged or pinned ----

# What makes a row lose, whatever else it says.
WAYS_TO_LOSE: dict[str, dict[str, Any]] = {
    "priority": {"priority": 50_000},
    "disabled": {"enabled": False},
    "expired": {"expires_at": NOW},
    "account": {"accounts": frozenset({"111111111111"})},
    "excludes": {"not_accounts": frozenset({"123456789012", "999999999999"})},
    "region": {"regions": frozenset({"ap-south-1"})},
    "units": {"units": frozenset({"ou-a1b2-c3d4e5f6"})},
    "requires": {"require_tags": {"never": "*"}},
    "deleted": {},
}
KINDS = {"winner", "agree", "tie", "nothing", "pinned", "pin-unclear", "ignored", "ignore-unclear", "not ignored"}
KINDS |= WAYS_TO_LOSE.keys()

instances = st.builds(
    lambda tags, ignore, account, region: replace(
        instance(**tags, **({IGNORE_TAG: ignore.text} if ignore else {})),
        key=InstanceKey(min(account, default=KEY.account), min(region, default=KEY.region), KEY.id),
    ),
    may.tag_maps,
    st.none() | may.ignores(NOW),
    may.accounts,
    may.regions,
)


@dataclass(frozen=True)
class Case:
    """Published mappings and tombstones, and the instance and the pin that they meet; `met` notes what happened."""

    rows: dict[MappingKey, PublishedMapping]
    instance: Instance
    pin: Pin | None
    met: set[str]

    def found(self, rows: Iterable[PublishedMapping] | None = None, now: datetime = NOW) -> Candidates:
        return resolve(self.instance, self.rows.values() if rows is None else rows, now, self.pin)

    def it_is_what_trying_everything_finds(self) -> None:
        ranked, found = rank_for(self.instance, self.rows.values(), NOW), self.found()
        best = {each.key for each in ranked.best}
        excluded = left_alone(self.pin, self.instance.tags, NOW, quarantined=ranked.quarantines)
        shown = found.exclusion and (found.exclusion.action, found.exclusion.code, found.exclusion.until)
        assert shown == excluded
        overruled = excluded is not None or pinned(self.pin, NOW)
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
        assert self.found(forth) == self.found(forth[::-1]) == self.found()

    def only_the_keys_of_its_tags_have_to_be_read(self) -> None:
        wanted = mapping_keys(self.instance.tags)
        assert len(set(wanted)) == len(wanted)
        assert self.found([self.rows[key] for key in wanted if key in self.rows]) == self.found()

    def who_loses_could_as_well_not_be_there(self) -> None:
        found = self.found()
        best = {each.key for each in rank_for(self.instance, self.rows.values(), NOW).best}
        for loser in found.overridden:
            if found.exclusion and loser.mapping in best:
                continue  # without what the ignore tag overrides a quarantine may win, and come before that tag
            others = self.found([row for key, row in self.rows.items() if key != loser.mapping])
            if found.exclusion or found.winner:
                assert _governing(others) == _governing(found)
            elif loser.mapping not in {each.key for each in found.in_conflict}:
                assert others.in_conflict == found.in_conflict

    def until_the_next_moment_nothing_changes(self) -> None:
        alone = ignored(self.instance.tags, NOW)
        moments = [row.spec.expires_at for row in self.rows.values()]
        moments += [self.pin.expires_at if self.pin else None, alone[2] if alone else None]
        to_come = min((each for each in moments if each and each > NOW), default=NOW + timedelta(days=9))
        assert self.found(now=to_come - timedelta(microseconds=1)) == self.found()

    def one_that_loses_changes_nothing(self, key: MappingKey, role: str, way: str, rest: dict[str, Any]) -> None:
        ranked, before = rank_for(self.instance, self.rows.values(), NOW), self.found()
        if key in self.rows or not (ranked.best or way != "priority"):
            return
        spec = MappingSpec(key, role, **rest | WAYS_TO_LOSE[way])
        beaten = PublishedMapping(spec, 1, arn(role), deleted=way == "deleted", in_scope=way != "units")
        after = self.found([*self.rows.values(), beaten])
        assert _governing(after) == _governing(before)
        assert {each.mapping for each in after.overridden} - {each.mapping for each in before.overridden} <= {key}

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
        ranked = rank_for(self.instance, self.rows.values(), NOW)
        best = {each.key for each in ranked.best}
        told = {each.mapping: each.why for each in found.overridden}
        assert len(told) == len(found.overridden)
        says_ignore = ignored(self.instance.tags, NOW) is not None
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
        for mapping, why in told.items():
            if mapping in ranked.overridden:
                true = [words for words in ranked.overridden[mapping] if all(word in why for word in words)]
                assert true, f"{mapping} is told {why!r}, where {ranked.overridden[mapping]} are true"
                self.met.add(true[0][0])
            elif overruled and (ranked.tie or mapping == min(best)):
                assert ("pin" if pinned(self.pin, NOW) else IGNORE_TAG) in why
            else:
                assert f"the same role as {min(best)}," in why
                self.met.add("agree")


def _governing(found: Candidates) -> tuple[object, ...]:
    return found.winner, found.in_conflict, found.exclusion


def test_whatever_is_written_tagged_or_pinned_it_is_what_trying_everything_finds() -> None:
    met = set[str]()

    @settings(max_examples=2_000 // may.PART)
    @given(
        st.lists(may.rows, max_size=5, unique_by=lambda each: each.key),
        instances,
        st.none() | st.none() | may.pins(NOW),
        st.tuples(may.mapping_keys, may.roles, st.sampled_from([*WAYS_TO_LOSE]), may.columns),
    )
    def holds(published: list[PublishedMapping], seen: Instance, pin: Pin | None, loser: tuple[Any, ...]) -> None:
        case = Case({each.key: each for each in published}, seen, pin, met)
        case.it_is_what_trying_everything_finds()
        case.the_order_of_reading_doesnt_matter()
        case.only_the_keys_of_its_tags_have_to_be_read()
        case.who_loses_could_as_well_not_be_there()
        case.until_the_next_moment_nothing_changes()
        key, role, way, columns = loser
        case.one_that_loses_changes_nothing(key, role, way, columns)

    holds()
    assert met == KINDS, "each way to win, lose or be left alone was met"
