"""Instances of other targets: each by its own EC2 and mappings, and what fails in one stays there."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from fixtures.account import HOME, FakeAccount, refusing
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE, VERSION, Organization, daily_event, reader_tags
from rolekeeper.fleet.targets import WIRE_FORMAT, WIRE_TAG, Registry, ServedTarget
from rolekeeper.instances.requests import DroppedError, present, require_ours
from rolekeeper.model.instance import InstanceKey, Target
from rolekeeper.settings import Access, Limits
from rolekeeper.storage import layout

HALF_A_MINUTE = 30  # seconds in which a batch begins; what is left by then is retried (docs/decisions.md)

PRESENT = daily_event(SPOKE)


@pytest.fixture
def served(organization: Organization) -> Organization:
    return organization


def known(made: Organization, target: Target = SPOKE) -> ServedTarget:
    found = made.app().registry.get(target)
    assert found
    return found


def silent(account: FakeAccount, seconds: float) -> Callable[[], None]:
    """A hook: AWS gives no answer, for which the SDK waits so long."""

    def hang() -> None:
        account.clock.sleep(seconds)
        raise ReadTimeoutError(endpoint_url="https://ec2")

    return hang


def test_each_instance_of_a_batch_is_looked_at_in_its_own_target(served: Organization) -> None:
    accounts = [served.hub, *map(served.spoke, (SPOKE, SAME_ACCOUNT, OTHER))]
    served.publish("workload=web", "web")
    keys = [each.key(each.running(workload="web")) for each in accounts]
    assert len({key.id for key in keys}) == 1, "the same id everywhere"
    assert served.batch(*keys) == []
    for each in accounts:
        assert each.mutations == ["AssociateIamInstanceProfile"]
        shown = each.association(keys[0].id)
        assert shown
        assert shown.profile_arn == f"arn:aws:iam::{each.target.account}:instance-profile/rolekeeper/web"
        [entry] = served.hub.store.history(layout.instance_pk(each.key(keys[0].id)))
        assert entry["outcome"] == "done"


# ---- how much changes in a while ----


def retagged(served: Organization, target: Target, workload: str = "db") -> FakeAccount:
    """All instances of a target get another tag, and each is looked at."""
    place = served.hub if target == HOME else served.spoke(target)
    keys = [place.key(each.id) for each in place.truth.describe_instances()[0]]
    for key in keys:
        place.tag(key.id, workload=workload)
    served.wait(seconds=2)
    served.reconcile(*keys)
    return place


def carrying(place: FakeAccount, role: str) -> int:
    return [place.carries(each.id) for each in place.truth.describe_instances()[0]].count(role)


@pytest.fixture
def fleets(served: Organization) -> Organization:
    """20 instances that carry web in the hub's own account, ten and eight in two others, as sweeps counted them."""
    served.hub.limits = Limits(1, 20)
    for role in ("web", "db"):
        for target in (SPOKE, OTHER):
            served.spoke(target).profile(role)
        served.publish(f"workload={role}", role)
    for place, size in ((served.hub, 20), (served.spoke(SPOKE), 10), (served.spoke(OTHER), 8)):
        served.reconcile(*(place.key(place.running(workload="web")) for _ in range(size)))
    for _ in range(2):  # the first of them counts the other targets, which the second reads
        served.sweep()
    return served


@pytest.mark.parametrize(("target", "room"), [(HOME, 4), (SPOKE, 2), (OTHER, 1)])
def test_a_target_changes_no_more_than_its_own_window_has_room_for(
    fleets: Organization, target: Target, room: int
) -> None:
    """A script that tags one account in a wrong way is noticed before it reached all of that account."""
    place = retagged(fleets, target)
    assert carrying(place, "db") == room
    waiting = [each.id for each in place.truth.describe_instances()[0] if place.carries(each.id) == "web"]
    shown = {each: fleets.hub.state.read([place.key(each)]).record(place.key(each)).condition for each in waiting}
    assert {each.code for each in shown.values() if each} == {"window"}


# ---- who is registered ----


@pytest.mark.parametrize("daily", [False, True])
def test_the_first_message_of_a_target_or_its_daily_event_registers_it_after_a_probe(
    served: Organization, *, daily: bool
) -> None:
    spoke = served.spoke(SPOKE)
    at = served.hub.clock.now()
    assert served.batch(PRESENT if daily else spoke.key(spoke.launch(workload="web"))) == []
    assert known(served) == ServedTarget(SPOKE, VERSION, at, at, wire_format=WIRE_FORMAT)
    assert spoke.calls["GetRole"] == 1


def forgotten(served: Organization, target: Target = SPOKE) -> FakeAccount:
    """A person forgets a target whose instances carry web, and workload=web then gives db: no copy there says so."""
    registered(served, target)
    Registry(served.hub.store).remove(target)
    served.hub.publish("workload=web", "db")
    spoke = served.spoke(target)
    spoke.profile("db")
    served.hub.quiet()
    return spoke


def test_a_target_that_was_forgotten_gives_no_role_of_a_former_revision(served: Organization) -> None:
    """The worker that saw it a minute ago acts on the registry's item all the same."""
    spoke = forgotten(served)
    key = spoke.key(spoke.running(workload="web"))
    assert served.batch(key) == []
    assert spoke.carries(key.id) == ""
    assert served.condition(key).code == "unswept"
    found = known(served)
    assert (found.since, found.last_sweep) == (served.hub.clock.now(), None)


STRANGER = Target("333333333333", "eu-west-1")  # an account of the organization without a spoke


def test_messages_of_an_account_without_a_spoke_are_dropped_counted_and_reported_once(served: Organization) -> None:
    """It has a rule of its own to the hub's bus."""
    here = served.hub.key(served.hub.running(workload="web"))
    served.hub.quiet()
    theirs = [InstanceKey(STRANGER.account, STRANGER.region, f"i-{number:017x}") for number in range(2)]
    for _ in range(3):
        assert served.batch(*theirs, here) == []
        served.hub.kept.clear()  # another process
    assert served.hub.carries(here.id) == ""
    assert served.hub.metrics.counts == {}, "no alarm is about them"
    dropped = [line["reason"] for line in served.hub.logged() if line["message"] == "dropped"]
    refusal = "sts:AssumeRole on arn:aws:iam::333333333333:role/rolekeeper-reader is refused (AccessDenied)"
    assert dropped == [f"unknown target 333333333333/eu-west-1: {refusal}"]
    assert (served.hub.topic.mails, served.hub.events.kinds) == ([], [])
    registry = served.app().registry
    assert [(each.target, each.dropped) for each in registry.unknown()] == [(STRANGER, 6)]
    assert registry.others() == []


def says(made: Organization, wire: int | None) -> None:
    tags = [each for each in reader_tags() if each["Key"] != WIRE_TAG]
    tags += [{"Key": WIRE_TAG, "Value": str(wire)}] if wire else []
    made.spoke(SPOKE).clients["iam"].others["rolekeeper-reader"]["Tags"] = tags


def test_a_spoke_of_a_wire_format_that_is_no_neighbour_is_unknown_and_its_events_are_dropped_once_reported(
    served: Organization,
) -> None:
    says(served, WIRE_FORMAT + 2)
    for _ in range(2):
        assert served.batch(PRESENT) == []
    [heard] = served.app().registry.unknown()
    why = f"its spoke has wire format {WIRE_FORMAT + 2}, and this hub takes 1 to {WIRE_FORMAT + 1}"
    assert (heard.target, heard.dropped, heard.problem) == (SPOKE, 2, why)
    dropped = [line["reason"] for line in served.hub.logged() if line["message"] == "dropped"]
    assert dropped == [f"unknown target {SPOKE}: {why}"]
    says(served, WIRE_FORMAT + 1)
    assert served.batch(PRESENT) == []
    assert known(served).is_heard


def test_a_spoke_that_is_deployed_again_with_a_wire_format_is_heard_with_the_next_sweep(served: Organization) -> None:
    """Of a former edition no event comes, not even the daily one."""
    says(served, None)
    served.batch(PRESENT)
    heard = served.hub.clock.now()
    sweep = {"task": "sweep", "id": "sweep-1", "target": {"account": SPOKE.account, "region": SPOKE.region}}
    served.wait(hours=3)
    for wire in (None, WIRE_FORMAT):
        says(served, wire)
        served.scheduled(sweep)
        assert (known(served).wire_format, known(served).last_event) == (wire, heard)


def test_a_message_of_a_new_target_that_gives_no_answer_comes_again(served: Organization) -> None:
    """It may have a spoke: only a refusal says that it has none."""
    spoke = served.spoke(SPOKE)
    key = spoke.key(spoke.launch(workload="web"))
    spoke.calls.before("DescribeInstances", silent(spoke, 15))
    assert served.batch(key) == [0]
    assert served.app().registry.unknown() == []


def test_a_spoke_whose_roles_are_not_known_at_once_is_registered_by_the_schedule(served: Organization) -> None:
    """Its first event is dropped, and there may be no other for a day."""
    served.refuse(SPOKE)
    spoke = served.spoke(SPOKE)
    assert served.batch(spoke.key(spoke.running(workload="web"))) == []
    served.scheduled({"task": "expiries"})
    assert served.app().registry.get(SPOKE) is None
    served.admit(SPOKE)
    served.wait(minutes=1)
    served.scheduled({"task": "expiries"})
    assert known(served).version == VERSION
    served.wait(minutes=1)
    served.scheduled({"task": "expiries"})
    assert [each["target"]["account"] for each in served.each_account()] == [SPOKE.account]
    assert served.hub.metrics.counts == {}


def test_an_account_that_goes_on_refusing_is_asked_by_the_schedule_for_an_hour(served: Organization) -> None:
    served.refuse(SPOKE)
    spoke = served.spoke(SPOKE)
    served.batch(spoke.key(spoke.running(workload="web")))
    for minutes, asked in ((59, 1), (1, 0)):
        served.wait(minutes=minutes)
        served.assumed.clear()
        served.scheduled({"task": "expiries"})
        assert served.assumed.total() == asked
    assert [each.dropped for each in served.app().registry.unknown()] == [1]
    assert served.hub.metrics.counts == {}


# ---- the daily event ----


@pytest.mark.parametrize(
    "other",
    [
        {"resources": ["arn:aws:events:eu-west-1:111111111111:rule/another-present"]},
        {"resources": ["arn:aws:events:eu-west-1:222222222222:rule/rolekeeper-present"]},
        {"resources": ["arn:aws:events:us-west-2:111111111111:rule/rolekeeper-present"]},
        {"resources": []},
        {"account": "222222222222"},
        {"account": "1", "resources": ["arn:aws:events:eu-west-1:1:rule/rolekeeper-present"]},
        {"region": "eu#1", "resources": ["arn:aws:events:eu#1:111111111111:rule/rolekeeper-present"]},
        {"source": "mine"},
    ],
    ids=str,
)
def test_any_other_scheduled_event_is_no_spokes(other: dict[str, Any]) -> None:
    assert present({**PRESENT, **other}, "rolekeeper") is None


def test_a_rule_of_another_partition_is_a_spokes_too() -> None:
    there = {"region": "cn-north-1", "resources": ["arn:aws-cn:events:cn-north-1:111111111111:rule/ns-present"]}
    assert present({**PRESENT, **there}, "ns") == Target("111111111111", "cn-north-1")
    assert present([PRESENT], "rolekeeper") is None


# ---- a target that fails ----


def registered(made: Organization, *targets: Target) -> list[InstanceKey]:
    """Instances that are as they should be, one of each target; all are registered."""
    keys = [each.key(each.running(workload="web")) for each in map(made.spoke, targets)]
    made.publish("workload=web", "web")
    assert made.batch(*keys) == []
    made.wait(minutes=2)
    made.hub.quiet()
    return keys


def test_a_target_that_refuses_fails_its_own_instances_alone_and_its_problem_is_news_once(served: Organization) -> None:
    there, other = registered(served, SPOKE, OTHER)
    here = served.hub.key(served.hub.running(workload="web"))
    served.refuse(SPOKE)
    since = served.hub.clock.now()
    assert served.batch(there, other, here) == [0]
    assert served.hub.carries(here.id) == "web"
    found = known(served)
    role = "arn:aws:iam::111111111111:role/rolekeeper-reader"
    assert (found.problem, found.problem_since) == (f"sts:AssumeRole on {role} is refused (AccessDenied)", since)
    served.wait(minutes=6)
    served.hub.kept.clear()  # another process
    assert served.batch(there) == [0]
    [(subject, text)] = served.hub.topic.mails
    assert subject == "Rolekeeper: Permission Missing: sts:AssumeRole"
    assert role in text
    assert served.hub.events.kinds.count("Permission Missing") == 1
    assert served.hub.metrics.counts["PermissionDenied"] == 2, "the alarm rings as long as it refuses"


def test_a_target_that_answers_again_has_its_problem_cleared_and_a_new_one_is_news(served: Organization) -> None:
    [there] = registered(served, SPOKE)
    served.refuse(SPOKE)
    assert served.batch(there) == [0]
    served.admit(SPOKE)
    assert served.batch(there) == []
    assert known(served).problem == ""
    served.refuse(SPOKE)
    served.batch(there)
    assert len(served.hub.topic.mails) == 2


@pytest.mark.parametrize(("code", "failed"), [("AuthFailure", []), ("UnauthorizedOperation", [0])])
def test_a_target_is_asked_with_a_new_session_after_it_refused(
    served: Organization, code: str, failed: list[int]
) -> None:
    """The former one may be of a role that was made anew, which EC2 says at once, or from before a correction."""
    [there] = registered(served, SPOKE)
    assert served.assumed[served.role(SPOKE, Access.READER)] == 1
    served.spoke(SPOKE).calls.before("DescribeIamInstanceProfileAssociations", refusing(code))
    assert served.batch(there) == failed
    assert served.batch(there) == []
    assert served.assumed[served.role(SPOKE, Access.READER)] == 2


def test_a_permission_for_one_instance_is_no_problem_of_its_target(served: Organization) -> None:
    registered(served, SPOKE)
    spoke = served.spoke(SPOKE)
    spoke.calls.before("AssociateIamInstanceProfile", refusing("UnauthorizedOperation"))
    served.batch(spoke.key(spoke.running(workload="web")))
    assert known(served).problem == ""
    assert len(served.hub.topic.mails) == 1


def test_a_target_that_gives_no_answer_is_left_alone_for_a_minute(served: Organization) -> None:
    there, other = registered(served, SPOKE, OTHER)
    spoke = served.spoke(SPOKE)
    spoke.calls.before("DescribeIamInstanceProfileAssociations", silent(spoke, 15))
    assert served.batch(there, other) == [0]
    spoke.calls.clear()
    assert served.batch(there, other) == [0]
    assert spoke.calls.made == []
    served.wait(seconds=59)
    assert served.batch(there, other) == [0]
    assert spoke.calls.made == []
    served.wait(seconds=1)
    assert served.batch(there, other) == []


def test_what_failed_last_time_comes_last(served: Organization) -> None:
    there, other = registered(served, SPOKE, OTHER)
    spoke = served.spoke(SPOKE)
    spoke.calls.before("DescribeIamInstanceProfileAssociations", refusing("RequestLimitExceeded"))
    served.batch(there)
    spoke.calls.before("DescribeIamInstanceProfileAssociations", silent(spoke, HALF_A_MINUTE + 1))
    assert served.batch(there, other) == [0], "the other one was done before"


def test_targets_that_a_batch_has_no_time_for_come_again(served: Organization) -> None:
    silent_one, silent_too, last = registered(served, SPOKE, SAME_ACCOUNT, OTHER)
    here = served.hub.key(served.hub.running(workload="web"))
    for each in (SPOKE, SAME_ACCOUNT):
        spoke = served.spoke(each)
        spoke.calls.before("DescribeIamInstanceProfileAssociations", silent(spoke, 15))
    served.spoke(OTHER).calls.clear()
    began = served.hub.clock.now()
    assert served.batch(silent_one, silent_too, last, here) == [0, 1, 2]
    assert served.hub.clock.now() - began <= timedelta(seconds=HALF_A_MINUTE + 1)
    assert served.spoke(OTHER).calls.made == []
    assert served.hub.carries(here.id) == "web"
    assert served.batch(last) == []


# ---- what people pin, what is retried ----


def pin(made: Organization, key: InstanceKey, role: str, account: str) -> None:
    arn = f"arn:aws:iam::{account}:instance-profile/rolekeeper/{role}"
    item = {**layout.key_attributes(layout.pin_key(key)), "role": role, "profile_arn": arn, "by": "ada"}
    made.hub.store.write(made.hub.store.put(item))


def test_a_pin_in_another_target_gives_a_role_of_its_own_account(served: Organization) -> None:
    [there] = registered(served, SPOKE)
    spoke = served.spoke(SPOKE)
    spoke.profile("db")
    pin(served, there, "db", SPOKE.account)
    assert served.written(layout.pin_key(there)) == {"batchItemFailures": []}
    assert served.hub.queue.instances == [there]
    assert served.batch(there) == []
    assert spoke.carries(there.id) == "db"


def test_a_pin_in_another_target_that_names_the_hubs_own_role_is_refused(served: Organization) -> None:
    [there] = registered(served, SPOKE)
    for account in (served.hub, served.spoke(SPOKE)):
        account.profile("db")
    pin(served, there, "db", HOME.account)
    assert served.batch(there) == []
    assert "the pin can't be used" in served.condition(there).reason
    assert served.spoke(SPOKE).carries(there.id) == "web"


def test_a_retry_loop_looks_at_its_instance_in_its_own_target(served: Organization) -> None:
    registered(served, SPOKE)
    spoke = served.spoke(SPOKE)
    waits = spoke.key(spoke.launch(workload="web"))
    assert served.retried(waits)["outcome"] == "waiting"
    assert served.condition(waits).code == "changing"
    spoke.wait(2)
    assert served.retried(waits)["outcome"] == "done"
    assert served.hub.queue.instances == [waits], "what is ready goes to the work queue"


# ---- whose messages are read ----


def test_a_retry_loop_in_a_target_that_refuses_is_no_news_each_time(served: Organization) -> None:
    registered(served, SPOKE)
    spoke = served.spoke(SPOKE)
    waits = spoke.key(spoke.launch(workload="web"))
    served.refuse(SPOKE)
    for _ in range(2):
        assert served.retried(waits)["outcome"] == "waiting"
    assert served.hub.topic.mails == []
    assert served.hub.metrics.counts["PermissionDenied"] == 2


@pytest.mark.parametrize("account", ["", "11111111111", "1111#1111111", "111111111111\n"])
@pytest.mark.parametrize("region", ["eu-west-1", "eu#west"])
def test_a_hub_drops_what_names_no_account(account: str, region: str) -> None:
    with pytest.raises(DroppedError, match="not an account and a region"):
        require_ours(InstanceKey(account, region, "i-0123456789abcdef0"), None)
