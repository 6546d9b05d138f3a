"""What is said of an instance, line by line, at the terminal and on its page; most lines are in transcripts."""

from datetime import UTC, datetime
from typing import Any

import pytest

from fakes.cloudtrail import role as assumed
from rolekeeper_cli.instance import facts
from rolekeeper_cli.instance import view as views
from rolekeeper_cli.instance.event_history import caller_of
from support.views import view_with

AT, LATER = (datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in (10, 16))
T, TL = "2026-03-01T10:00:00Z", "2026-03-01T16:00:00Z"


def said(lines: Any) -> list[str]:
    return [f"{label}: {text}" for label, text in lines]


# ---- why it has its role ----

DECIDED = view_with(views.DecisionView, action="Hold", code="occupied", reason="it is so")
PIN = view_with(views.PinView, role="NONE")
CONDITION = view_with(views.ConditionView, reason="it is so", since=AT, parked=True)
OURS = view_with(views.AssociationView, instance_profile="web", association="iip-1", state="associated", managed=True)


def explained(**known: Any) -> views.ExplanationView:
    return view_with(views.ExplanationView, decision=DECIDED, **{"undo": (), **known})


def test_each_fact_has_its_line_and_a_reason_is_shown_once() -> None:
    theirs = views.TakenOverView(profile_arn="theirs", at="2026-03-01T10:00:00.000000Z")
    carried = {"carries": OURS.but(attached_by="another actor"), "unknown_because": "who knows"}
    whole = explained(pin=PIN, condition=CONDITION, took_over_from=theirs, because="it is so", **carried)
    assert said(facts.of_instance(whole, "i-1")) == [
        "instance: i-1, None",
        "carries: web (iip-1, associated), managed, attached by another actor",
        "should carry: no role",
        "because: it is so (Hold, occupied)",
        "unknown: who knows",
        "pin: NONE, claimed by nobody",
        ": rolekeeper release i-1 gives it back to its tags",
        f"condition: since {T}, parked",
        f"took over from: theirs ({T})",
    ]
    released = [views.StepView(command="rolekeeper release i-1", does="ends it")]
    timed = PIN.but(expires_at=AT, claimed_by="bob", claimed_reason="a test")
    refused = CONDITION.but(reason="EC2 refused", parked=False)
    assert said(facts.of_instance(explained(pin=timed, undo=released, condition=refused), "i-1"))[4:] == [
        f"pin: NONE until {T}, claimed by bob: a test",
        f"condition: EC2 refused, since {T}",
    ]


def test_the_last_decision_and_what_was_before_have_their_lines() -> None:
    answer = {"reason": "it is so", "answer": views.AnswerView()}
    last = view_with(views.EntryView, cause="tags", at=f"{T[:-1]}.5Z", action="Wait", code="window", **answer)
    assert said(facts.of_last_change(explained(last=last))) == [
        f"triggered by: tags ({T})",
        "last decision: Wait (window)",
        "to undo: nothing: Rolekeeper's history has no change that made it so",
    ]
    refused = last.but(answer=views.AnswerView(code="Refused", message="not you"), reason="web is asked for")
    assert said(facts.of_last_change(explained(last=refused)))[1:3] == [
        "last decision: Wait (window): web is asked for",
        "AWS answered: Refused: not you",
    ]
    before = views.FormerView(instance_profile="db", profile_arn="arn:db", until=T)
    lines = [f"before that: arn:db (until {T})", "to undo: no step brings back db"]
    assert said(facts.of_last_change(explained(former=before))) == lines
    still = before.but(instance_profile=None, until=None)
    assert said(facts.of_last_change(explained(former=still))) == ["to keep it: no step keeps no role"]


def test_an_answer_of_aws_that_is_the_reason_is_shown_once() -> None:
    answer = views.AnswerView(code="Invalid", message="no such ARN")
    entry = view_with(
        views.EntryView, cause="tags", reason="EC2 isn't ready (Invalid)", code="propagating", answer=answer
    )
    assert entry.why == entry.but(code="denied").why == "tags → EC2 isn't ready (Invalid)"
    assert entry.but(code="unoccupied").why == "tags → EC2 isn't ready (Invalid) → AWS: Invalid: no such ARN"


# ---- who did it ----


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ({"type": "Root", "arn": "arn:aws:iam::123456789012:root"}, "root"),
        (assumed("team/deployer", "alice"), "role/team/deployer, session alice"),
        (assumed("deployer", "alice", "999999999999"), "arn:aws:iam::999999999999:role/deployer, session alice"),
        ({"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}, "ec2.amazonaws.com"),
        ({"type": "WebIdentityUser", "userName": "joe"}, "joe"),
        ({"type": "AWSAccount", "principalId": "AIDA:joe", "accountId": "999999999999"}, "AIDA:joe"),
        (None, "nobody that CloudTrail names"),
    ],
)
def test_every_kind_of_caller_has_words(identity: Any, words: str) -> None:
    assert caller_of(identity).words("123456789012") == words


# ---- what software does with its roles ----

CALL = views.CallView(at=AT, action="s3:ListBuckets", agent="Boto3/1 md/x", refused="AccessDenied")
WHAT = "s3:ListBuckets by Boto3/1, refused (AccessDenied)"
CALLED = f"last call {T}: {WHAT}"
DB = view_with(views.RoleUseView, role="db", carried=True, status="in-use", since=AT, last_use=CALL)
OLD = view_with(views.RoleUseView, role="web", carried=False, status="still-valid", until=AT, valid_until=LATER)
VALID = f"its credentials are valid until {TL} at the latest"
REVOKE = ": rolekeeper revoke i-1 --role web ends that"


@pytest.mark.parametrize(
    ("roles", "known", "lines"),
    [
        ([DB], {}, [f"in use: db, {CALLED}; each call that was looked at was refused"]),
        (
            [DB.but(last_accepted_use=CALL, earlier_use=CALL)],
            {},
            [f"in use: db, {CALLED}", f"earlier use: db, by what was delivered before: {T}, {WHAT}"],
        ),
        (
            [DB, OLD.but(status="still-used", until=None, last_use=CALL)],
            {"looked_through": False},
            [
                f"in use: db, {CALLED}; each call that was looked at was refused",
                f"former role: web: still used, {CALLED}; {VALID}",
                REVOKE,
                ": Not all calls were looked through; older ones may have been made with a former role.",
            ],
        ),
        (
            [OLD.but(status="cut-off", denied_before=LATER, last_use=CALL)],
            {},
            [
                "carries: no role",
                f"former role: web, taken {T}: {CALLED}; what the instance got of it before {TL} is denied",
            ],
        ),
        (
            [DB.but(last_use=None), OLD],
            {"unknown_because": "no"},
            [f"former role: web, taken {T}: {VALID}", REVOKE, "unknown: whether software uses a role: no"],
        ),
    ],
)
def test_each_use_of_a_role_is_said(roles: list[Any], known: dict[str, Any], lines: list[str]) -> None:
    looked = {"looked_since": LATER, "looked_through": True}
    view = view_with(views.UptakeView, **{"roles": roles, **looked, **known})
    assert said(facts.of_uptake(view, "i-1")) == lines


@pytest.mark.parametrize(
    ("agent", "short"), [("[aws-cli/2.0 x]", "aws-cli/2.0"), (" ", "a program that didn't name itself")]
)
def test_a_program_is_named_by_its_first_product(agent: str, short: str) -> None:
    assert facts.sdk(agent) == short
