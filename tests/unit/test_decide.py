"""What to do for one instance: each rule of the design as a row, and what holds for every input."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekeeper.instances.decide import resolve
from rolekeeper.model.instance import (
    NO_PROFILE,
    Action,
    Association,
    AssociationState,
    Candidates,
    Decision,
    DesiredChange,
    Grant,
    Instance,
)
from rolekeeper.model.mapping import (
    IGNORE_TAG,
    PIN_TAG,
    MappingKey,
    MappingSpec,
    Pin,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)
from rolekeeper.settings import Ownership
from spec.decision_laws import LAWS, View
from strategies.values import (
    KEY,
    NOW,
    OWNERSHIP,
    TAKES_OVER,
    arn,
    association,
    associations,
    decided,
    foreign,
    foreign_arn,
    grant,
    grants,
    instance,
    instances,
    key,
    mappings,
    ownerships,
    published,
)

STATES = ("pending", "running", "stopping", "stopped", "shutting-down", "terminated")
LIVE = STATES[:4]
WEB = published("workload=web", "web")
TAKES = published("workload=web", "web", when_occupied=WhenOccupied.REPLACE)
SWAP = published("workload=web", "web", when_stopped=WhenStopped.SWAP)
QUARANTINE = published("workload=web", "NONE")
GAVE_DB = grant("db", "workload=db")


@dataclass(frozen=True)
class Case:
    """One instance tagged `workload=web` in a state, and what is decided for it."""

    state: str
    mapping: PublishedMapping | None
    carries: Association | None
    grant: Grant | None
    action: str
    code: str
    polls: bool = False
    owner: PublishedMapping | None = None
    ownership: Ownership = OWNERSHIP


def _decide(case: Case) -> Decision:
    seen = instance(case.state, workload="web")
    candidates = resolve(seen, [case.mapping] if case.mapping else [], NOW)
    return decided(seen, case.carries, case.grant, candidates, case.owner, case.ownership)


def _check(case: Case) -> Decision:
    decision = _decide(case)
    assert (decision.action.value, decision.code, decision.polls) == (case.action, case.code, case.polls)
    assert decision.reason
    return decision


# ---- the table of the design: what an instance carries, and what it should ----

GAVE = {arn("web"): grant("web", "team=old"), arn("db"): GAVE_DB}
CARRIES = {
    "nothing": None,
    "its own role": association("web"),
    "another managed role": association("db"),
    "a foreign role": foreign(),
}


@pytest.mark.parametrize(
    ("carries", "governs", "explained", "action", "code"),
    [
        ("nothing", WEB, True, "Attach", "unoccupied"),
        ("nothing", QUARANTINE, True, "Nothing", "converged"),
        ("nothing", None, True, "Nothing", "unmatched"),
        ("its own role", WEB, True, "Nothing", "converged"),
        ("its own role", WEB, False, "Nothing", "converged"),
        ("its own role", QUARANTINE, True, "Detach", "quarantined"),
        ("its own role", QUARANTINE, False, "Detach", "quarantined"),
        ("its own role", None, True, "Detach", "unmatched"),
        ("its own role", None, False, "Hold", "unexplained"),
        ("another managed role", WEB, True, "Replace", "differs"),
        ("another managed role", WEB, False, "Replace", "differs"),
        ("another managed role", QUARANTINE, False, "Detach", "quarantined"),
        ("another managed role", None, True, "Detach", "unmatched"),
        ("another managed role", None, False, "Hold", "unexplained"),
        ("a foreign role", WEB, False, "Hold", "occupied"),
        ("a foreign role", QUARANTINE, False, "Hold", "occupied"),
        ("a foreign role", None, False, "Nothing", "not-ours"),
    ],
)
def test_what_an_instance_carries_and_what_governs_it_say_what_happens(
    carries: str, governs: PublishedMapping | None, action: str, code: str, *, explained: bool
) -> None:
    there = CARRIES[carries]
    gave = GAVE.get(there.profile_arn) if there and explained else None
    owner = published(str(gave.mapping), gave.role) if gave else None
    decision = _check(Case("running", governs, there, gave, action, code, owner=owner))
    assert not decision.takes_over


# ---- a mapping gives a role ----


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
        assert decision.desired == DesiredChange(key("workload=web"), 1, arn("web"))
        assert (decision.role, decision.association_id) == ("web", "")


@pytest.mark.parametrize("gave", [None, grant("web", "workload=web")], ids=["another actor's", "ours"])
@pytest.mark.parametrize("state", LIVE)
def test_an_instance_that_carries_the_right_role_is_left_alone_whoever_attached_it(
    state: str, gave: Grant | None
) -> None:
    for mapping in (WEB, TAKES, SWAP):
        for ownership in (OWNERSHIP, TAKES_OVER):
            carries = association("web")
            _check(Case(state, mapping, carries, gave, "Nothing", "converged", ownership=ownership))


@pytest.mark.parametrize("state", LIVE)
def test_an_association_is_followed_until_it_is_associated(state: str) -> None:
    _check(Case(state, WEB, association("web", state="associating"), None, "Wait", "associating", polls=True))


@pytest.mark.parametrize("mapping", [WEB, QUARANTINE, None], ids=["a role", "no role", "no mapping"])
@pytest.mark.parametrize("state", LIVE)
def test_nothing_is_done_while_ec2_still_detaches(state: str, mapping: PublishedMapping | None) -> None:
    for leaving in (
        association("db", state="disassociating"),
        replace(foreign(), state=AssociationState.DISASSOCIATING),
    ):
        decision = _check(Case(state, mapping, leaving, GAVE_DB, "Wait", "disassociating", polls=True))
        assert decision.association_id == leaving.id


@pytest.mark.parametrize("gave", [None, GAVE_DB], ids=["another actor's", "ours"])
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
def test_another_managed_role_is_replaced_by_its_association_when_the_instance_runs(
    state: str, action: str, code: str, gave: Grant | None, *, polls: bool
) -> None:
    decision = _check(Case(state, WEB, association("db"), gave, action, code, polls))
    if action == "Replace":
        assert decision.association_id == "iip-assoc-1"
        assert decision.profile_arn == arn("web")
        assert not decision.swap


def test_a_replace_waits_for_the_start_without_polling() -> None:
    # The `running` event ends this wait: no retry loop polls a stopped instance.
    decision = _check(Case("stopped", WEB, association("db"), GAVE_DB, "Wait", "stopped", polls=False))
    assert "runs again" in decision.reason


def test_a_mapping_that_says_swap_replaces_on_a_stopped_instance_too() -> None:
    assert _check(Case("stopped", SWAP, association("db"), GAVE_DB, "Replace", "differs")).swap
    assert not _check(Case("running", SWAP, association("db"), GAVE_DB, "Replace", "differs")).swap
    _check(Case("stopping", SWAP, association("db"), GAVE_DB, "Wait", "changing", polls=True))


ANEW = replace(WEB, profile_id="AIPA2", former_profile_ids=frozenset({"AIPA1"}))


def test_a_profile_made_anew_under_its_name_replaces_the_former_one_and_nothing_else() -> None:
    seen, gave = instance(workload="web"), grant("web", "workload=web")
    for profile_id, action in (("AIPA1", "Replace"), ("AIPA2", "Nothing"), ("", "Nothing"), ("AIPA3", "Nothing")):
        carries = replace(association("web"), profile_id=profile_id)
        decision = decided(seen, carries, gave, resolve(seen, [ANEW], NOW), ANEW, OWNERSHIP)
        assert decision.action.value == action, profile_id


# ---- a mapping says that the instance carries no role ----


@pytest.mark.parametrize(
    ("state", "action", "code", "polls"),
    [
        ("pending", "Wait", "changing", True),
        ("running", "Detach", "quarantined", False),
        ("stopping", "Wait", "changing", True),
        ("stopped", "Detach", "quarantined", False),
    ],
)
def test_a_mapping_to_none_takes_every_managed_role_away(state: str, action: str, code: str, *, polls: bool) -> None:
    for gave in (None, GAVE_DB):
        decision = _check(Case(state, QUARANTINE, association("db"), gave, action, code, polls))
        if action == "Detach":
            assert decision.association_id == "iip-assoc-1"
            assert decision.desired == DesiredChange(key("workload=web"), 1, NO_PROFILE)


def test_a_mapping_to_none_is_content_with_no_role() -> None:
    for state in LIVE:
        _check(Case(state, QUARANTINE, None, None, "Nothing", "converged"))


# ---- foreign roles ----

NONE_TAKES = published("workload=web", "NONE", when_occupied=WhenOccupied.REPLACE)
DETACHES = "aws ec2 disassociate-iam-instance-profile --association-id iip-assoc-1"


@pytest.mark.parametrize("state", LIVE)
@pytest.mark.parametrize(
    ("mapping", "ownership", "remedy"),
    [
        (WEB, OWNERSHIP, "deploy with TakeOver=true and set when_occupied=replace"),
        (TAKES, OWNERSHIP, "deploy with TakeOver=true"),
        (WEB, TAKES_OVER, "set when_occupied=replace"),
        (QUARANTINE, OWNERSHIP, "deploy with TakeOver=true and set when_occupied=replace"),
        (NONE_TAKES, OWNERSHIP, "deploy with TakeOver=true"),
        (QUARANTINE, TAKES_OVER, "set when_occupied=replace"),
    ],
)
def test_a_foreign_role_stays_unless_row_and_stack_both_say_otherwise_and_the_remedy_is_named(
    state: str, mapping: PublishedMapping, ownership: Ownership, remedy: str
) -> None:
    decision = _check(Case(state, mapping, foreign(), None, "Hold", "occupied", ownership=ownership))
    assert foreign_arn() in decision.reason
    assert decision.reason.endswith(f"to hand the instance over, detach it ({DETACHES}), or {remedy}")
    assert not decision.takes_over


@pytest.mark.parametrize(
    ("state", "action", "code", "polls"),
    [
        ("pending", "Wait", "changing", True),
        ("running", "Replace", "differs", False),
        ("stopping", "Wait", "changing", True),
        ("stopped", "Wait", "stopped", False),
        ("terminated", "Nothing", "ended", False),
    ],
)
def test_a_foreign_role_is_taken_over_where_row_and_stack_both_say_so(
    state: str, action: str, code: str, *, polls: bool
) -> None:
    decision = _check(Case(state, TAKES, foreign(), None, action, code, polls, ownership=TAKES_OVER))
    assert decision.takes_over == (action == "Replace")
    if action == "Replace":
        assert decision.reason.endswith(f", in the place of the foreign {foreign_arn()}")
        assert decision.association_id == "iip-assoc-1"


def test_a_foreign_role_is_swapped_on_a_stopped_instance_where_all_say_so() -> None:
    takes = published("workload=web", "web", when_occupied=WhenOccupied.REPLACE, when_stopped=WhenStopped.SWAP)
    decision = _check(Case("stopped", takes, foreign(), None, "Replace", "differs", ownership=TAKES_OVER))
    assert (decision.swap, decision.takes_over) == (True, True)


def test_a_quarantine_takes_a_foreign_role_away_where_row_and_stack_both_say_so() -> None:
    decision = _check(Case("running", NONE_TAKES, foreign(), None, "Detach", "quarantined", ownership=TAKES_OVER))
    assert decision.takes_over
    assert foreign_arn() in decision.reason


def test_a_managed_role_is_never_taken_over_it_is_ours_to_replace() -> None:
    for mapping, ownership in ((WEB, OWNERSHIP), (TAKES, TAKES_OVER)):
        decision = _check(Case("running", mapping, association("db"), None, "Replace", "differs", ownership=ownership))
        assert not decision.takes_over
        assert "foreign" not in decision.reason


def test_a_profile_of_the_same_name_outside_the_role_path_is_another_one() -> None:
    _check(Case("running", WEB, foreign("web"), None, "Hold", "occupied"))


@pytest.mark.parametrize("role", ["debug", "NONE"])
def test_a_pin_takes_over_a_foreign_role_where_the_stack_says_so(role: str) -> None:
    seen, pin = instance(workload="web"), Pin(role, arn(role))
    held = decided(seen, foreign(), None, resolve(seen, [WEB], NOW, pin), None, OWNERSHIP)
    assert (held.action, held.code) == (Action.HOLD, "occupied")
    assert held.reason.endswith("or deploy with TakeOver=true")
    made = decided(seen, foreign(), None, resolve(seen, [WEB], NOW, pin), None, TAKES_OVER)
    assert made.action is (Action.DETACH if role == "NONE" else Action.REPLACE)
    assert (made.profile_arn, made.takes_over) == (arn(role), True)


# ---- nothing may be changed ----


@pytest.mark.parametrize("state", LIVE)
@pytest.mark.parametrize("carries", [None, association("web"), association("db"), foreign()])
def test_an_instance_that_an_aws_service_manages_is_left_to_it(state: str, carries: Association | None) -> None:
    seen = replace(
        instance(state, **{"workload": "web", "env": "prod", IGNORE_TAG: "soon"}), managed_by="eks.amazonaws.com"
    )
    for read in ([WEB], [QUARANTINE], [WEB, published("env=prod", "prod")], []):
        for pin in (None, Pin("debug", arn("debug"))):
            candidates = resolve(seen, read, NOW, pin)
            decision = decided(seen, carries, GAVE_DB, candidates, WEB, TAKES_OVER)
            assert (decision.action, decision.code) == (Action.NOTHING, "service-managed")
            assert decision.reason == "eks.amazonaws.com manages the instance, and its role with it"
            assert decision.overridden == candidates.overridden


def test_an_instance_that_ended_is_over_whoever_managed_it() -> None:
    seen = replace(instance("terminated", workload="web"), managed_by="eks.amazonaws.com")
    assert decided(seen, None, None, Candidates(), None, OWNERSHIP).code == "ended"


@pytest.mark.parametrize("carries", [None, association("db"), association("db", state="disassociating"), foreign()])
@pytest.mark.parametrize(
    ("text", "action", "code"),
    [("true", "Nothing", "ignored"), ("soon", "Hold", "ignore-unclear"), ("2026-03-01T10:00:00Z", "Wait", "ignored")],
)
def test_an_instance_whose_tag_excludes_it_is_left_alone(
    carries: Association | None, text: str, action: str, code: str
) -> None:
    seen = instance(**{"workload": "web", "env": "prod", IGNORE_TAG: text})
    for read in ([WEB], [WEB, published("env=prod", "prod")], []):
        decision = decided(seen, carries, GAVE_DB, resolve(seen, read, NOW), WEB, TAKES_OVER)
        assert (decision.action.value, decision.code, decision.polls) == (action, code, False)
        assert decision.until == (NOW + timedelta(hours=1) if action == "Wait" else None)


def test_until_another_moment_it_is_another_wait() -> None:
    waits = [instance(**{"workload": "web", IGNORE_TAG: f"2026-03-01T1{hour}:00:00Z"}) for hour in (0, 1)]
    said = {decided(each, None, None, resolve(each, [WEB], NOW), None, OWNERSHIP).fingerprint for each in waits}
    assert len(said) == 2


@pytest.mark.parametrize("carries", [None, association("db"), association("web"), foreign()])
@pytest.mark.parametrize("state", LIVE)
def test_a_suspended_mapping_holds(state: str, carries: Association | None) -> None:
    suspended = replace(TAKES, suspended_because="role web is gone")
    decision = _check(Case(state, suspended, carries, None, "Hold", "suspended", ownership=TAKES_OVER))
    assert "role web is gone" in decision.reason


@pytest.mark.parametrize("state", LIVE)
def test_a_tie_holds_and_names_the_rivals(state: str) -> None:
    seen = instance(state, workload="web", env="prod")
    candidates = resolve(seen, [WEB, published("env=prod", "prod")], NOW)
    for carries, gave in ((None, None), (association("db"), GAVE_DB), (association("web"), None), (foreign(), None)):
        decision = decided(seen, carries, gave, candidates, None, TAKES_OVER)
        assert (decision.action, decision.code) == (Action.HOLD, "tie")
        assert "env=prod (role prod) and workload=web (role web) share priority 100" in decision.reason


# ---- the record of the mapping that gave the role is lost, and nobody meant that ----


def test_another_mapping_takes_over_only_by_a_deliberate_act() -> None:
    # The instance still carries the tag of the mapping that gave it db, whose record is gone without a tombstone.
    seen = instance(workload="web", tier="db")
    gave = grant("db", "tier=db")
    candidates = resolve(seen, [WEB], NOW)
    held = decided(seen, association("db"), gave, candidates, None, OWNERSHIP)
    assert (held.action, held.code) == (Action.HOLD, "mapping-missing")
    assert "tier=db" in held.reason
    for owner in (published("tier=db", "db", deleted=True), published("tier=db", "db", enabled=False)):
        assert decided(seen, association("db"), gave, candidates, owner, OWNERSHIP).action is Action.REPLACE
    retagged = instance(workload="web")
    assert decided(retagged, association("db"), gave, candidates, None, OWNERSHIP).action is Action.REPLACE


def test_a_quarantine_whose_record_is_lost_is_not_lifted_by_another_mapping() -> None:
    seen = instance(workload="web", quarantine="yes")
    took = grant("NONE", "quarantine=*")
    candidates = resolve(seen, [WEB], NOW)
    held = decided(seen, None, took, candidates, None, OWNERSHIP)
    assert (held.action, held.code) == (Action.HOLD, "mapping-missing")
    deleted = published("quarantine=*", "NONE", deleted=True)
    assert decided(seen, None, took, candidates, deleted, OWNERSHIP).action is Action.ATTACH
    assert decided(instance(workload="web"), None, took, candidates, None, OWNERSHIP).action is Action.ATTACH


def test_a_quarantine_whose_record_is_lost_is_shown_where_nothing_governs() -> None:
    took = grant("NONE", "quarantine=*")
    held = decided(instance(quarantine="yes"), None, took, Candidates(), None, OWNERSHIP)
    assert (held.action, held.code) == (Action.HOLD, "mapping-missing")
    lifted = decided(instance(Name="x"), None, took, Candidates(), None, OWNERSHIP)
    assert (lifted.action, lifted.code) == (Action.NOTHING, "unmatched")


def test_a_pin_is_meant_whatever_was_lost() -> None:
    seen, gave = instance(tier="db"), grant("db", "tier=db")
    candidates = resolve(seen, [], NOW, Pin("debug", arn("debug")))
    assert decided(seen, association("db"), gave, candidates, None, OWNERSHIP).action is Action.REPLACE


def test_a_role_that_is_right_needs_no_record_of_the_mapping_that_gave_it() -> None:
    seen = instance(workload="web", tier="web")
    decision = decided(seen, association("web"), grant("web", "tier=web"), resolve(seen, [WEB], NOW), None, OWNERSHIP)
    assert (decision.action, decision.code) == (Action.NOTHING, "converged")


# ---- no mapping governs the instance ----

GAVE_WEB = grant("web", "workload=web")


def _owner(when: WhenUnmatched = WhenUnmatched.DETACH, *, deleted: bool = False, **columns: Any) -> PublishedMapping:
    return replace(published("workload=web", "web", when_unmatched=when, deleted=deleted, **columns), revision=7)


def _unmatched(
    state: str,
    gave: Grant | None,
    owner: PublishedMapping | None,
    carries: Association | None,
    ownership: Ownership = OWNERSHIP,
) -> Decision:
    seen = instance(state, Name="x")
    return decided(seen, carries, gave, resolve(seen, [], NOW), owner, ownership)


@pytest.mark.parametrize("state", STATES)
def test_an_instance_without_mapping_and_role_is_nobodys_business(state: str) -> None:
    decision = _unmatched(state, None, None, None)
    assert decision.action is Action.NOTHING
    assert decision.desired is None


@pytest.mark.parametrize("ownership", [OWNERSHIP, TAKES_OVER], ids=["", "TakeOver"])
@pytest.mark.parametrize("state", STATES)
def test_a_foreign_role_stays_where_no_mapping_governs(state: str, ownership: Ownership) -> None:
    decision = _unmatched(state, None, None, foreign(), ownership)
    assert decision.action is Action.NOTHING
    assert decision.desired is None
    if state in LIVE:
        assert decision.code == "not-ours"
        assert foreign_arn() in decision.reason


@pytest.mark.parametrize("state", LIVE)
def test_a_managed_role_that_nobody_can_explain_is_held_and_both_remedies_are_named(state: str) -> None:
    decision = _unmatched(state, None, None, association("web"))
    assert (decision.action, decision.code, decision.polls) == (Action.HOLD, "unexplained", False)
    assert arn("web") in decision.reason
    assert decision.reason.endswith(f"map its tags, or detach it: {DETACHES}")
    assert decision.desired is None


@pytest.mark.parametrize("deleted", [False, True], ids=["tag removed", "row deleted"])
@pytest.mark.parametrize(
    ("state", "action", "code", "polls"),
    [
        ("pending", "Wait", "changing", True),
        ("running", "Detach", "unmatched", False),
        ("stopping", "Wait", "changing", True),
        ("stopped", "Detach", "unmatched", False),
        ("shutting-down", "Nothing", "ended", False),
        ("terminated", "Nothing", "ended", False),
    ],
)
def test_the_role_that_a_mapping_gave_goes_when_the_mapping_no_longer_matches(
    state: str, action: str, code: str, *, polls: bool, deleted: bool
) -> None:
    decision = _unmatched(state, GAVE_WEB, _owner(deleted=deleted), association("web"))
    assert (decision.action.value, decision.code, decision.polls) == (action, code, polls)
    if action == "Detach":
        assert decision.association_id == "iip-assoc-1"
        assert decision.role == "web"
        assert decision.desired == DesiredChange(key("workload=web"), 7, NO_PROFILE)


@pytest.mark.parametrize("columns", [{"enabled": False}, {"expires_at": NOW}], ids=["disabled", "expired"])
def test_the_role_that_a_mapping_gave_goes_when_the_mapping_is_disabled_or_expired(columns: dict[str, Any]) -> None:
    owner = _owner(**columns)
    seen = instance(workload="web")
    decision = decided(seen, association("web"), GAVE_WEB, resolve(seen, [owner], NOW), owner, OWNERSHIP)
    assert (decision.action, decision.code) == (Action.DETACH, "unmatched")
    assert [each.mapping for each in decision.overridden] == [key("workload=web")]


def test_the_role_that_a_pin_gave_goes_when_the_pin_is_over() -> None:
    pin = MappingKey(PIN_TAG, KEY.id)
    gave = Grant(arn("web"), "web", pin, 0, NOW)
    decision = _unmatched("running", gave, PublishedMapping(MappingSpec(pin, ""), 0, ""), association("web"))
    assert (decision.action, decision.code) == (Action.DETACH, "unmatched")
    assert decision.reason == "the pin, which gave it role web, is over"


@pytest.mark.parametrize("state", LIVE)
def test_a_mapping_whose_record_is_missing_holds_and_never_detaches(state: str) -> None:
    decision = _unmatched(state, GAVE_WEB, None, association("web"))
    assert (decision.action, decision.code) == (Action.HOLD, "mapping-missing")


@pytest.mark.parametrize("deleted", [False, True], ids=["tag removed", "row deleted"])
@pytest.mark.parametrize("state", LIVE)
def test_a_mapping_that_says_keep_lets_its_role_stay(state: str, *, deleted: bool) -> None:
    decision = _unmatched(state, GAVE_WEB, _owner(WhenUnmatched.KEEP, deleted=deleted), association("web"))
    assert (decision.action, decision.code) == (Action.NOTHING, "kept")


# ---- when two decisions say the same ----


def test_a_decision_that_is_worded_otherwise_says_the_same() -> None:
    decision = _decide(Case("running", WEB, foreign(), None, "", ""))
    assert replace(decision, reason="in other words", role="web 2", overridden=()).fingerprint == decision.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        {"action": Action.WAIT},
        {"code": "tie"},
        {"mapping": key("workload=db")},
        {"revision": 2},
        {"profile_arn": arn("db")},
        {"association_id": "iip-assoc-2"},
        {"arguments": ("pending",)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_decision_that_differs_in_what_it_depends_on_says_something_else(other: dict[str, Any]) -> None:
    decision = _decide(Case("running", WEB, foreign(), None, "", ""))
    assert replace(decision, **other).fingerprint != decision.fingerprint


# ---- what holds for every input ----


def _view(
    seen: Instance,
    carries: Association | None,
    gave: Grant | None,
    read: list[PublishedMapping],
    owner: PublishedMapping | None,
    ownership: Ownership,
    pin: Pin | None,
    managed_by: str,
) -> View:
    """A grant explains what the instance carries, and its owner is the grant's own mapping."""
    gave = replace(gave, profile_arn=carries.profile_arn if carries else NO_PROFILE) if gave else None
    owner = replace(owner, spec=replace(owner.spec, key=gave.mapping)) if gave and owner else None
    seen, candidates = replace(seen, managed_by=managed_by), resolve(seen, read, NOW, pin)
    profiles = {arn("web"), arn("db"), carries.profile_arn if carries else ""}
    managed = frozenset(filter(ownership.manages, profiles))
    return View(seen, carries, gave, candidates, owner, ownership, managed, lost=gave is not None and owner is None)


@given(
    st.builds(
        _view,
        instances,
        st.none() | associations,
        st.none() | grants,
        st.lists(mappings, max_size=4, unique_by=lambda each: each.key),
        st.none() | mappings,
        ownerships,
        st.sampled_from([None, None, None, Pin("web", arn("web")), Pin("NONE")]),
        st.sampled_from(["", "", "", "eks.amazonaws.com"]),
    )
)
@settings(max_examples=300)
def test_the_laws_hold_whatever_is_seen(view: View) -> None:
    decision = decided(*view.arguments)
    assert decided(*view.arguments) == decision
    for law in LAWS:
        law(view, decision)
