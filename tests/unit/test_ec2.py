"""EC2 as the reconciler needs it: which row of an instance is the present one, what a tag finds, who manages it."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.ec2 import EC2_META
from fixtures.account import ACCOUNT, REGION, FakeAccount, mapping_key, refusing
from rolekeeper.aws.ec2 import Ec2
from rolekeeper.aws.errors import AccessDeniedError, ConflictError, RetryableError
from rolekeeper.model.instance import InstanceKey
from rolekeeper.model.mapping import MappingKey


def _ec2(client: Any) -> Ec2:
    return Ec2(client, ACCOUNT, REGION)


def _row(number: int, state: str) -> dict[str, Any]:
    profile = {"Arn": "arn", "Id": "AIPA"}
    ids = {"AssociationId": f"iip-assoc-{number}", "InstanceId": "i-1"}
    return {**ids, "IamInstanceProfile": profile, "State": state}


@pytest.mark.parametrize(
    ("states", "present"),
    [
        ([], None),
        (["associated"], 0),
        (["disassociating"], 0),
        (["disassociated"], None),
        (["disassociated", "associating"], 1),
        (["associated", "disassociated"], 0),
        (["disassociating", "associating"], 1),
        (["associating", "disassociating"], 0),
    ],
)
def test_ended_rows_beside_the_present_one_dont_count(states: list[str], present: int | None) -> None:
    pages = [{"IamInstanceProfileAssociations": [_row(*row)]} for row in enumerate(states)]
    client = SimpleNamespace(meta=EC2_META, get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: pages))
    found = _ec2(client).associations(["i-1"])
    assert (found["i-1"].id if found else None) == (None if present is None else f"iip-assoc-{present}")


def _found(world: FakeAccount, *tags: str) -> list[str]:
    return [each.key.id for page in _ec2(world.ec2).tagged(*map(mapping_key, tags)) for each in page]


def test_a_tag_finds_its_instances_that_havent_ended(world: FakeAccount) -> None:
    web, _, stopped = world.running(workload="web"), world.running(workload="db"), world.stopped(workload="web")
    gone, ends = world.running(workload="web"), world.running(workload="web")
    world.truth.terminate(gone)
    world.wait(5)
    world.truth.terminate(ends)
    assert _found(world, "workload=web") == [web, stopped]
    assert len(_found(world, "workload=*")) == 3
    assert _found(world, "Workload=web") == []


@pytest.mark.parametrize("value", ["a*", "?b", "a\\b", "*b"])
def test_what_looks_like_a_pattern_finds_only_itself(world: FakeAccount, value: str) -> None:
    itself = world.running(workload=value)
    for other in ("ab", "aab", "xb", "a"):
        world.running(workload=other)
    assert _found(world, f"workload={value}") == [itself]
    by_key = world.running(**{value: "web"})
    assert _found(world, f"{value}=*") == [by_key]


def test_a_value_as_long_as_a_tag_may_be_finds_only_itself_though_no_filter_takes_it(world: FakeAccount) -> None:
    longest = "x" * 256
    itself = world.running(workload=longest)
    fits = world.running(workload=longest[:255])
    assert _found(world, f"workload={longest}") == [itself]
    assert _found(world, f"workload={longest[:255]}") == [fits]


def test_the_tags_of_many_mappings_find_their_instances_in_one_call_for_each_tag_key(world: FakeAccount) -> None:
    web, db, other = world.running(workload="web"), world.running(workload="db"), world.running(team="a", workload="x")
    world.running(workload="nobody's")
    world.calls.clear()
    assert _found(world, "workload=web", "team=*", "workload=db") == [other, web, db]
    assert world.calls["DescribeInstances"] == 2
    assert _found(world) == []


def test_more_values_than_a_filter_takes_are_more_calls(world: FakeAccount) -> None:
    last = world.running(workload="w400")
    world.calls.clear()
    assert _found(world, *(f"workload=w{number}" for number in range(401))) == [last]
    assert world.calls["DescribeInstances"] == 3


def test_pages_come_from_a_token_on_each_with_the_token_of_the_next(world: FakeAccount) -> None:
    world.large_pages()
    launched = [world.launch(workload="web") for _ in range(401)]
    ec2 = _ec2(world.ec2)
    (_, second), (page, third), (_, last) = ec2.pages()
    assert (bool(second), bool(third), last) == (True, True, "")
    assert [each.key.id for each in page] == launched[200:400]
    assert [len(page) for page, _ in ec2.pages(token=second)] == [200, 1]
    tagged = [page for page, _ in ec2.tagged_pages(MappingKey("workload", "web"), third)]
    assert [[each.key.id for each in page] for page in tagged] == [launched[400:]]


def test_a_token_that_comes_again_ends_the_reading() -> None:
    answer = {"Reservations": [], "NextToken": "same"}
    client = SimpleNamespace(meta=EC2_META, describe_instances=lambda **_: answer)
    with pytest.raises(RetryableError, match="TokenRepeated"):
        list(_ec2(client).pages())


# ---- instances that an AWS service manages ----


class Older:
    """A client of an SDK that knows only these members of a request, and takes no other."""

    def __init__(self, world: FakeAccount, members: Iterable[str] | None) -> None:
        self._world = world
        self._known = None if members is None else set(members)
        shape = None if members is None else SimpleNamespace(members=dict.fromkeys(members))
        model = SimpleNamespace(operation_model={"DescribeInstances": SimpleNamespace(input_shape=shape)}.__getitem__)
        self.meta = SimpleNamespace(service_model=model)

    def describe_instances(self, **arguments: Any) -> Any:
        assert self._known is None or arguments.keys() <= self._known, "botocore refuses what it doesn't know"
        return self._world.ec2.describe_instances(**arguments)


def _managed(world: FakeAccount, *, hidden: bool) -> str:
    instance = world.truth.launch(tags={"workload": "web"}, operator="eks.amazonaws.com", hidden=hidden)
    world.wait(2)
    return instance.id


READS: dict[str, Callable[[Ec2, str], list[str]]] = {
    "by id": lambda ec2, instance: list(ec2.instances([instance])),
    "by tag": lambda ec2, _: [each.key.id for page in ec2.tagged(MappingKey("workload", "web")) for each in page],
    "the fleet": lambda ec2, _: [each.key.id for page in ec2.fleet() for each in page],
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_an_instance_that_a_service_manages_is_shown_though_the_account_hides_it(
    world: FakeAccount, read: Callable[[Ec2, str], list[str]]
) -> None:
    instance = _managed(world, hidden=True)
    assert read(_ec2(world.ec2), instance) == [instance]


@pytest.mark.parametrize("members", [("Filters", "MaxResults", "NextToken"), None])
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_an_sdk_that_cant_ask_for_hidden_instances_shows_the_others_and_who_manages_them(
    world: FakeAccount, read: Callable[[Ec2, str], list[str]], members: Iterable[str] | None
) -> None:
    hidden, shown = _managed(world, hidden=True), _managed(world, hidden=False)
    ec2 = _ec2(Older(world, members))
    assert read(ec2, shown) == [shown]
    assert ec2.instances([hidden, shown])[shown].managed_by == "eks.amazonaws.com"


@pytest.mark.parametrize(
    ("operator", "managed_by"),
    [
        ({}, ""),
        ({"Operator": {"Managed": False}}, ""),
        ({"Operator": {"Managed": False, "Principal": "eks.amazonaws.com"}}, ""),
        ({"Operator": {"Managed": True, "Principal": "eks.amazonaws.com"}}, "eks.amazonaws.com"),
        ({"Operator": {"Managed": True}}, "an AWS service"),
    ],
)
def test_who_manages_an_instance_is_read_from_its_operator(operator: dict[str, Any], managed_by: str) -> None:
    row = {"InstanceId": "i-1", "State": {"Name": "running"}, **operator}
    page = {"Reservations": [{"Instances": [row]}]}
    client = SimpleNamespace(meta=EC2_META, describe_instances=lambda **_: page)
    assert _ec2(client).instances(["i-1"])["i-1"].managed_by == managed_by


def _carrying(world: FakeAccount) -> tuple[InstanceKey, str, str]:
    """A running instance with a role, the association, and the ARN of another profile."""
    world.profile("web")
    instance = world.running(profile="web")
    world.wait(2)
    row = world.association(instance)
    assert row
    return world.key(instance), row.id, world.profile("db")


CALLS: dict[str, Callable[[Ec2, InstanceKey, str, str], object]] = {
    "ReplaceIamInstanceProfileAssociation": lambda ec2, key, row, other: ec2.replace(key, row, other),
    "DisassociateIamInstanceProfile": lambda ec2, key, row, _: ec2.disassociate(key, row),
}


@pytest.mark.parametrize("somebody", ["detaches it", "replaces it"])
@pytest.mark.parametrize("call", CALLS)
def test_a_denial_is_a_conflict_where_the_association_is_stale(world: FakeAccount, call: str, somebody: str) -> None:
    """Of one that is gone EC2 knows no profile, so a policy that asks for the path of its profile denies the call."""
    key, row, other = _carrying(world)
    if somebody == "detaches it":
        world.truth.disassociate(row)
    else:
        world.truth.replace(row, other)
    world.wait(2)
    world.calls.before(call, refusing("UnauthorizedOperation", "You are not authorized", status=403))
    with pytest.raises(ConflictError, match=f"{row} isn't the present one; AWS answered UnauthorizedOperation"):
        CALLS[call](_ec2(world.ec2), key, row, other)


@pytest.mark.parametrize("call", CALLS)
def test_a_denial_is_a_missing_permission_where_the_association_is_the_present_one(
    world: FakeAccount, call: str
) -> None:
    key, row, other = _carrying(world)
    world.calls.before(call, refusing("UnauthorizedOperation", "You are not authorized", status=403))
    with pytest.raises(AccessDeniedError) as denied:
        CALLS[call](_ec2(world.ec2), key, row, other)
    assert (denied.value.action, denied.value.resource) == (f"ec2:{call}", key.arn)
