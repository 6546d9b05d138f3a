"""What to do for one instance: each situation in each state, and what holds for every input."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekeeper.instances.decide import InstanceStatus, asked_for, decide, status_of
from rolekeeper.model.instance import Action, Decision, Overridden
from rolekeeper.model.mapping import IGNORE_TAG, MappingKey
from spec.decision_laws import LAWS, View
from strategies.happenings import observations
from strategies.situations import SITUATIONS, STATES, WEB, WITHHELD, Situation
from strategies.values import OWNERSHIP, TAKES_OVER, arn, association, foreign_arn, key

POLLED = {"Wait changing", "Wait associating", "Wait disassociating"}
AT = [(story, found.state) for story, found in SITUATIONS.items() if found.state]
ELSEWHERE = [(story, state) for story, at in AT if at == "running" for state in STATES if state != at]


def decided(situation: Situation) -> Decision:
    return decide(situation.observation, situation.settings)


@pytest.mark.parametrize(("story", "state"), AT + ELSEWHERE)
def test_what_an_instance_carries_and_what_governs_it_say_what_happens(story: str, state: str) -> None:
    situation = SITUATIONS[story]
    expected = situation.decides if (story, state) in AT else situation.decides_in(state)
    situation = replace(situation, state=state)
    decision = decided(situation)
    assert f"{decision.action} {decision.code}" == expected
    # The `running` event ends the wait of a stopped instance: no retry loop polls it.
    assert decision.polls == (expected in POLLED)
    # A node of EKS gets the same, and other remedies.
    node = replace(situation, tags={**situation.tags, "eks:cluster-name": "prod"})
    assert decided(node).code == decision.code
    for each in (situation, node):
        view = View(each.observation, each.ownership)
        for law in LAWS:
            law(view, asked_for(view.seen, view.ownership))


def test_an_instance_that_ec2_doesnt_know_is_left_alone() -> None:
    decision = decided(SITUATIONS["its role, and EC2 doesn't know it"])
    assert (decision.action, decision.code) == (Action.NOTHING, "gone")


STATUS = {"Nothing": InstanceStatus.OK, "Wait": InstanceStatus.WAITING, "Hold": InstanceStatus.BLOCKED}
# A foreign role is the only matter in these, even if its mapping wants another one.
FOREIGN = ("not-ours", "occupied", "service-managed")


@pytest.mark.parametrize("story", SITUATIONS)
def test_an_instance_has_a_status(story: str) -> None:
    decision, carries = decided(SITUATIONS[story]), SITUATIONS[story].carries
    expected = STATUS.get(decision.action, InstanceStatus.DRIFT)
    if decision.code in WITHHELD:
        expected = InstanceStatus.DRIFT
    foreign = carries is not None and not SITUATIONS[story].ownership.manages(carries.profile_arn)
    if foreign and decision.code in FOREIGN:
        expected = InstanceStatus.FOREIGN
    assert status_of(decision, foreign=foreign) is expected


@pytest.mark.parametrize("story", [story for story, found in SITUATIONS.items() if not found.control and found.swept])
def test_a_change_is_withheld_and_where_there_is_none_only_a_pause_is_named(story: str) -> None:
    situation = SITUATIONS[story]
    plain = decided(situation)
    paused, observing, unswept = (
        decided(replace(situation, **withheld))
        for withheld in ({"control": {"paused": True}}, {"control": {"mode": "observe"}}, {"swept": False})
    )
    if plain.action.mutates:
        held = {"paused": paused, "observed": observing, "unswept": unswept}
        assert {code: (found.action, found.code) for code, found in held.items()} == {
            code: (Action.HOLD, code) for code in held
        }
        assert all(
            found.reason.endswith(f"; it would {plain.action.lower()}: {plain.reason}") for found in held.values()
        )
    else:
        assert paused == replace(plain, reason=f"Rolekeeper is paused; {plain.reason}")
        assert observing == unswept == plain


@pytest.mark.parametrize(
    ("carried", "action"), [("AIPA1", "Replace"), ("AIPA2", "Nothing"), ("", "Nothing"), ("AIPA3", "Nothing")]
)
def test_a_profile_made_anew_under_its_name_replaces_the_former_one_and_nothing_else(carried: str, action: str) -> None:
    anew = replace(WEB, profile_id="AIPA2", former_profile_ids=frozenset({"AIPA1"}))
    carries = replace(association("web"), profile_id=carried)
    assert decided(replace(SITUATIONS["its role, ours"], governs=anew, carries=carries)).action == action


def test_a_take_over_names_the_role_that_goes() -> None:
    decision = decided(SITUATIONS["a foreign role, and both words"])
    assert decision.reason.endswith(f", in the place of the foreign {foreign_arn()}")


def test_a_pin_that_is_over_says_so() -> None:
    assert decided(SITUATIONS["a role whose pin is over"]).reason == "the pin, which gave it role web, is over"


# ---- the tag that excludes an instance ----


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *((text, "ignored") for text in ("true", "True", " TRUE ", "2026-03-01T09:00:01Z", "2099-01-01T00:00+05:00")),
        *((text, "unoccupied") for text in ("false", "FALSE", "2020-01-01T00:00:00Z", "2026-03-01T09:00:00Z")),
        *((text, "ignore-unclear") for text in ("", "yes", "2026-12-31", "2026-12-31T18:00:00", "soon")),
    ],
)
def test_what_the_tag_says(text: str, code: str) -> None:
    found = decided(replace(SITUATIONS["nothing, and a role"], tags={IGNORE_TAG: text}))
    assert found.code == code
    if code == "ignore-unclear":
        assert found.reason.endswith("; write true, or a time with its zone, as 2026-12-31T18:00:00Z")


def test_a_quarantine_names_the_tag_that_it_comes_before() -> None:
    found = decided(SITUATIONS["a managed role, no role, and its own tag"])
    why = "workload=web gives it no role, which comes before that tag"
    assert found.overridden == (Overridden(MappingKey(IGNORE_TAG, ""), why),)


# ---- when two decisions say the same ----


@pytest.fixture
def occupied() -> Decision:
    return decided(SITUATIONS["a foreign role"])


def test_until_another_moment_it_is_another_wait() -> None:
    ignored = [
        replace(SITUATIONS["nothing, and a role"], tags={IGNORE_TAG: f"2026-03-01T1{hour}:00:00Z"}) for hour in (0, 1)
    ]
    assert len({decided(each).fingerprint for each in ignored}) == 2


def test_a_decision_that_is_worded_otherwise_says_the_same(occupied: Decision) -> None:
    other = replace(occupied, reason="in other words", role="web 2", overridden=())
    assert other.fingerprint == occupied.fingerprint


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
def test_a_decision_that_differs_in_what_it_depends_on_says_something_else(
    occupied: Decision, other: dict[str, Any]
) -> None:
    assert replace(occupied, **other).fingerprint != occupied.fingerprint


# ---- what holds for every input ----


@given(st.builds(View, observations(), st.sampled_from([OWNERSHIP, TAKES_OVER])))
@settings(max_examples=300)
def test_the_laws_hold_whatever_is_seen(view: View) -> None:
    decision = asked_for(view.seen, view.ownership)
    assert asked_for(view.seen, view.ownership) == decision
    for law in LAWS:
        law(view, decision)
