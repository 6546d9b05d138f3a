"""Acts on instances: what is refused, and what is done as the caller."""

import pytest

from fixtures.account import refusing
from fixtures.mappings import Desk
from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper_cli.act import use as acts
from rolekeeper_cli.act.use import Act, Pin, Release, Start, Tag, Untag
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError

pytestmark = pytest.mark.usefixtures("web_and_db", "silence")

ID = "i-0123456789abcdef0"


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


# ---- as the caller ----


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


def test_a_tag_may_be_as_long_as_ec2_takes_it(deployment: Deployment, desk: Desk) -> None:
    one = desk.world.running()
    do(deployment, one, Tag("k" * 128, "v" * 256))
    assert desk.world.truth.instance(one).tags == {"k" * 128: "v" * 256}


@pytest.mark.parametrize(
    ("act", "operation"), [(Tag("app", "db"), "CreateTags"), (Untag("app"), "DeleteTags"), (Start(), "StartInstances")]
)
def test_a_missing_permission_is_named(deployment: Deployment, desk: Desk, act: Act, operation: str) -> None:
    one = desk.world.running(app="web")
    desk.world.stop(one)
    desk.world.calls.before(operation, refusing("UnauthorizedOperation", "not allowed", status=403))
    with pytest.raises(AccessDeniedError) as refused:
        do(deployment, one, act)
    assert refused.value.action == f"ec2:{operation}"
    assert refused.value.resource == f"arn:aws:ec2:us-east-1:123456789012:instance/{one}"
