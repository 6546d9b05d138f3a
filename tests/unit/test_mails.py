"""The mails to people: what they say of events that Rolekeeper really sends, whatever people wrote into them."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from fakes.ec2 import client_error
from fixtures.account import ACCOUNT, REGION
from fixtures.mappings import Desk
from rolekeeper.mail import Mailer, texts
from rolekeeper.settings import Limits
from strategies.values import NOW

TAG = "workload=web"

pytestmark = pytest.mark.desk(usable=["web", "api"], rows={TAG: "web"}, carriers=3)


def the_mail(desk: Desk) -> tuple[str, str]:
    [found] = desk.world.topic.mails
    return found


def test_a_held_edit_says_what_it_would_do_who_made_it_and_how_to_approve_it(desk: Desk) -> None:
    desk.limits = Limits(1, 0)
    desk.edit(TAG, role="api", edited_by="ada")
    subject, text = the_mail(desk)
    assert subject == "Rolekeeper: Mapping Held: workload=web"
    assert "The mapping workload=web is not in effect as its row says." in text
    assert "it would replace 3 instances" in text
    assert "to approve it: rolekeeper mapping approve workload=web --revision 2" in text
    assert "Look and approve: rolekeeper mapping approve workload=web; or drop it: rolekeeper mapping discard" in text
    assert "If nobody does, it is published once it changes few enough instances.\n" in text
    assert "Runbook: docs/runbook.md#mapping-held\n" in text
    assert "Cause: the row changed. Edited by (claimed): ada" in text


def test_a_row_that_soon_takes_too_many_roles_is_mailed_once(desk: Desk) -> None:
    ends = desk.world.clock.now() + timedelta(days=3)
    desk.edit(TAG, role="web", expires_at=ends.isoformat())
    desk.limits = Limits(2, 0)
    desk.world.later(days=1, hours=23)
    desk.quiet()
    desk.recheck(TAG)
    assert desk.world.writes == []
    desk.world.later(hours=2)
    desk.recheck(TAG)
    subject, text = the_mail(desk)
    assert subject == "Rolekeeper: Mapping Expiring: workload=web"
    at = f"{ends:%Y-%m-%dT%H:%M:%SZ}"
    assert f"it expires at {at}, and then up to 3 of 3 instances give its role up (2 may change without" in text
    desk.quiet()
    assert not desk.recheck(TAG).changed
    assert (desk.world.writes, desk.world.events.kinds) == ([], [])
    assert desk.history(TAG)[-1]["event"] == "Mapping Expiring"


@pytest.mark.parametrize(
    "columns", [{"when_unmatched": "keep"}, {"role": "NONE"}, {"enabled": False}, {"priority": 7}], ids=repr
)
def test_a_row_whose_end_takes_few_roles_is_not_mailed(desk: Desk, columns: dict[str, Any]) -> None:
    ends = (desk.world.clock.now() + timedelta(hours=3)).isoformat()
    desk.edit(TAG, **{"role": "web", "expires_at": ends} | columns)
    desk.limits = Limits(3 if "priority" in columns else 2, 0)
    desk.quiet()
    desk.recheck(TAG)
    assert desk.world.topic.mails == []


def test_a_role_that_ec2_may_not_assume_is_mailed_with_the_statement_to_add(desk: Desk) -> None:
    """The reason holds JSON with its quotes: as EventBridge fills in a template, this mail was never delivered."""
    desk.role("other", trust={"Statement": []})
    desk.edit(TAG, role="other")
    _, text = the_mail(desk)
    assert '{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}' in text


def test_what_befalls_a_whole_fleet_at_once_is_no_mail_for_each_instance(desk: Desk) -> None:
    """Alarms tell of it, once."""
    desk.limits = Limits(100, 0)
    desk.edit(TAG, role="api", when_occupied="keep")
    instances = [desk.world.running(workload="web") for _ in range(5)]
    desk.world.reconcile(*instances)
    assert "Role Attached" in desk.world.events.kinds
    assert desk.world.topic.mails == []
    assert {"Instance Parked", "Role Change Refused"}.isdisjoint(texts())


# ---- whatever people wrote ----

HOSTILE = [
    'a "quoted" word',
    "DOMAIN\\group",
    "two\nlines\r\n",
    "{braces} <angle> $.path ${variable}",
    "\u0443\u0447\u0451\u0442 \u4ed3\u5e93 \u0645\u0633\u062a\u0648\u062f\u0639",
    "\u202eright to left\u200b",
    "x" * 300_000,
    "\ud800",
    "",
]


def _detail(value: str) -> dict[str, Any]:
    names = ("tag-key", "tag-value", "reason", "claimed-by", "cause", "action", "resource", "aws-says", "status")
    return {**dict.fromkeys(names, value), "revision": 3, "changes": [value]}


def _takes(event: str, value: str) -> str:
    mailer = Mailer(lambda: None, "topic", f"account {ACCOUNT}, {REGION}", lambda: NOW)  # type: ignore[arg-type, return-value]  # nothing is published
    made = mailer.mail(event, _detail(value))
    assert made
    assert made["Subject"].isascii()
    assert made["Subject"].isprintable()
    assert len(made["Subject"]) <= 100, "as many as SNS takes (SNS API reference, Publish)"
    assert len(made["Message"].encode()) <= 64_000, "bounded"
    assert all(line.isprintable() for line in made["Message"].split("\n"))
    return made["Message"]


@pytest.mark.parametrize("event", texts())
@pytest.mark.parametrize("value", HOSTILE)
def test_a_mail_holds_whatever_people_wrote_readable_bounded_and_on_one_line(event: str, value: str) -> None:
    text = _takes(event, value)
    if value.isprintable() and len(value) < 100 and event != "Mode Changed":  # which holds nothing that people wrote
        assert value in text
    assert len(text.splitlines()) <= 17


def test_what_a_mail_says_to_type_can_be_pasted() -> None:
    typed = r"'a\=b c=a=b c'"
    assert f"rolekeeper mapping approve {typed}; or drop it: rolekeeper mapping discard {typed}\n" in _takes(
        "Mapping Held", "a=b c"
    )


@given(st.sampled_from(sorted(texts())), st.text())
def test_no_text_breaks_a_mail(event: str, value: str) -> None:
    _takes(event, value)


# ---- when it can't be sent ----


def test_a_mail_that_cant_be_sent_is_logged_and_counted_and_stops_nothing(desk: Desk) -> None:
    def deny() -> None:
        raise client_error("KMSAccessDenied", "no identity-based policy allows the kms:GenerateDataKey action")

    desk.world.calls.before("Publish", deny)
    desk.edit(TAG, role="no-such-role")
    assert desk.world.topic.mails == []
    assert desk.world.metrics.counts["EventsFailed"] == 1
    assert desk.world.metrics.counts["PermissionDenied"] == 1
    assert desk.row(TAG)["status"] == "Rejected"


def test_when_aws_doesnt_answer_for_events_no_mail_is_tried_and_all_count_as_lost(desk: Desk) -> None:
    def silence() -> None:
        raise ConnectTimeoutError(endpoint_url="the-bus")

    desk.world.calls.before("PutEvents", silence)
    desk.edit(TAG, role="no-such-role")
    assert desk.world.calls["Publish"] == 0
    assert desk.world.metrics.counts["EventsFailed"] == 2
