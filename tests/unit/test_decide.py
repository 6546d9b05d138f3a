"""What to do for one instance: each rule of the design as a row, and what holds for every input."""

from dataclasses import dataclass, replace
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
from spec.decision_laws import FROM_DECIDE, LAWS, View
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
WEB = published("workload=web", "web")
TAKES = published("workload=web", "web", when_occupied=WhenOccupied.REPLACE)
SWAP = published("workload=web", "web", when_stopped=WhenStopped.SWAP)
QUARANTINE = published("workload=web", "NONE")
GAVE_DB = grant("db", "workload=db")


GAVE_WEB = grant("web", "workload=web")
NONE_TAKES = published("workload=web", "NONE", when_occupied=WhenOccupied.REPLACE)
TAKES_SWAPS = replace(TAKES, spec=replace(TAKES.spec, when_stopped=WhenStopped.SWAP))
SUSPENDED = replace(TAKES, suspended_because="role web is gone")
LEAVING = association("db", state="disassociating")
THEIRS_LEAVES = replace(foreign(), state=AssociationState.DISASSOCIATING)
PIN, NO_ROLE = Pin("debug", arn("debug")), Pin("NONE")
PINNED_ONCE = MappingKey(PIN_TAG, KEY.id)
UNCLEAR = Pin("", unclear="the pin names no role; write one, or NONE")
RIVAL, EKS = published("env=prod", "prod"), "eks.amazonaws.com"


def _owner(when: WhenUnmatched = WhenUnmatched.DETACH, *, deleted: bool = False, **columns: Any) -> PublishedMapping:
    return replace(published("workload=web", "web", when_unmatched=when, deleted=deleted, **columns), revision=7)


@dataclass(frozen=True)
class Row:
    """One instance, and what happens to it while it runs, and while it is stopped if that is something else.

    It is tagged `workload=web` if a mapping `governs` it, else not. `owner` is the mapping of the grant.
    """

    running: str
    governs: PublishedMapping | None = None
    carries: Association | None = None
    gave: Grant | None = None
    owner: PublishedMapping | None = None
    ownership: Ownership = OWNERSHIP
    pin: Pin | None = None
    stopped: str = ""
    rival: PublishedMapping | None = None
    ignore: str = ""
    managed_by: str = ""

    def view(self, state: str, *, node: bool = False) -> View:
        tags = {"workload": "web"} if self.governs else {"Name": "x"}
        tags |= {"eks:cluster-name": "prod"} if node else {}
        tags |= {"env": "prod"} if self.rival else {}
        tags |= {IGNORE_TAG: self.ignore} if self.ignore else {}
        seen = replace(instance(state, **tags), managed_by=self.managed_by)
        read = [each for each in (self.governs, self.rival) if each]
        candidates = resolve(seen, read, NOW, self.pin)
        return View(seen, self.carries, self.gave, candidates, self.owner, self.ownership, read, self.pin, NOW)

    def in_state(self, state: str) -> str:
        if state in STATES[4:]:
            return "Nothing ended"
        if state in ("pending", "stopping") and self.running.split()[0] in ("Attach", "Replace", "Detach"):
            return "Wait changing"
        return self.stopped or self.running if state == "stopped" else self.running


# ---- the table of the design: what an instance carries, and what it should ----

TABLE = {
    "nothing, and a role": Row("Attach unoccupied", WEB),
    "nothing, and no role": Row("Nothing converged", QUARANTINE),
    "nothing, and no mapping": Row("Nothing unmatched"),
    "nothing, and a pin": Row("Attach unoccupied", QUARANTINE, pin=PIN),
    "its role, ours": Row("Nothing converged", WEB, association("web"), GAVE_WEB),
    "its role, another actor's": Row("Nothing converged", SWAP, association("web")),
    "its role, where foreign ones are taken over": Row(
        "Nothing converged", TAKES, association("web"), ownership=TAKES_OVER
    ),
    "its role, which EC2 still attaches": Row("Wait associating", WEB, association("web", state="associating")),
    "what EC2 still detaches, and a role": Row("Wait disassociating", WEB, LEAVING, GAVE_DB),
    "what EC2 still detaches, and no role": Row("Wait disassociating", QUARANTINE, THEIRS_LEAVES),
    "what EC2 still detaches, and no mapping": Row("Wait disassociating", None, LEAVING, GAVE_DB),
    "another managed role, ours": Row("Replace differs", WEB, association("db"), GAVE_DB, stopped="Wait stopped"),
    "another managed role, another actor's": Row("Replace differs", TAKES, association("db"), stopped="Wait stopped"),
    "another managed role, to be swapped": Row("Replace differs", SWAP, association("db"), GAVE_DB),
    "another managed role, and a pin": Row(
        "Replace differs", WEB, association("db"), GAVE_DB, pin=PIN, stopped="Wait stopped"
    ),
    "a managed role, and no role": Row("Detach quarantined", QUARANTINE, association("db"), GAVE_DB),
    "a managed role, another actor's, and no role": Row("Detach quarantined", QUARANTINE, association("db")),
    "a foreign role": Row("Hold occupied", WEB, foreign()),
    "a foreign role of the same name": Row("Hold occupied", WEB, foreign("web")),
    "a foreign role, and the row's word": Row("Hold occupied", TAKES, foreign()),
    "a foreign role, and the stack's word": Row("Hold occupied", WEB, foreign(), ownership=TAKES_OVER),
    "a foreign role, and both words": Row(
        "Replace differs", TAKES, foreign(), ownership=TAKES_OVER, stopped="Wait stopped"
    ),
    "a foreign role, to be swapped": Row("Replace differs", TAKES_SWAPS, foreign(), ownership=TAKES_OVER),
    "a foreign role, and no role": Row("Hold occupied", QUARANTINE, foreign()),
    "a foreign role, no role, and the row's word": Row("Hold occupied", NONE_TAKES, foreign()),
    "a foreign role, no role, and the stack's word": Row("Hold occupied", QUARANTINE, foreign(), ownership=TAKES_OVER),
    "a foreign role, no role, and both words": Row("Detach quarantined", NONE_TAKES, foreign(), ownership=TAKES_OVER),
    "a foreign role, and a pin": Row("Hold occupied", WEB, foreign(), pin=PIN),
    "a foreign role, a pin, and the stack's word": Row(
        "Replace differs", WEB, foreign(), pin=PIN, ownership=TAKES_OVER, stopped="Wait stopped"
    ),
    "a foreign role, a pin to none, and the stack's word": Row(
        "Detach quarantined", WEB, foreign(), pin=NO_ROLE, ownership=TAKES_OVER
    ),
    "nothing, and a mapping that is suspended": Row("Hold suspended", SUSPENDED),
    "its role, and a mapping that is suspended": Row("Hold suspended", SUSPENDED, association("web")),
    "another role, and a mapping that is suspended": Row("Hold suspended", SUSPENDED, association("db"), GAVE_DB),
    "a foreign role, and a mapping that is suspended": Row(
        "Hold suspended", SUSPENDED, foreign(), ownership=TAKES_OVER
    ),
    "a role whose mapping no longer matches": Row("Detach unmatched", None, association("web"), GAVE_WEB, _owner()),
    "a role whose row was deleted": Row("Detach unmatched", None, association("web"), GAVE_WEB, _owner(deleted=True)),
    "a role whose mapping says keep": Row(
        "Nothing kept", None, association("web"), GAVE_WEB, _owner(WhenUnmatched.KEEP)
    ),
    "a role whose deleted row says keep": Row(
        "Nothing kept", None, association("web"), GAVE_WEB, _owner(WhenUnmatched.KEEP, deleted=True)
    ),
    "a role whose pin is over": Row(
        "Detach unmatched",
        None,
        association("web"),
        Grant(arn("web"), "web", PINNED_ONCE, 0, NOW),
        PublishedMapping(MappingSpec(PINNED_ONCE, ""), 0, ""),
    ),
    "a role whose mapping's record is missing": Row("Hold mapping-missing", None, association("web"), GAVE_WEB),
    "a managed role that nobody can explain": Row("Hold unexplained", None, association("web")),
    "a foreign role, and no mapping": Row("Nothing not-ours", None, foreign()),
    "a foreign role, no mapping, and the stack's word": Row("Nothing not-ours", None, foreign(), ownership=TAKES_OVER),
    "its role, and a rival": Row("Hold tie", WEB, association("web"), rival=RIVAL),
    "another role, and a rival": Row("Hold tie", WEB, association("db"), GAVE_DB, rival=RIVAL),
    "a foreign role, and a rival": Row("Hold tie", TAKES, foreign(), rival=RIVAL, ownership=TAKES_OVER),
    "nothing, and a service": Row("Nothing service-managed", WEB, managed_by=EKS),
    "another role, a rival, and a service": Row(
        "Nothing service-managed", WEB, association("db"), GAVE_DB, rival=RIVAL, managed_by=EKS
    ),
    "a foreign role, a pin, its own tag, and a service": Row(
        "Nothing service-managed", TAKES, foreign(), pin=PIN, ignore="soon", managed_by=EKS, ownership=TAKES_OVER
    ),
    "nothing, and its own tag": Row("Nothing ignored", WEB, ignore="true"),
    "another role, and its own tag": Row("Nothing ignored", WEB, association("db"), GAVE_DB, ignore="true"),
    "what EC2 still detaches, and its own tag": Row("Nothing ignored", None, LEAVING, GAVE_DB, ignore="true"),
    "another role, a rival, and its own tag that can't be read": Row(
        "Hold ignore-unclear", WEB, association("db"), GAVE_DB, rival=RIVAL, ignore="soon"
    ),
    "a foreign role, and its own tag until later": Row(
        "Wait ignored", TAKES, foreign(), ignore="2026-03-01T10:00:00Z", ownership=TAKES_OVER
    ),
    "its role, and a pin that can't be read": Row("Hold pin-unclear", WEB, association("web"), pin=UNCLEAR),
    "a foreign role, and a pin that can't be read": Row("Hold pin-unclear", TAKES, foreign(), pin=UNCLEAR),
}
POLLED = {"Wait changing", "Wait associating", "Wait disassociating"}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", TABLE)
def test_what_an_instance_carries_and_what_governs_it_say_what_happens(name: str, state: str) -> None:
    view = TABLE[name].view(state)
    decision, wanted = decided(*view.arguments), TABLE[name].in_state(state)
    assert f"{decision.action} {decision.code}" == wanted
    # The `running` event ends the wait of a stopped instance: no retry loop polls it.
    assert decision.polls == (wanted in POLLED)
    assert decision.reason
    # A node of EKS gets the same, and other remedies.
    node = TABLE[name].view(state, node=True)
    assert decided(*node.arguments).code == decision.code
    for seen in (view, node):
        for law in LAWS:
            law(seen, decided(*seen.arguments))


def test_each_documented_kind_of_decision_is_in_the_table() -> None:
    assert {tuple(each.in_state(state).split()) for each in TABLE.values() for state in STATES} == FROM_DECIDE


ANEW = replace(WEB, profile_id="AIPA2", former_profile_ids=frozenset({"AIPA1"}))


def test_a_profile_made_anew_under_its_name_replaces_the_former_one_and_nothing_else() -> None:
    seen, gave = instance(workload="web"), grant("web", "workload=web")
    for profile_id, action in (("AIPA1", "Replace"), ("AIPA2", "Nothing"), ("", "Nothing"), ("AIPA3", "Nothing")):
        carries = replace(association("web"), profile_id=profile_id)
        decision = decided(seen, carries, gave, resolve(seen, [ANEW], NOW), ANEW, OWNERSHIP)
        assert decision.action.value == action, profile_id


def test_a_take_over_names_the_role_that_goes() -> None:
    decision = decided(*Row("", TAKES, foreign(), ownership=TAKES_OVER).view("running").arguments)
    assert decision.reason.endswith(f", in the place of the foreign {foreign_arn()}")


# ---- nothing may be changed ----


def test_until_another_moment_it_is_another_wait() -> None:
    waits = [instance(**{"workload": "web", IGNORE_TAG: f"2026-03-01T1{hour}:00:00Z"}) for hour in (0, 1)]
    said = {decided(each, None, None, resolve(each, [WEB], NOW), None, OWNERSHIP).fingerprint for each in waits}
    assert len(said) == 2


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


@pytest.mark.parametrize("columns", [{"enabled": False}, {"expires_at": NOW}], ids=["disabled", "expired"])
def test_the_role_that_a_mapping_gave_goes_when_the_mapping_is_disabled_or_expired(columns: dict[str, Any]) -> None:
    owner = _owner(**columns)
    seen = instance(workload="web")
    decision = decided(seen, association("web"), GAVE_WEB, resolve(seen, [owner], NOW), owner, OWNERSHIP)
    assert (decision.action, decision.code) == (Action.DETACH, "unmatched")
    assert [each.mapping for each in decision.overridden] == [key("workload=web")]


# ---- when two decisions say the same ----


def test_a_decision_that_is_worded_otherwise_says_the_same() -> None:
    decision = decided(*TABLE["a foreign role"].view("running").arguments)
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
    decision = decided(*TABLE["a foreign role"].view("running").arguments)
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
    """A grant explains what the instance carries; its owner is the grant's own mapping, whose record may be lost."""
    gave = replace(gave, profile_arn=carries.profile_arn if carries else NO_PROFILE) if gave else None
    if gave:
        owner = replace(owner, spec=replace(owner.spec, key=gave.mapping)) if owner else None
        read = [*(each for each in read if each.key != gave.mapping), *([owner] if owner else ())]
    seen, candidates = replace(seen, managed_by=managed_by), resolve(seen, read, NOW, pin)
    return View(seen, carries, gave, candidates, owner if gave else None, ownership, read, pin, NOW)


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
