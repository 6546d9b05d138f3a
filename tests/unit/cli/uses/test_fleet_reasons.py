"""Why an instance has its status, in a few words: each code of a decision has some, and none has an ARN in it."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fixtures.account import settings_of
from rolekeeper.aws.errors import AccessDeniedError, CorruptItemError, NotReadyError, PermanentError
from rolekeeper.instances.decide import Observation, decide, resolve, retry_later, waits_for_room
from rolekeeper.instances.observe import Unreadable
from rolekeeper.instances.records import refusal
from rolekeeper.model.instance import AppliedChange, Association, Condition, Decision, Grant, Instance, InstanceRecord
from rolekeeper.model.mapping import IGNORE_TAG, Control, MappingKey, Pin, PublishedMapping, WhenUnmatched
from rolekeeper_cli.uses.fleet import Seen, short_reason
from strategies.values import KEY, NOW, arn, association, foreign, grant, instance, published

SETTINGS = settings_of(KEY.target)
WEB, PROD = published("app=web", "web"), published("env=prod", "prod")
KEEPS = published("app=web", "web", when_unmatched=WhenUnmatched.KEEP)
QUARANTINE = published("app=web", "NONE")
TAGGED = instance(app="web", env="prod")
EKS = replace(TAGGED, managed_by="eks.amazonaws.com")
LATER = datetime.fromisoformat("2099-01-01T00:00:00Z")
# What operators withhold is in a box above the list, and its mode isn't asked for a row.
WITHHELD = {"observed", "paused", "control-unclear", "unswept"}


def seen(
    carries: Association | None = None,
    *mappings: PublishedMapping,
    of: Instance = TAGGED,
    gave: Grant | None = None,
    owner: PublishedMapping | None = None,
    pin: Pin | None = None,
    record: InstanceRecord | None = None,
) -> Seen:
    """An instance as it is decided on."""
    observed = Observation(
        key=KEY,
        asked_at=NOW,
        instance=of,
        association=carries,
        record=record or InstanceRecord(),
        control=Control(),
        grant=gave,
        candidates=resolve(of, mappings, NOW, pin),
        owner=owner,
        published=mappings,
        pin=pin,
    )
    managed = bool(carries and SETTINGS.ownership.manages(carries.profile_arn))
    return Seen(of, observed, decide(observed, SETTINGS), managed=managed)


def reverted() -> Seen:
    """Another actor undid the same change as often as is allowed."""
    desired = seen(None, WEB).decision.desired
    assert desired
    changes = (AppliedChange(desired, NOW),) * 9
    return seen(None, WEB, record=InstanceRecord(changes=changes))


def tried(ended: Decision) -> Seen:
    """The last attempt to attach web ended so."""
    condition = Condition(ended.action, ended.code, ended.reason, NOW, ended.fingerprint)
    return seen(None, WEB, record=InstanceRecord(condition=condition))


NOT_YET = NotReadyError("InvalidParameterValue", "not yet")
DENIED = AccessDeniedError("UnauthorizedOperation", "no", "ec2:AssociateIamInstanceProfile", "*")
DUE = seen(None, WEB).decision
# By the code, and what tells several ways to it apart.
REASONS: dict[str, tuple[Seen, str]] = {
    "unoccupied": (seen(None, WEB), "attach web"),
    "differs": (seen(association("db"), WEB), "replace db with web"),
    "quarantined": (seen(association("db"), QUARANTINE), "detach db"),
    "unmatched": (seen(association("web"), gave=grant("web", "app=web"), owner=WEB), "detach web"),
    "unmatched and bare": (seen(), ""),
    "converged": (seen(association("web"), WEB), ""),
    "converged by a pin": (seen(association("web"), pin=Pin("web", arn("web"))), "pinned"),
    "converged by a pin that ends": (
        seen(association("web"), pin=Pin("web", arn("web"), expires_at=LATER)),
        "pinned until 2099-01-01 00:00 UTC",
    ),
    "kept": (seen(association("web"), gave=grant("web", "app=web"), owner=KEEPS), "kept: app=web no longer matches"),
    "not-ours": (seen(foreign()), "foreign role theirs"),
    "service-managed": (seen(None, WEB, of=EKS), "managed by EKS"),
    "ended": (seen(of=instance("terminated")), ""),
    "changing": (seen(None, WEB, of=instance("pending", app="web")), "pending: waits until that ends"),
    "associating": (seen(association("web", state="associating"), WEB), "attaching web"),
    "disassociating": (seen(association("db", state="disassociating"), WEB), "detaching db"),
    "stopped": (seen(association("db"), WEB, of=instance("stopped", app="web")), "stopped: waits for its start"),
    "ignored": (seen(None, WEB, of=instance("running", **{IGNORE_TAG: "true"})), "ignored"),
    "ignored until": (
        seen(None, WEB, of=instance("running", **{IGNORE_TAG: "2099-01-01T00:00:00Z"})),
        "ignored until 2099-01-01 00:00 UTC",
    ),
    "ignore-unclear": (seen(None, WEB, of=instance("running", **{IGNORE_TAG: "soon"})), f"unclear tag {IGNORE_TAG}"),
    "pin-unclear": (seen(None, WEB, pin=Pin("", unclear="it names no role")), "unclear pin"),
    "contested": (reverted(), "contested: another actor reverts it"),
    "tie": (seen(None, WEB, PROD), "tie: app=web, env=prod"),
    "suspended": (seen(None, replace(WEB, suspended_because="its role is gone")), "suspended: app=web"),
    "occupied": (seen(foreign(), WEB), "foreign role theirs"),
    "unexplained": (seen(association("web")), "unexplained role web"),
    "mapping-missing": (seen(association("web"), gave=grant("web", "app=web")), "mapping missing: app=web"),
    "mapping-missing beside another": (
        seen(association("web"), PROD, gave=grant("web", "app=web")),
        "mapping missing: app=web",
    ),
    "window": (tried(waits_for_room(DUE, NOW)), "window: waits for room"),
    "throttled": (tried(retry_later(DUE, NOW)), "throttled: tried again soon"),
    "propagating": (
        tried(refusal(DUE, NOT_YET)),
        "profile not known to EC2 yet: web",
    ),
    "denied": (
        tried(refusal(DUE, DENIED)),
        "denied by AWS",
    ),
    "refused": (tried(refusal(DUE, PermanentError("UnsupportedOperation", "no"))), "refused by EC2"),
}


@pytest.mark.parametrize("name", REASONS)
def test_each_reason_is_a_few_words_without_an_arn(name: str) -> None:
    found, words = REASONS[name]
    assert str(short_reason(found)) == words
    assert len(words) <= 40


def test_every_code_of_a_decision_has_its_words() -> None:
    """The table of codes is compared with the code by a test of the docs."""
    table = Path("docs/concepts.md").read_text().partition("\n## Decisions\n")[2].partition("\n## ")[0]
    codes = set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))
    assert len(codes) > 30
    # EC2 doesn't know what is gone, so no list has it.
    assert codes - WITHHELD - {"gone"} == {each.split()[0] for each in REASONS}


@pytest.mark.parametrize("name", [each for each in REASONS if each.split()[0] not in {"window", "throttled"}])
def test_each_is_of_the_code_that_it_is_named_after(name: str) -> None:
    found, _ = REASONS[name]
    condition = found.observed.record.condition
    assert name.split(maxsplit=1)[0] in {found.decision.code, condition.code if condition else ""}


def test_how_an_attempt_at_another_change_ended_isnt_said_of_this_one() -> None:
    ended = refusal(
        seen(None, PROD).decision,
        DENIED,
    )
    assert str(short_reason(tried(ended))) == "attach web"


def test_a_wait_that_is_over_isnt_said_of_what_is_due_now() -> None:
    stopped = seen(association("db"), WEB, of=instance("stopped", app="web")).decision
    condition = Condition(stopped.action, stopped.code, stopped.reason, NOW, stopped.fingerprint)
    started = seen(association("db"), WEB, record=InstanceRecord(condition=condition))
    assert str(short_reason(started)) == "replace db with web"


def test_a_pin_that_is_over_isnt_said() -> None:
    over = Pin("web", arn("web"), expires_at=NOW - timedelta(days=1))
    assert str(short_reason(seen(association("web"), WEB, pin=over))) == ""


def test_a_time_at_the_end_of_the_calendar_is_said_too() -> None:
    pin = Pin("web", arn("web"), expires_at=datetime.fromisoformat("9999-12-31T23:59:59-23:00"))
    assert str(short_reason(seen(association("web"), pin=pin))) == "pinned until 9999-12-31 23:59 UTC-23:00"


def test_a_name_with_a_brace_is_a_name() -> None:
    odd = PublishedMapping(replace(WEB.spec, key=MappingKey("{role}", "{0}")), 1, "", "its role is gone")
    assert str(short_reason(seen(None, odd, of=instance(**{"{role}": "{0}"})))) == "suspended: {role}={0}"


def test_what_cant_be_decided_on_says_so() -> None:
    assert str(short_reason(Unreadable(KEY, TAGGED, CorruptItemError("Corrupt", "x")))) == "damaged record"
