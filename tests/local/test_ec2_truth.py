"""Each rule of AWS_FACTS.md that the truth about EC2 keeps, as a small story on a clock that the test moves."""

from collections.abc import Callable
from functools import partial

import pytest

from rolekeeper_local.ec2_model import Association, Ec2Error, Event, Instance, Profile, State, Timings
from rolekeeper_local.ec2_truth import Ec2Truth

ROLE = "arn:aws:iam::000000000000:role/rolekeeper/web"


class FakeAccount:
    """An Ec2Truth with a clock to move, profiles to make and events to read."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.events: list[Event] = []
        self.profiles: dict[str, Profile] = {}
        self._ids = 0
        self.ec2 = Ec2Truth(
            now=lambda: self.time,
            new_id=self._next_id,
            find_profile=self._find,
            emit=self.events.append,
            timings=Timings(),
        )
        self.profile("web")
        self.profile("db")

    def _next_id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}-{self._ids:017x}"

    def _find(self, reference: str) -> Profile | None:
        return next((p for p in self.profiles.values() if reference in (p.name, p.arn)), None)

    def profile(self, name: str, *, roles: tuple[str, ...] = (ROLE,), made_now: bool = False) -> Profile:
        made = Profile(
            name=name,
            arn=f"arn:aws:iam::000000000000:instance-profile/rolekeeper/{name}",
            id=f"AIPA{name.upper()}",
            roles=roles,
            created_at=self.time if made_now else float("-inf"),
        )
        self.profiles[name] = made
        return made

    def wait(self, seconds: float) -> None:
        self.time += seconds
        self.ec2.tick()

    def running(self, **tags: str) -> Instance:
        instance = self.ec2.launch(tags=tags)
        self.wait(2)
        self.events.clear()
        return instance

    def associated(self) -> Association:
        row = self.ec2.associate(self.running().id, "web")
        self.wait(0.2)
        return row

    def rows(self, instance_id: str) -> list[Association]:
        return self.ec2.describe_associations(filters=[("instance-id", [instance_id])])[0]

    def states_told(self) -> list[object]:
        return [e.detail["state"] for e in self.events if e.source == "aws.ec2"]


@pytest.fixture
def world() -> FakeAccount:
    return FakeAccount()


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(Ec2Error) as caught:
        call()
    return caught.value.code, caught.value.message


# ---- states take time, and are told ----


def test_a_launched_instance_is_pending_for_two_seconds_and_then_running(world: FakeAccount) -> None:
    instance = world.ec2.launch()
    world.wait(1.9)
    assert str(instance.state) == "pending"
    world.wait(0.1)
    assert str(instance.state) == "running"
    assert world.states_told() == ["pending", "running"]


def test_a_state_event_names_the_instance_and_the_state_and_nothing_else(world: FakeAccount) -> None:
    instance = world.ec2.launch()
    (event,) = world.events
    assert event == Event(
        source="aws.ec2",
        detail_type="EC2 Instance State-change Notification",
        resources=(f"arn:aws:ec2:us-east-1:000000000000:instance/{instance.id}",),
        detail={"instance-id": instance.id, "state": "pending"},
    )


def test_stop_and_start_each_pass_through_their_own_state(world: FakeAccount) -> None:
    instance = world.running()
    assert world.ec2.stop(instance.id) == (State.RUNNING, State.STOPPING)
    world.wait(2)
    assert instance.state is State.STOPPED
    assert world.ec2.start(instance.id) == (State.STOPPED, State.PENDING)
    world.wait(2)
    assert world.states_told() == ["stopping", "stopped", "pending", "running"]


def test_terminate_shuts_down_first_and_the_instance_stays_visible_for_an_hour(world: FakeAccount) -> None:
    instance = world.running()
    assert world.ec2.terminate(instance.id) == (State.RUNNING, State.SHUTTING_DOWN)
    world.wait(1)
    assert world.ec2.terminate(instance.id) == (State.TERMINATED, State.TERMINATED)
    assert world.states_told() == ["shutting-down", "terminated"]
    world.wait(3600)
    assert refusal(lambda: world.ec2.describe_instances(instance_ids=[instance.id])) == (
        "InvalidInstanceID.NotFound",
        f"The instance ID '{instance.id}' does not exist",
    )


def in_state(world: FakeAccount, state: str) -> Instance:
    instance = world.ec2.launch()
    if state != "pending":
        world.wait(2)
    if state == "stopping":
        world.ec2.stop(instance.id)
    if state in ("shutting-down", "terminated"):
        world.ec2.terminate(instance.id)
    if state == "terminated":
        world.wait(1)
    assert instance.state == state
    return instance


@pytest.mark.parametrize(
    ("state", "calls"),
    [
        ("pending", ("stop", "associate")),
        ("stopping", ("start", "associate")),
        ("shutting-down", ("start", "stop", "associate")),
        ("terminated", ("start", "stop", "associate")),
    ],
)
def test_a_state_refuses_what_it_does_not_allow(world: FakeAccount, state: str, calls: tuple[str, ...]) -> None:
    instance = in_state(world, state)
    made = {
        "start": lambda: world.ec2.start(instance.id),
        "stop": lambda: world.ec2.stop(instance.id),
        "associate": lambda: world.ec2.associate(instance.id, "web"),
    }
    words = {
        "start": f"The instance '{instance.id}' is not in a state from which it can be started.",
        "stop": f"The instance '{instance.id}' is not in a state from which it can be stopped.",
        "associate": f"The instance '{instance.id}' is not in the 'running' or 'stopped' states.",
    }
    for call in calls:
        assert refusal(made[call]) == ("IncorrectInstanceState", words[call])


# ---- tags ----


def test_tags_given_at_launch_are_told_too(world: FakeAccount) -> None:
    instance = world.ec2.launch(tags={"workload": "web"})
    state, tags = world.events
    assert state.source == "aws.ec2"
    assert tags == Event(
        source="aws.tag",
        detail_type="Tag Change on Resource",
        resources=(instance.arn,),
        detail={
            "changed-tag-keys": ["workload"],
            "service": "ec2",
            "resource-type": "instance",
            "version": 1.0,
            "tags": {"workload": "web"},
        },
    )


def test_a_deleted_key_is_among_the_changed_keys_and_not_among_the_tags(world: FakeAccount) -> None:
    instance = world.running(Name="a", workload="web")
    world.ec2.delete_tags(instance.id, {"workload": None})
    (event,) = world.events
    assert event.detail["changed-tag-keys"] == ["workload"]
    assert event.detail["tags"] == {"Name": "a"}


def test_delete_with_a_value_removes_only_that_value_and_with_no_keys_everything(world: FakeAccount) -> None:
    instance = world.running(Name="a", workload="web")
    world.ec2.delete_tags(instance.id, {"workload": "db"})
    assert instance.tags == {"Name": "a", "workload": "web"}
    world.ec2.delete_tags(instance.id)
    assert instance.tags == {}


def test_tagging_with_what_is_so_already_tells_nothing(world: FakeAccount) -> None:
    instance = world.running(workload="web")
    world.ec2.create_tags(instance.id, {"workload": "web"})
    world.ec2.delete_tags(instance.id, {"absent": None})
    assert world.events == []


def test_events_can_be_lost_for_one_instance_while_the_others_are_told(world: FakeAccount) -> None:
    unlucky, other = world.running(), world.running()
    world.ec2.drop_events(unlucky.id, 1)
    for instance in (unlucky, other):
        world.ec2.create_tags(instance.id, {"a": "1"})
    world.ec2.create_tags(unlucky.id, {"a": "2"})
    assert [(e.resources[0], e.detail["tags"]) for e in world.events] == [
        (other.arn, {"a": "1"}),
        (unlucky.arn, {"a": "2"}),
    ]


# ---- attach ----


def test_attach_refuses_an_instance_that_has_an_association_even_of_the_same_profile(world: FakeAccount) -> None:
    instance_id = world.associated().instance_id
    assert refusal(lambda: world.ec2.associate(instance_id, "web")) == (
        "IncorrectState",
        f"There is an existing association for instance {instance_id}",
    )


def test_attach_to_an_unknown_instance_is_refused(world: FakeAccount) -> None:
    assert refusal(lambda: world.ec2.associate("i-00000000", "web"))[0] == "InvalidInstanceID.NotFound"


def test_a_profile_given_at_launch_makes_an_association_that_nobody_asked_for(world: FakeAccount) -> None:
    instance = world.ec2.launch(profile="web")
    world.wait(2)
    assert [(r.profile_id, r.state) for r in world.rows(instance.id)] == [("AIPAWEB", "associated")]


# ---- profiles that EC2 refuses ----


def test_a_profile_made_just_now_is_refused_for_three_seconds_as_if_it_were_missing(world: FakeAccount) -> None:
    instance = world.running()
    arn = world.profile("new", made_now=True).arn
    for reference, kind, noun in (("new", "name", "name"), (arn, "arn", "ARN"), ("none", "name", "name")):
        code, message = refusal(partial(world.ec2.associate, instance.id, reference))
        assert code == "InvalidParameterValue"
        value = f"Value ({reference}) for parameter iamInstanceProfile.{kind} is invalid."
        assert message == f"{value} Invalid IAM Instance Profile {noun}"
    world.wait(3)
    assert world.ec2.associate(instance.id, "new").profile_arn == arn


def test_a_profile_without_a_role_is_refused(world: FakeAccount) -> None:
    world.profile("empty", roles=())
    code, message = refusal(lambda: world.ec2.associate(world.running().id, "empty"))
    assert code == "InvalidParameterValue"
    assert message.endswith("has no associated IAM Roles")


# ---- replace ----


def test_a_replace_makes_a_new_association_id_and_the_old_one_is_dead(world: FakeAccount) -> None:
    old = world.associated()
    new = world.ec2.replace(old.id, "db")
    assert new.id != old.id
    assert (new.state, new.profile_id) == ("associating", "AIPADB")
    assert [r.id for r in world.rows(old.instance_id)] == [new.id]
    assert refusal(lambda: world.ec2.replace(old.id, "web")) == (
        "IncorrectState",
        f"The association {old.id} is not the active association",
    )


def test_a_replace_is_refused_while_stopping_for_the_state_and_when_stopped_as_not_active(world: FakeAccount) -> None:
    row = world.associated()
    world.ec2.stop(row.instance_id)
    assert refusal(lambda: world.ec2.replace(row.id, "db"))[0] == "IncorrectInstanceState"
    world.wait(2)
    assert refusal(lambda: world.ec2.replace(row.id, "db")) == (
        "IncorrectState",
        f"The association {row.id} is not the active association",
    )
    assert refusal(lambda: world.ec2.replace("iip-assoc-0", "db"))[0] == "InvalidAssociationID.NotFound"


# ---- detach ----


def test_a_detach_keeps_the_id_while_disassociating_and_then_the_row_is_gone(world: FakeAccount) -> None:
    row = world.associated()
    assert world.ec2.disassociate(row.id).state == "disassociating"
    assert [(r.id, r.state) for r in world.rows(row.instance_id)] == [(row.id, "disassociating")]
    world.wait(0.2)
    assert world.rows(row.instance_id) == []
    assert world.ec2.associate(row.instance_id, "db").state == "associating"


@pytest.mark.parametrize("seconds_later", [0.0, 1.0])
def test_a_second_detach_finds_nothing(world: FakeAccount, seconds_later: float) -> None:
    row = world.associated()
    world.ec2.disassociate(row.id)
    world.wait(seconds_later)
    assert refusal(lambda: world.ec2.disassociate(row.id))[0] == "InvalidAssociationID.NotFound"


def test_a_stopped_instance_can_be_detached_from_and_a_stopping_one_cannot(world: FakeAccount) -> None:
    row = world.associated()
    world.ec2.stop(row.instance_id)
    assert refusal(lambda: world.ec2.disassociate(row.id))[0] == "IncorrectInstanceState"
    world.wait(2)
    assert world.ec2.disassociate(row.id).id == row.id


def test_a_terminated_instance_loses_its_association(world: FakeAccount) -> None:
    row = world.associated()
    world.ec2.terminate(row.instance_id)
    world.wait(1)
    assert world.rows(row.instance_id) == []


# ---- describe ----


def test_associations_are_found_by_instance_by_id_and_by_state(world: FakeAccount) -> None:
    first, second = world.associated(), world.ec2.associate(world.running().id, "db")
    assert world.rows(first.instance_id) == [first]
    assert world.ec2.describe_associations(association_ids=[second.id])[0] == [second]
    assert world.ec2.describe_associations(filters=[("state", ["associating"])])[0] == [second]
    assert world.ec2.describe_associations()[0] == [first, second]


def test_a_filter_on_an_unknown_instance_finds_nothing_and_is_no_error(world: FakeAccount) -> None:
    assert world.rows("i-00000000") == []
    assert world.ec2.describe_instances(filters=[("instance-id", ["i-00000000"])]) == ([], None)


def test_an_empty_filter_is_refused_and_so_are_too_many_or_too_long_values(world: FakeAccount) -> None:
    many = [f"i-{n:08x}" for n in range(201)]
    for describe in (world.ec2.describe_associations, world.ec2.describe_instances):
        for name, values, code in (
            ("instance-id", [], "InvalidParameterValue"),
            ("instance-id", many, "FilterLimitExceeded"),
            ("instance-id", ["x" * 256], "InvalidParameterValue"),
            ("no-such", ["x"], "InvalidParameterValue"),
        ):
            assert refusal(partial(describe, filters=[(name, values)]))[0] == code
        assert describe(filters=[("instance-id", many[:200])])[0] == []


def test_pages_follow_each_other_to_the_end_even_when_an_instance_comes_meanwhile(world: FakeAccount) -> None:
    launched = [world.ec2.launch().id for _ in range(5)]
    first, token = world.ec2.describe_instances(max_results=2)
    launched.append(world.ec2.launch().id)
    rest = []
    while token:
        page, token = world.ec2.describe_instances(max_results=2, next_token=token)
        rest += page
    assert [i.id for i in first + rest] == launched


def test_a_made_up_page_token_is_refused(world: FakeAccount) -> None:
    code, message = refusal(lambda: world.ec2.describe_instances(next_token="?"))
    assert code == "InvalidParameterValue"
    assert message == "Value (?) for parameter NextToken is invalid. The token is invalid."


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("web-*", ["web-1", "web-*"]),
        ("web-?", ["web-1", "web-*"]),
        (r"web-\*", ["web-*"]),
        (r"a\\b", [r"a\b"]),
        ("WEB-1", []),
        ("", [""]),
    ],
)
def test_a_tag_filter_knows_wildcards_and_their_escapes(world: FakeAccount, pattern: str, found: list[str]) -> None:
    for value in ("web-1", "web-*", r"a\b", ""):
        world.running(workload=value)
    rows, _ = world.ec2.describe_instances(filters=[("tag:workload", [pattern])])
    assert [r.tags["workload"] for r in rows] == found


def test_instances_are_found_by_state_tag_key_and_profile(world: FakeAccount) -> None:
    row = world.associated()
    tagged = world.ec2.launch(tags={"workload": ""})
    assert [i.id for i in world.ec2.describe_instances(filters=[("instance-state-name", ["pending"])])[0]] == [
        tagged.id
    ]
    assert [i.id for i in world.ec2.describe_instances(filters=[("tag-key", ["workload"])])[0]] == [tagged.id]
    by_profile = world.ec2.describe_instances(filters=[("iam-instance-profile.arn", [row.profile_arn])])[0]
    assert [i.id for i in by_profile] == [row.instance_id]
