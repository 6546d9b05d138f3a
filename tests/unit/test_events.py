"""Reading messages: each names an instance, or is dropped with its reason."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.aws.queue import request
from rolekeeper.instances.requests import DroppedError, parse
from rolekeeper.model.instance import InstanceKey, ReconcileRequest
from rolekeeper.storage.layout import timestamp
from strategies.values import KEY, NOW

ARN = f"arn:aws:ec2:{KEY.region}:{KEY.account}:instance/{KEY.id}"
STATE_CHANGE: dict[str, Any] = {
    "version": "0",
    "id": "7bf73129-1428-4cd3-a780-95db273d1602",
    "detail-type": "EC2 Instance State-change Notification",
    "source": "aws.ec2",
    "account": KEY.account,
    "time": "2026-03-01T08:59:58Z",
    "region": KEY.region,
    "resources": [ARN],
    "detail": {"instance-id": KEY.id, "state": "running"},
}
TAG_CHANGE: dict[str, Any] = {
    **STATE_CHANGE,
    "detail-type": "Tag Change on Resource",
    "source": "aws.tag",
    "detail": {
        "changed-tag-keys": ["workload", "env"],
        "service": "ec2",
        "resource-type": "instance",
        "version": 5.0,
        "tags": {"workload": "web"},
    },
}
REQUESTED = request(KEY, "mapping changed: workload=web", "correlation-7", NOW)
EVERY_KIND = {"state change": STATE_CHANGE, "tag change": TAG_CHANGE, "requested": REQUESTED}


def _parse(message: Any) -> ReconcileRequest:
    return parse(message, only=KEY.target, now=NOW, message_id="message-1")


def _why_dropped(message: Any) -> str:
    with pytest.raises(DroppedError) as dropped:
        _parse(message)
    return str(dropped.value)


def test_a_state_change_names_its_instance() -> None:
    assert _parse(STATE_CHANGE) == ReconcileRequest(
        instance=KEY,
        cause="instance running",
        correlation_id="7bf73129-1428-4cd3-a780-95db273d1602",
        at=NOW - timedelta(seconds=2),
        message_id="message-1",
    )


def test_a_tag_change_names_its_instance_and_the_tags_that_changed() -> None:
    found = _parse(TAG_CHANGE)
    assert (found.instance, found.cause, found.changed_tags) == (KEY, "tags changed", frozenset({"env", "workload"}))
    assert found.correlation_id == TAG_CHANGE["id"]


@pytest.mark.parametrize(
    "elsewhere",
    [{"account": "222222222222"}, {"region": "eu-north-1"}, {"account": "222222222222", "region": "eu-north-1"}],
)
def test_a_tag_change_of_another_targets_instance_is_dropped(elsewhere: dict[str, str]) -> None:
    why = "it names an instance of another account or region than its own"
    with pytest.raises(DroppedError, match=why):
        parse({**TAG_CHANGE, **elsewhere}, only=None, now=NOW)


def test_our_own_request_carries_its_cause_and_correlation_on() -> None:
    found = _parse(REQUESTED)
    assert (found.instance, found.cause) == (KEY, "mapping changed: workload=web")
    assert found.correlation_id == "correlation-7"


@pytest.mark.parametrize(
    "message",
    [
        {**STATE_CHANGE, "detail": {"instance-id": "i-1234abcd", "state": "running"}},  # from before 2016
        *({**TAG_CHANGE, "resources": [ARN.replace("arn:aws:", f"arn:{each}:")]} for each in ("aws-cn", "aws-us-gov")),
        *({**TAG_CHANGE, "detail": {**TAG_CHANGE["detail"], "version": each}} for each in (5, "5", None)),
    ],
)
def test_an_instance_may_be_named_in_several_forms(message: dict[str, Any]) -> None:
    assert _parse(message).instance.id == message["detail"].get("instance-id", KEY.id)


@pytest.mark.parametrize("message", EVERY_KIND.values(), ids=EVERY_KIND)
def test_a_missing_id_or_time_is_made_up_for(message: dict[str, Any]) -> None:
    bare = {name: value for name, value in message.items() if name not in ("id", "time")}
    bare["detail"] = {name: value for name, value in bare["detail"].items() if name != "correlation-id"}
    found = _parse(bare)
    assert (found.correlation_id, found.at) == ("message-1", NOW)


@pytest.mark.parametrize("time", ["yesterday", 17, None, "", [], "0001-01-01T00:00:00+14:00"])
def test_an_unreadable_time_is_taken_as_now(time: object) -> None:
    assert _parse({**STATE_CHANGE, "time": time}).at == NOW


def test_a_time_without_zone_is_utc() -> None:
    assert _parse({**STATE_CHANGE, "time": "2026-03-01T09:00:00"}).at == NOW


# ---- dropped ----

NO_DETAIL: tuple[Any, ...] = (None, [], "text", 7)
NOT_ONE: tuple[Any, ...] = (None, [], [ARN, ARN], ARN, {})
UNTAGGED = (STATE_CHANGE, REQUESTED)
TEXTLESS = (None, 123456789012, ["us-east-1"])
NO_IDS = ("", "i-", "i-12345", "i-0123456789ABCDEF0", "vol-0123456789abcdef0", "i-0123456789abcdef0\n", "*")
ELSEWHERE = {"account": "999999999999", "region": "eu-west-1"}


def _with(message: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**message, "detail": {**message["detail"], name: value}}


def _of(source: Any, kind: Any) -> dict[str, Any]:
    return {**STATE_CHANGE, "source": source, "detail-type": kind}


DROPPED: dict[str, Sequence[Any]] = {
    "not a JSON object": [None, [], "text", 7, [STATE_CHANGE]],
    "unknown kind of event: ": [
        *(_of(None, None), _of("aws.s3", "Object Created"), _of("aws.ec2", "EC2 Spot Instance Interruption Warning")),
        *(_of("aws.ec2", "Tag Change on Resource"), _of("rolekeeper", "Role Attached"), _of([], {}), _of({"a": 1}, [])),
    ],
    "it has no detail": [{**message, "detail": each} for message in EVERY_KIND.values() for each in NO_DETAIL],
    "account is missing or not text": [{**each, "account": no} for each in UNTAGGED for no in TEXTLESS],
    "region is missing or not text": [{**each, "region": no} for each in UNTAGGED for no in TEXTLESS],
    "cause is missing or not text": [{**REQUESTED, "detail": {"instance-id": KEY.id}}],
    "not an instance id: ": [_with(each, "instance-id", no) for each in UNTAGGED for no in NO_IDS],
    "from another account: 999999999999": [
        *({**each, "account": ELSEWHERE["account"]} for each in UNTAGGED),
        {**TAG_CHANGE, "account": "999999999999", "resources": [ARN.replace(KEY.account, "999999999999")]},
    ],
    "from another region: eu-west-1": [
        *({**each, "region": ELSEWHERE["region"]} for each in UNTAGGED),
        {**TAG_CHANGE, "region": "eu-west-1", "resources": [ARN.replace(KEY.region, "eu-west-1")]},
    ],
    "tags of something that is no instance": [
        *(
            _with(TAG_CHANGE, "resource-type", "volume"),
            _with(TAG_CHANGE, "service", "s3"),
            _with(TAG_CHANGE, "service", None),
        ),
        _with(TAG_CHANGE, "resource-type", ["instance"]),
    ],
    "it doesn't name exactly one resource": [{**TAG_CHANGE, "resources": each} for each in NOT_ONE],
    "not an instance's ARN: ": [
        {**TAG_CHANGE, "resources": [each]}
        for each in ("", 7, None, ARN.replace("instance/", "volume/"), f"{ARN}/more", "arn:aws:s3:::bucket")
    ],
}


@pytest.mark.parametrize("why", DROPPED)
def test_what_names_no_instance_of_ours_is_dropped_with_its_reason(why: str) -> None:
    for message in DROPPED[why]:
        said = _why_dropped(message)
        assert said.startswith(why) if why.endswith(": ") else said == why


def test_an_endless_kind_is_cut_in_the_reason() -> None:
    assert len(_why_dropped(_of("x" * 10_000, "x"))) < 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

PARTS = ("source", "detail-type", "account", "region", "resources", "detail", "time", "id")
NAMES = ("instance-id", "state", "service", "resource-type", "changed-tag-keys", "cause", "correlation-id")


@given(
    st.sampled_from(list(EVERY_KIND.values())),
    st.dictionaries(st.sampled_from(NAMES), json_values, max_size=4),
    st.dictionaries(st.sampled_from(PARTS), json_values, max_size=1),
)
def test_whatever_is_sent_becomes_an_instance_of_ours_or_is_dropped(
    message: dict[str, Any], detail: dict[str, Any], spoilt: dict[str, Any]
) -> None:
    try:
        found = _parse({**message, "detail": {**message["detail"], **detail}, **spoilt})
    except DroppedError as dropped:
        assert str(dropped)  # noqa: PT017  # either outcome is right; both are looked at
    else:
        assert found.instance == InstanceKey(KEY.account, KEY.region, KEY.id)
        assert timestamp(found.at)


@pytest.mark.parametrize(("said", "heard"), [(True, True), (False, False), ("true", False)])
def test_a_request_of_our_own_may_say_that_its_loop_failed(said: Any, heard: Any) -> None:
    detail = {**REQUESTED["detail"], "loop-failed": said}
    assert _parse({**REQUESTED, "detail": detail}).loop_over is heard
    assert not _parse({**STATE_CHANGE, "detail": {**STATE_CHANGE["detail"], "loop-failed": said}}).loop_over
