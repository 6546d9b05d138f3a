"""Why an instance has its status, in a few words: each situation has some, and none has an ARN in it."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from fixtures.account import MUTATIONS, FakeAccount
from rolekeeper.aws.errors import AccessDeniedError, CorruptItemError
from rolekeeper.instances.decide import InstanceStatus, Observation, decide
from rolekeeper.instances.observe import Unreadable
from rolekeeper.instances.records import refusal
from rolekeeper.model.instance import Condition, Decision, InstanceRecord
from rolekeeper.model.mapping import MappingKey, Pin, PublishedMapping
from rolekeeper_cli.instance.seen import Seen, short_reason
from rolekeeper_cli.mapping.page import CAUSES
from strategies.situations import ARRANGED, RIVAL, SITUATIONS, WEB, WITHHELD, Situation
from strategies.values import KEY, NOW, arn

pytestmark = pytest.mark.usefixtures("web_and_db", "silence")

OTHERWISE = {
    "nothing, and no mapping": "",
    "nothing after a quarantine whose record and tag are missing": "",
    "its role, by a pin": "pinned",
    "its role, by a pin that ends": "pinned until 2026-03-02 09:00 UTC",
    "nothing, and its own tag until later": "ignored until 2099-01-01 00:00 UTC",
    "a foreign role, and its own tag until later": "ignored until 2099-01-01 00:00 UTC",
}
# What operators withhold is in a box above the list; EC2 doesn't know what is gone, so no list has it.
LISTED = [story for story in ARRANGED if SITUATIONS[story].code not in {"gone", *WITHHELD}]


def seen(situation: Situation, observed: Observation | None = None) -> Seen:
    """Return an instance as it is decided on: as the catalogue has it, or as it was `observed`."""
    observed = observed or situation.observation
    assert observed.instance
    managed = bool(observed.association and situation.ownership.manages(observed.association.profile_arn))
    return Seen(observed.instance, observed, decide(observed, situation.settings), managed=managed)


def reason_of(situation: Situation, **changes: Any) -> str:
    return str(short_reason(seen(replace(situation, **changes))))


@pytest.mark.parametrize("story", LISTED)
def test_each_reason_is_a_few_words_without_an_arn(world: FakeAccount, story: str) -> None:
    situation = SITUATIONS[story]
    found = seen(situation)
    if situation.tried:
        instance = situation.arrange(world)
        situation.refuse(world, *MUTATIONS)
        world.reconcile(instance)
        found = seen(situation, world.observed(instance))
    words = str(short_reason(found))
    assert words == OTHERWISE.get(story, words)
    assert (len(words) <= 40, "arn:" in words, "{" in words) == (True, False, False)
    assert words or found.standing is InstanceStatus.OK
    assert found.standing is not InstanceStatus.BLOCKED or short_reason(found).cause in CAUSES, "it needs a person"


def tried(ended: Decision, situation: Situation) -> str:
    """Return the reason of an instance whose last attempt ended so."""
    condition = Condition(ended.action, ended.code, ended.reason, NOW, ended.fingerprint)
    return str(
        short_reason(seen(situation, replace(situation.observation, record=InstanceRecord(condition=condition))))
    )


NOTHING, ITS_ROLE = SITUATIONS["nothing, and a role"], SITUATIONS["its role, another actor's"]


def test_how_an_attempt_at_another_change_ended_isnt_said_of_this_one() -> None:
    denied = AccessDeniedError("UnauthorizedOperation", "no", "ec2:AssociateIamInstanceProfile", "*")
    ended = refusal(seen(replace(NOTHING, governs=RIVAL)).decision, denied)
    assert tried(ended, NOTHING) == "attach web"


def test_a_wait_that_is_over_isnt_said_of_what_is_due_now() -> None:
    stopped = seen(SITUATIONS["another role, ours, while it is stopped"]).decision
    assert tried(stopped, SITUATIONS["another role, ours"]) == "replace db with web"


def test_a_pin_that_is_over_isnt_said() -> None:
    over = Pin("web", arn("web"), expires_at=NOW - timedelta(days=1))
    assert reason_of(ITS_ROLE, pin=over) == ""


def test_a_time_at_the_end_of_the_calendar_is_said_too() -> None:
    pin = Pin("web", arn("web"), expires_at=datetime.fromisoformat("9999-12-31T23:59:59-23:00"))
    assert reason_of(ITS_ROLE, pin=pin) == "pinned until 9999-12-31 23:59 UTC"


def test_a_name_with_a_brace_is_a_name() -> None:
    odd = PublishedMapping(replace(WEB.spec, key=MappingKey("{role}", "{0}")), 1, "", "its role is gone")
    assert reason_of(NOTHING, governs=odd) == "suspended: {role}={0}"


def test_what_cant_be_decided_on_says_so() -> None:
    assert str(short_reason(Unreadable(KEY, NOTHING.instance, CorruptItemError("Corrupt", "x")))) == "damaged record"
