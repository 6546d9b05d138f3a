"""What to do for one instance: each rule of the design as a row, and what holds for every input."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.decide import decide
from rolekeeper.model import (
    Action,
    Assignment,
    Association,
    Decision,
    Instance,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)
from rolekeeper.resolve import resolve
from support.values import (
    NOW,
    arn,
    assignment,
    assignments,
    association,
    associations,
    instance,
    instances,
    key,
    mappings,
    published,
)

STATES = ("pending", "running", "stopping", "stopped", "shutting-down", "terminated")
WEB = published("workload=web", "web")
KEEP = published("workload=web", "web", when_occupied=WhenOccupied.KEEP)
SWAP = published("workload=web", "web", when_stopped=WhenStopped.SWAP)
QUARANTINE = published("workload=web", "NONE")
OURS = assignment("db", "workload=db")


ANEW = replace(WEB, profile_id="AIPA2", former_profile_ids=frozenset({"AIPA1"}))


def test_a_profile_made_anew_under_its_name_replaces_the_former_one_and_nothing_else() -> None:
    seen, ours = instance(workload="web"), assignment("web", "workload=web")
    for profile_id, action in (("AIPA1", "Replace"), ("AIPA2", "Nothing"), ("", "Nothing"), ("AIPA3", "Nothing")):
        carries = replace(association("web"), profile_id=profile_id)
        decision = decide(seen, carries, ours, resolve(seen, [ANEW], NOW), ANEW)
        assert decision.action.value == action, profile_id


@dataclass(frozen=True)
class Case:
    """One instance tagged `workload=web` in a state, and what is decided for it."""

    state: str
    mapping: PublishedMapping | None
    carries: Association | None
    ours: Assignment | None
    action: str
    code: str
    polls: bool = False
    owner: PublishedMapping | None = None


def _decide(case: Case) -> Decision:
    seen = instance(case.state, workload="web")
    candidates = resolve(seen, [case.mapping] if case.mapping else [], NOW)
    return decide(seen, case.carries, case.ours, candidates, case.owner)


def _check(case: Case) -> Decision:
    decision = _decide(case)
    assert (decision.action.value, decision.code, decision.polls) == (case.action, case.code, case.polls)
    assert decision.reason
    return decision


@pytest.mark.parametrize(
    ("state", "action", "code", "polls"),
    [
        ("pending", "Wait", "changing", True),
        ("running", "Attach", "unoccupied", False),
        ("stopping", "Wait", "changing", True),
        ("stopped", "Attach", "unoccupied", False),
        ("shutting-down", "Nothing", "ended", False),
        ("terminated", "Nothing", "ended", False),
    ],
)
def test_an_instance_without_a_role_gets_it_when_ec2_can_attach(
    state: str, action: str, code: str, *, polls: bool
) -> None:
    decision = _check(Case(state, WEB, None, None, action, code, polls))
    if action == "Attach":
        assert decision.profile_arn == arn("web")
        assert decision.mapping == key("workload=web")
        assert decision.association_id == ""


@pytest.mark.parametrize("ours", [None, assignment("web", "workload=web")], ids=["somebody's", "ours"])
@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped"])
def test_an_instance_that_carries_the_right_role_is_left_alone_whoever_attached_it(
    state: str, ours: Assignment | None
) -> None:
    for mapping in (WEB, KEEP, SWAP):
        _check(Case(state, mapping, association("web"), ours, "Nothing", "converged"))


@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped"])
def test_an_association_is_followed_until_it_is_associated(state: str) -> None:
    _check(Case(state, WEB, association("web", state="associating"), None, "Wait", "associating", polls=True))


@pytest.mark.parametrize("mapping", [WEB, QUARANTINE, None], ids=["a role", "no role", "no mapping"])
@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped"])
def test_nothing_is_done_while_ec2_still_detaches(state: str, mapping: PublishedMapping | None) -> None:
    leaving = association("db", state="disassociating")
    _check(Case(state, mapping, leaving, OURS, "Wait", "disassociating", polls=True))


@pytest.mark.parametrize("ours", [None, OURS], ids=["somebody's", "ours"])
@pytest.mark.parametrize(
    ("state", "action", "code", "polls"),
    [
        ("pending", "Wait", "changing", True),
        ("running", "Replace", "differs", False),
        ("stopping", "Wait", "changing", True),
        ("stopped", "Wait", "stopped", False),
        ("shutting-down", "Nothing", "ended", False),
        ("terminated", "Nothing", "ended", False),
    ],
)
def test_another_role_is_replaced_by_its_association_when_the_instance_runs(
    state: str, action: str, code: str, ours: Assignment | None, *, polls: bool
) -> None:
    decision = _check(Case(state, WEB, association("db"), ours, action, code, polls))
    if action == "Replace":
        assert decision.association_id == "iip-assoc-1"
        assert decision.profile_arn == arn("web")
        assert not decision.swap


def test_a_replace_waits_for_the_start_without_polling() -> None:
    # The `running` event ends this wait: no retry loop polls a stopped instance.
    decision = _check(Case("stopped", WEB, association("db"), OURS, "Wait", "stopped", polls=False))
    assert "runs again" in decision.reason


def test_a_mapping_that_says_swap_replaces_on_a_stopped_instance_too() -> None:
    assert _check(Case("stopped", SWAP, association("db"), OURS, "Replace", "differs")).swap
    assert not _check(Case("running", SWAP, association("db"), OURS, "Replace", "differs")).swap
    _check(Case("stopping", SWAP, association("db"), OURS, "Wait", "changing", polls=True))


@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped"])
def test_a_mapping_that_says_keep_leaves_somebody_elses_role(state: str) -> None:
    decision = _check(Case(state, KEEP, association("stranger"), None, "Hold", "occupied"))
    assert arn("stranger") in decision.reason


def test_a_mapping_that_says_keep_still_replaces_our_own_role() -> None:
    _check(Case("running", KEEP, association("db"), OURS, "Replace", "differs"))


def test_a_mapping_that_says_keep_attaches_where_there_is_none() -> None:
    _check(Case("running", KEEP, None, None, "Attach", "unoccupied"))


@pytest.mark.parametrize(
    ("state", "action", "code", "polls"),
    [
        ("pending", "Wait", "changing", True),
        ("running", "Detach", "quarantined", False),
        ("stopping", "Wait", "changing", True),
        ("stopped", "Detach", "quarantined", False),
    ],
)
def test_a_mapping_to_none_takes_every_role_away(state: str, action: str, code: str, *, polls: bool) -> None:
    for ours in (None, OURS):
        decision = _check(Case(state, QUARANTINE, association("db"), ours, action, code, polls))
        if action == "Detach":
            assert decision.association_id == "iip-assoc-1"


def test_a_mapping_to_none_is_content_with_no_role() -> None:
    for state in ("pending", "running", "stopped"):
        _check(Case(state, QUARANTINE, None, None, "Nothing", "converged"))


def test_a_mapping_to_none_that_keeps_leaves_somebody_elses_role() -> None:
    keeping = published("workload=web", "NONE", when_occupied=WhenOccupied.KEEP)
    _check(Case("running", keeping, association("stranger"), None, "Hold", "occupied"))


@pytest.mark.parametrize("carries", [None, association("db"), association("web")])
@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped"])
def test_a_suspended_mapping_holds(state: str, carries: Association | None) -> None:
    suspended = published("workload=web", "web", suspended="role web is gone")
    decision = _check(Case(state, suspended, carries, None, "Hold", "suspended"))
    assert "role web is gone" in decision.reason


@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped"])
def test_a_tie_holds_and_names_the_rivals(state: str) -> None:
    seen = instance(state, workload="web", env="prod")
    candidates = resolve(seen, [WEB, published("env=prod", "prod")], NOW)
    for carries, ours in ((None, None), (association("db"), OURS), (association("web"), None)):
        decision = decide(seen, carries, ours, candidates)
        assert (decision.action, decision.code) == (Action.HOLD, "tie")
        assert "env=prod (role prod) and workload=web (role web) share priority 100" in decision.reason


def test_a_lower_mapping_takes_over_only_by_a_deliberate_act() -> None:
    # The instance still carries the tag of the mapping that gave it db, whose record is gone without a tombstone.
    seen = instance(workload="web", tier="db")
    ours = assignment("db", "tier=db")
    candidates = resolve(seen, [WEB], NOW)
    held = decide(seen, association("db"), ours, candidates, None)
    assert (held.action, held.code) == (Action.HOLD, "mapping-missing")
    for owner in (published("tier=db", "db", deleted=True), published("tier=db", "db", enabled=False)):
        assert decide(seen, association("db"), ours, candidates, owner).action is Action.REPLACE
    retagged = instance(workload="web")
    assert decide(retagged, association("db"), ours, candidates, None).action is Action.REPLACE


def test_a_quarantine_whose_record_is_lost_is_not_lifted_by_another_mapping() -> None:
    seen = instance(workload="web", quarantine="yes")
    took = assignment("NONE", "quarantine=*", id="", restore=arn("before"))
    candidates = resolve(seen, [WEB], NOW)
    held = decide(seen, None, took, candidates, None)
    assert (held.action, held.code) == (Action.HOLD, "mapping-missing")
    deleted = published("quarantine=*", "NONE", deleted=True)
    assert decide(seen, None, took, candidates, deleted).action is Action.ATTACH
    assert decide(instance(workload="web"), None, took, candidates, None).action is Action.ATTACH


# ---- no mapping governs the instance ----

WAS_OURS = assignment("web", "workload=web")


def _owner(when: WhenUnmatched, *, deleted: bool = False, **columns: Any) -> PublishedMapping:
    return published("workload=web", "web", when_unmatched=when, deleted=deleted, **columns)


def _unmatched(
    state: str, ours: Assignment | None, owner: PublishedMapping | None, carries: Association | None
) -> Decision:
    seen = instance(state, Name="x")
    return decide(seen, carries, ours, resolve(seen, [], NOW), owner)


@pytest.mark.parametrize("state", STATES)
def test_an_instance_without_mapping_and_role_is_nobodys_business(state: str) -> None:
    assert _unmatched(state, None, None, None).action is Action.NOTHING


@pytest.mark.parametrize("state", STATES)
def test_a_role_that_somebody_else_attached_stays(state: str) -> None:
    assert _unmatched(state, None, None, association("stranger")).action is Action.NOTHING


@pytest.mark.parametrize("deleted", [False, True], ids=["tag removed", "row deleted"])
@pytest.mark.parametrize(
    ("state", "action", "polls"),
    [
        ("pending", "Wait", True),
        ("running", "Detach", False),
        ("stopping", "Wait", True),
        ("stopped", "Detach", False),
        ("shutting-down", "Nothing", False),
        ("terminated", "Nothing", False),
    ],
)
def test_our_role_goes_when_its_mapping_no_longer_matches(
    state: str, action: str, *, polls: bool, deleted: bool
) -> None:
    owner = _owner(WhenUnmatched.DETACH, deleted=deleted)
    decision = _unmatched(state, WAS_OURS, owner, association("web"))
    assert (decision.action.value, decision.polls) == (action, polls)
    if action == "Detach":
        assert (decision.association_id, decision.mapping) == ("iip-assoc-1", key("workload=web"))


@pytest.mark.parametrize("columns", [{"enabled": False}, {"expires_at": NOW}], ids=["disabled", "expired"])
def test_our_role_goes_when_its_mapping_is_disabled_or_expired(columns: dict[str, Any]) -> None:
    owner = _owner(WhenUnmatched.DETACH, **columns)
    seen = instance(workload="web")
    decision = decide(seen, association("web"), WAS_OURS, resolve(seen, [owner], NOW), owner)
    assert (decision.action, decision.code) == (Action.DETACH, "unmatched")
    assert [each.mapping for each in decision.losers] == [key("workload=web")]


@pytest.mark.parametrize("state", ["running", "stopped", "pending"])
def test_a_mapping_whose_record_is_missing_holds_and_never_detaches(state: str) -> None:
    decision = _unmatched(state, WAS_OURS, None, association("web"))
    assert (decision.action, decision.code) == (Action.HOLD, "mapping-missing")


@pytest.mark.parametrize("state", ["running", "stopped", "pending"])
def test_a_mapping_that_says_keep_lets_our_role_stay(state: str) -> None:
    decision = _unmatched(state, WAS_OURS, _owner(WhenUnmatched.KEEP), association("web"))
    assert (decision.action, decision.code) == (Action.NOTHING, "kept")


HAD_BEFORE = assignment("web", "workload=web", restore=arn("before"))


def test_a_mapping_that_says_restore_gives_back_what_was_there_before() -> None:
    decision = _unmatched("running", HAD_BEFORE, _owner(WhenUnmatched.RESTORE), association("web"))
    assert (decision.action, decision.code) == (Action.REPLACE, "restored")
    assert (decision.profile_arn, decision.association_id) == (arn("before"), "iip-assoc-1")
    assert decision.gives_back


def test_a_restore_on_a_stopped_instance_waits_for_its_start() -> None:
    decision = _unmatched("stopped", HAD_BEFORE, _owner(WhenUnmatched.RESTORE), association("web"))
    assert (decision.action, decision.polls) == (Action.WAIT, False)


def test_a_restore_of_nothing_detaches() -> None:
    decision = _unmatched("running", WAS_OURS, _owner(WhenUnmatched.RESTORE), association("web"))
    assert decision.action is Action.DETACH


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_restore_of_the_very_role_it_carries_leaves_it_there(state: str) -> None:
    # Before us it carried web; we gave it db and then web again: what was there before is there.
    ours = assignment("web", "workload=web", restore=arn("web"))
    decision = _unmatched(state, ours, _owner(WhenUnmatched.RESTORE), association("web"))
    assert decision.action is Action.NOTHING


def test_the_first_role_of_somebody_else_is_remembered_through_our_own_replaces() -> None:
    seen = instance(workload="web")
    candidates = resolve(seen, [WEB], NOW)
    first = decide(seen, association("before"), None, candidates)
    assert first.restore_profile_arn == arn("before")
    ours = assignment("db", "workload=db", restore=arn("before"))
    assert decide(seen, association("db"), ours, candidates).restore_profile_arn == arn("before")
    # Nothing was there before our attach: there is nothing to give back after our replace.
    assert decide(seen, association("db"), OURS, candidates).restore_profile_arn == ""


# ---- what holds for every input ----

everything = given(
    instances,
    st.none() | associations,
    st.none() | assignments,
    st.lists(mappings, max_size=5, unique_by=lambda each: each.key),
    st.none() | mappings,
)


@everything
def test_a_decision_is_a_function_of_what_was_seen(
    seen: Instance,
    carries: Association | None,
    ours: Assignment | None,
    read: list[PublishedMapping],
    owner: PublishedMapping | None,
) -> None:
    candidates = resolve(seen, read, NOW)
    first, second = (decide(seen, carries, ours, candidates, owner) for _ in range(2))
    assert first == second
    assert first.fingerprint == second.fingerprint
    assert first.reason
    assert first.losers == candidates.losers


@everything
def test_a_mutation_is_always_one_that_ec2_takes(
    seen: Instance,
    carries: Association | None,
    ours: Assignment | None,
    read: list[PublishedMapping],
    owner: PublishedMapping | None,
) -> None:
    decision = decide(seen, carries, ours, resolve(seen, read, NOW), owner)
    if decision.action.mutates:
        assert seen.state.value in ("running", "stopped")
        assert decision.mapping is not None
    if decision.action in (Action.REPLACE, Action.DETACH):
        assert carries
        assert decision.association_id == carries.id
    if decision.action in (Action.ATTACH, Action.REPLACE):
        assert decision.profile_arn
        assert decision.profile_arn != (carries.profile_arn if carries else "")
    if decision.action is Action.ATTACH:
        assert carries is None
    if decision.action is Action.REPLACE:
        assert seen.state.value == "running" or decision.swap
    assert not decision.polls or decision.action is Action.WAIT


@everything
def test_somebody_elses_role_is_touched_only_by_a_mapping_that_says_replace(
    seen: Instance,
    carries: Association | None,
    ours: Assignment | None,
    read: list[PublishedMapping],
    owner: PublishedMapping | None,
) -> None:
    candidates = resolve(seen, read, NOW)
    decision = decide(seen, carries, None, candidates, owner)
    if carries and decision.action.mutates:
        assert candidates.winner
        assert candidates.winner.spec.when_occupied is WhenOccupied.REPLACE
    del ours


@everything
def test_without_a_winner_only_a_mapping_that_can_be_read_takes_our_role_away(
    seen: Instance,
    carries: Association | None,
    ours: Assignment | None,
    read: list[PublishedMapping],
    owner: PublishedMapping | None,
) -> None:
    candidates = resolve(seen, read, NOW)
    decision = decide(seen, carries, ours, candidates, owner)
    if decision.action is Action.DETACH and not candidates.winner:
        assert ours
        assert owner
        assert owner.spec.when_unmatched is not WhenUnmatched.KEEP
    if candidates.tied or (candidates.winner and candidates.winner.suspended):
        assert not decision.action.mutates
