"""Acts on instances: what is refused, and what is done as the caller."""

from typing import Any

import pytest

from fakes.ec2 import client_error
from fixtures.mappings import Desk, session
from fixtures.terminal import Terminal
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper_cli.act import use as acts
from rolekeeper_cli.act.use import Act, Pin, Release, Start, Tag, Untag
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError

pytestmark = pytest.mark.usefixtures("web_and_db", "silence")

ID = "i-0123456789abcdef0"


class Account:
    """An instance in moto's EC2."""

    def __init__(self) -> None:
        self.ec2 = session().client("ec2")
        image = self.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        [made] = self.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
        self.id = made["InstanceId"]

    @property
    def shown(self) -> Any:
        """What EC2 shows of it."""
        return self.ec2.describe_instances(InstanceIds=[self.id])["Reservations"][0]["Instances"][0]

    @property
    def tags(self) -> dict[str, str]:
        return {each["Key"]: each["Value"] for each in self.shown.get("Tags", ())}


@pytest.fixture
def account(terminal: Terminal) -> Account:
    made = Account()
    terminal.clients["ec2"] = made.ec2
    return made


def do(deployment: Deployment, instance: str, act: Act) -> None:
    [one] = acts.plan(deployment, act, {instance: None}).planned
    one.place.write([one.now])


# What is done to an instance that is like this, the end of its refusal, and what to do instead.
REFUSALS = {
    "attach to a role": ("web", Pin("db", verb="attach"), "carries web already", "rolekeeper replace"),
    "attach the same": ("web", Pin("web", verb="attach"), "carries web already", "to have it kept"),
    "replace nothing": ("", Pin("web", verb="replace"), "carries no role", "rolekeeper attach"),
    "a foreign role": ("theirs", Pin("web"), "which Rolekeeper may not take away", "TakeOver=true"),
    "no role in place of a foreign one": ("theirs", Pin("NONE"), "which Rolekeeper may not take away", "by hand"),
    "a node's role": ("eks-1", Pin("web"), "which Rolekeeper may not take away", "NodeClass"),
    "a managed instance": ("", Pin("web"), "is managed by eks.amazonaws.com, and", "nothing"),
    "no pin": ("", Release(), "has no pin", "its tags rule"),
    "the same tag": ("", Tag("app", "x"), "has the tag app with this value already", "nothing was changed"),
    "no such tag": ("", Untag("team"), "has no tag team", "nothing was changed"),
    "a running instance": ("", Start(), "is running", "only a stopped instance can be started"),
}


@pytest.mark.parametrize(("profile", "act", "why", "instead"), REFUSALS.values(), ids=REFUSALS)
def test_one_is_refused_in_the_words_in_which_of_many_it_is_left_out(
    deployment: Deployment, desk: Desk, profile: str, act: Act, why: str, instead: str
) -> None:
    one, other = (desk.world.running(profile=profile or None, app="x", Name=name) for name in ("one", "other"))
    if "managed" in why:
        one, other = (desk.world.truth.launch(tags={"Name": "one"}, operator="eks.amazonaws.com").id for _ in range(2))
    with pytest.raises(CommandError) as refused:
        acts.plan(deployment, act, {one: None})
    assert refused.value.what.startswith(f"{one} (one) ")
    assert why in refused.value.what
    assert instead in str(refused.value.remedy)
    plan = acts.plan(deployment, act, {one: None, other: None})
    assert [left.id for left in plan.left_out] == [one, other]
    assert {f"{one} (one) {left.why.removeprefix('it ')}" for left in plan.left_out} == {refused.value.what}


# ---- as the caller, over moto's EC2 ----


def test_a_tag_is_set_changed_and_removed(deployment: Deployment, account: Account) -> None:
    do(deployment, account.id, Tag("workload", "web"))
    do(deployment, account.id, Tag("owner", ""))
    assert account.tags == {"workload": "web", "owner": ""}
    do(deployment, account.id, Tag("workload", "db"))
    do(deployment, account.id, Untag("owner"))
    do(deployment, account.id, Tag("k" * 128, "v" * 256))
    assert account.tags == {"workload": "db", "k" * 128: "v" * 256}


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("", "web", "can't be empty"),
        (" ", "web", "can't be empty"),
        ("k" * 129, "web", "at most 128 characters, not 129"),
        ("workload", "v" * 257, "at most 256 characters, not 257"),
        ("aws:autoscaling:groupName", "web", "are AWS's own"),
        ("AWS:x", "web", "are AWS's own"),
    ],
    ids=["no key", "blanks", "a long key", "a long value", "AWS's", "AWS's, in capitals"],
)
def test_what_ec2_wouldnt_take_isnt_asked(deployment: Deployment, key: str, value: str, why: str) -> None:
    # The desk's own EC2 has no such instance, and would say that.
    with pytest.raises(UsageError, match=why):
        do(deployment, ID, Tag(key, value))
    if key != "workload":
        with pytest.raises(UsageError, match=why):
            do(deployment, ID, Untag(key))


def test_a_stopped_instance_is_started(deployment: Deployment, account: Account) -> None:
    account.ec2.stop_instances(InstanceIds=[account.id])
    assert account.shown["State"]["Name"] == "stopped"
    do(deployment, account.id, Start())
    assert account.shown["State"]["Name"] == "running"


def test_a_missing_permission_is_named(
    deployment: Deployment, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise client_error("UnauthorizedOperation", "not allowed")

    do(deployment, account.id, Tag("workload", "db"))
    account.ec2.stop_instances(InstanceIds=[account.id])
    for operation in ("create_tags", "delete_tags", "start_instances"):
        monkeypatch.setattr(account.ec2, operation, refuse)
    for action, act in (
        ("ec2:CreateTags", Tag("workload", "web")),
        ("ec2:DeleteTags", Untag("workload")),
        ("ec2:StartInstances", Start()),
    ):
        with pytest.raises(AccessDeniedError) as refused:
            do(deployment, account.id, act)
        assert refused.value.action == action
        assert refused.value.resource == f"arn:aws:ec2:us-east-1:123456789012:instance/{account.id}"
