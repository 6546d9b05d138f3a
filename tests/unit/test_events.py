"""Reading messages: each names an instance, or is dropped with its reason."""

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


@pytest.mark.parametrize("version", [5, 5.0, "5", None])
def test_the_version_of_a_tag_change_may_be_anything(version: object) -> None:
    detail = {**TAG_CHANGE["detail"], "version": version}
    assert _parse({**TAG_CHANGE, "detail": detail}).instance == KEY


def test_our_own_request_carries_its_cause_and_correlation_on() -> None:
    found = _parse(REQUESTED)
    assert (found.instance, found.cause) == (KEY, "mapping changed: workload=web")
    assert found.correlation_id == "correlation-7"


def test_ids_from_before_2016_are_short() -> None:
    assert _parse({**STATE_CHANGE, "detail": {"instance-id": "i-1234abcd", "state": "running"}}).instance.id == (
        "i-1234abcd"
    )


@pytest.mark.parametrize("partition", ["aws-cn", "aws-us-gov"])
def test_other_partitions_have_arns_too(partition: str) -> None:
    assert _parse({**TAG_CHANGE, "resources": [ARN.replace("arn:aws:", f"arn:{partition}:")]}).instance == KEY


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


@pytest.mark.parametrize("message", [None, [], "text", 7, [STATE_CHANGE]])
def test_what_is_no_object_is_dropped(message: object) -> None:
    assert _why_dropped(message) == "not a JSON object"


@pytest.mark.parametrize(
    ("source", "detail_type"),
    [
        (None, None),
        ("aws.s3", "Object Created"),
        ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
        ("aws.ec2", "Tag Change on Resource"),
        ("rolekeeper", "Role Attached"),
        ([], {}),
        ({"a": 1}, ["b"]),
    ],
)
def test_an_unknown_kind_of_event_is_dropped(source: object, detail_type: object) -> None:
    why = _why_dropped({**STATE_CHANGE, "source": source, "detail-type": detail_type})
    assert why.startswith("unknown kind of event: ")


def test_an_endless_kind_is_cut_in_the_reason() -> None:
    assert len(_why_dropped({**STATE_CHANGE, "source": "x" * 10_000})) < 200


@pytest.mark.parametrize("message", EVERY_KIND.values(), ids=EVERY_KIND)
@pytest.mark.parametrize("detail", [None, [], "text", 7])
def test_an_event_without_detail_is_dropped(message: dict[str, Any], detail: object) -> None:
    assert _why_dropped({**message, "detail": detail}) == "it has no detail"


@pytest.mark.parametrize("message", [STATE_CHANGE, REQUESTED], ids=["state change", "requested"])
@pytest.mark.parametrize("name", ["account", "region"])
@pytest.mark.parametrize("value", [None, 123456789012, ["us-east-1"]])
def test_an_event_without_account_or_region_is_dropped(message: dict[str, Any], name: str, value: object) -> None:
    assert _why_dropped({**message, name: value}) == f"{name} is missing or not text"


@pytest.mark.parametrize("message", [STATE_CHANGE, REQUESTED], ids=["state change", "requested"])
@pytest.mark.parametrize(
    "identity", ["", "i-", "i-12345", "i-0123456789ABCDEF0", "vol-0123456789abcdef0", "i-0123456789abcdef0\n", "*"]
)
def test_what_is_no_instance_id_is_dropped(message: dict[str, Any], identity: str) -> None:
    why = _why_dropped({**message, "detail": {**message["detail"], "instance-id": identity}})
    assert why.startswith("not an instance id: ")


@pytest.mark.parametrize("message", [STATE_CHANGE, REQUESTED], ids=["state change", "requested"])
def test_another_account_or_region_is_dropped(message: dict[str, Any]) -> None:
    assert _why_dropped({**message, "account": "999999999999"}) == "from another account: 999999999999"
    assert _why_dropped({**message, "region": "eu-west-1"}) == "from another region: eu-west-1"


def test_a_tag_change_in_another_account_or_region_is_dropped() -> None:
    other = {"account": "999999999999", "resources": [ARN.replace(KEY.account, "999999999999")]}
    assert _why_dropped({**TAG_CHANGE, **other}) == "from another account: 999999999999"
    other = {"region": "eu-west-1", "resources": [ARN.replace(KEY.region, "eu-west-1")]}
    assert _why_dropped({**TAG_CHANGE, **other}) == "from another region: eu-west-1"


@pytest.mark.parametrize(
    "about",
    [
        {"resource-type": "volume"},
        {"service": "s3"},
        {"service": None},
        {"resource-type": ["instance"]},
    ],
)
def test_tags_of_something_else_are_dropped(about: dict[str, object]) -> None:
    message = {**TAG_CHANGE, "detail": {**TAG_CHANGE["detail"], **about}}
    assert _why_dropped(message) == "tags of something that is no instance"


@pytest.mark.parametrize("resources", [None, [], [ARN, ARN], ARN, {}])
def test_a_tag_change_names_exactly_one_resource(resources: object) -> None:
    assert _why_dropped({**TAG_CHANGE, "resources": resources}) == "it doesn't name exactly one resource"


@pytest.mark.parametrize(
    "resource", ["", 7, None, ARN.replace("instance/", "volume/"), f"{ARN}/more", "arn:aws:s3:::bucket"]
)
def test_a_tag_changes_resource_is_an_instances_arn(resource: object) -> None:
    assert _why_dropped({**TAG_CHANGE, "resources": [resource]}).startswith("not an instance's ARN: ")


def test_a_request_without_a_cause_is_dropped() -> None:
    assert _why_dropped({**REQUESTED, "detail": {"instance-id": KEY.id}}) == "cause is missing or not text"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(list(EVERY_KIND.values())),
    st.sampled_from(["source", "detail-type", "account", "region", "resources", "detail", "time", "id"]),
    json_values,
)
def test_whatever_is_sent_becomes_an_instance_of_ours_or_is_dropped(
    message: dict[str, Any], spoilt: str, value: object
) -> None:
    try:
        found = _parse({**message, spoilt: value})
    except DroppedError as dropped:
        assert str(dropped)  # noqa: PT017  # either outcome is right; both are looked at
    else:
        assert found.instance == InstanceKey(KEY.account, KEY.region, KEY.id)
        assert timestamp(found.at)


@given(st.sampled_from([STATE_CHANGE, TAG_CHANGE, REQUESTED]), st.dictionaries(st.text(), json_values, max_size=4))
def test_whatever_a_detail_holds_becomes_an_instance_of_ours_or_is_dropped(
    message: dict[str, Any], more: dict[str, Any]
) -> None:
    names = ("instance-id", "state", "service", "resource-type", "changed-tag-keys", "cause", "correlation-id")
    spoilt = dict(zip(names, more.values(), strict=False))
    try:
        found = _parse({**message, "detail": {**message["detail"], **spoilt}})
    except DroppedError as dropped:
        assert str(dropped)  # noqa: PT017  # either outcome is right; both are looked at
    else:
        assert found.instance.account == KEY.account


@pytest.mark.parametrize(("said", "heard"), [(True, True), (False, False), ("true", False)])
def test_a_request_of_our_own_may_say_that_its_loop_failed(said: Any, heard: Any) -> None:
    detail = {**REQUESTED["detail"], "loop-failed": said}
    assert _parse({**REQUESTED, "detail": detail}).loop_over is heard
    assert not _parse({**STATE_CHANGE, "detail": {**STATE_CHANGE["detail"], "loop-failed": said}}).loop_over
