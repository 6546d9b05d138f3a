"""explain's "to undo": each step is taken, and the instance carries again what it carried before."""

from shlex import split
from typing import Any

import pytest

from fixtures.account import refusing
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper.settings import Limits

THEIRS = "arn:aws:iam::123456789012:instance-profile/the,irs"

pytestmark = pytest.mark.usefixtures("web_and_db")


def explained(terminal: Terminal, instance: str) -> dict[str, Any]:
    document = terminal.document("explain", instance, "--no-uptake")
    return {"former": document["former"], "undo": [each["command"] for each in document["undo"]]}


def take(terminal: Terminal, desk: Desk, command: str) -> None:
    """Do what a step says, and let Rolekeeper look."""
    words = split(command.replace(r"\,", ","))
    world = desk.world
    match words[:3]:
        case ["aws", "ec2", "delete-tags"]:
            world.untag(words[4], words[6].removeprefix("Key="))
        case ["aws", "ec2", "create-tags"]:
            key, _, value = words[6].removeprefix("Key=").partition(",Value=")
            world.tag(words[4], **{key: value})
        case ["aws", "ec2", "replace-iam-instance-profile-association"]:
            world.ec2.replace_iam_instance_profile_association(
                AssociationId=words[4], IamInstanceProfile={"Arn": words[6].removeprefix("Arn=")}
            )
            world.wait(3)
        case ["aws", "ec2", "associate-iam-instance-profile"]:
            world.attach_by_hand(words[4], words[6].rpartition("/")[2])
            world.wait(3)
        case ["rolekeeper", "mapping", _]:
            terminal.judges(words[3])
            ran = terminal(*words[1:], "--yes")
            assert ran.exit_code == 0, ran.output
        case ["rolekeeper", "detach", _]:
            assert terminal(*words[1:], "--confirm", "Detach", "--no-wait").exit_code == 0
        case _:
            ran = terminal(*words[1:], "--no-wait")
            assert ran.exit_code == 0, ran.output


def settle(desk: Desk, instance: str) -> None:
    for _ in range(3):
        desk.world.reconcile(instance)
        desk.world.wait(3)


def by_tag(_terminal: Terminal, desk: Desk) -> str:
    """Attached for its tag, by a mapping's only revision."""
    desk.edit("app=web", role="web")
    return desk.converged("web", app="web")


def by_another_tag(_terminal: Terminal, desk: Desk) -> str:
    """A mapping that comes first took it over from another one."""
    desk.edit("app=web", role="web")
    desk.edit("tier=gold", role="db", priority=5)
    instance = desk.converged("web", app="web")
    desk.world.tag(instance, tier="gold")
    return instance


def by_an_edit(terminal: Terminal, desk: Desk) -> str:
    """Its mapping was edited."""
    instance = by_tag(terminal, desk)
    desk.edit("app=web", role="db")
    return instance


def by_a_deletion(terminal: Terminal, desk: Desk) -> str:
    """Its mapping was deleted."""
    instance = by_tag(terminal, desk)
    desk.delete("app=web")
    desk.publish("app=web")
    return instance


def by_a_pin(terminal: Terminal, desk: Desk) -> str:
    """A person pinned it to another role."""
    instance = by_tag(terminal, desk)
    terminal("replace", instance, "db", "--no-wait")
    return instance


def by_a_detaching_pin(terminal: Terminal, desk: Desk) -> str:
    """A person took its role."""
    instance = by_tag(terminal, desk)
    terminal("detach", instance, "--confirm", "Detach", "--no-wait")
    return instance


def by_a_release(terminal: Terminal, desk: Desk) -> str:
    """A pin's end."""
    instance = by_a_pin(terminal, desk)
    settle(desk, instance)
    terminal("release", instance, "--no-wait")
    return instance


def while_its_tag_goes(terminal: Terminal, desk: Desk) -> str:
    """Its tag was removed."""
    instance = by_tag(terminal, desk)
    desk.world.untag(instance, "app")
    return instance


def kept_though_its_tag_went(_terminal: Terminal, desk: Desk) -> str:
    """It keeps the role without its tag: to remove the tag would bring nothing back."""
    desk.edit("app=web", role="web", when_unmatched="keep")
    return desk.converged("web", app="web")


def to_be_attached(_terminal: Terminal, desk: Desk) -> str:
    desk.edit("app=web", role="web")
    return desk.world.running(app="web")


def foreign_to_be_taken_over(terminal: Terminal, desk: Desk, role: str = "web") -> str:
    terminal.parameters["TakeOver"] = "true"
    desk.world.take_over = True
    desk.edit("app=web", role=role, when_occupied="replace")
    return desk.world.running(profile="the,irs", app="web")


DONE = {
    by_tag: ("", {"aws ec2 delete-tags", "rolekeeper mapping rm", "rolekeeper detach"}),
    by_another_tag: ("web", {"aws ec2 delete-tags", "rolekeeper mapping rm", "rolekeeper replace"}),
    by_an_edit: ("web", {"rolekeeper mapping rollback", "rolekeeper replace"}),
    by_a_deletion: ("web", {"rolekeeper mapping rollback", "rolekeeper attach"}),
    by_a_pin: ("web", {"rolekeeper release", "rolekeeper replace"}),
    by_a_detaching_pin: ("web", {"rolekeeper release", "rolekeeper attach"}),
    by_a_release: ("db", {"rolekeeper replace"}),
    while_its_tag_goes: ("web", {"rolekeeper attach"}),
    kept_though_its_tag_went: ("", {"rolekeeper detach"}),
}
TO_COME = {
    to_be_attached: ("", {"aws ec2 delete-tags", "rolekeeper detach"}),
    while_its_tag_goes: ("web", {"rolekeeper replace"}),
    foreign_to_be_taken_over: ("the,irs", {"aws ec2 delete-tags", "aws ec2 create-tags"}),
}


def words_of(command: str) -> str:
    words = command.split()
    return " ".join(words[: 3 if words[1] in {"ec2", "mapping"} else 2])


@pytest.mark.parametrize(
    ("stories", "story", "step"),
    [(stories, story, step) for stories in (DONE, TO_COME) for story in stories for step in sorted(stories[story][1])],
)
def test_each_step_brings_back_what_was_there_or_keeps_what_a_coming_change_would_take(
    terminal: Terminal, desk: Desk, stories: Any, story: Any, step: str
) -> None:
    before, steps = stories[story]
    instance = story(terminal, desk)
    if stories is DONE:
        settle(desk, instance)
        assert desk.world.carries(instance) != before
    told = explained(terminal, instance)
    assert (told["former"]["instance_profile"] or "", bool(told["former"]["until"])) == (before, stories is DONE)
    commands = {words_of(each): each for each in told["undo"]}
    assert commands.keys() == steps
    take(terminal, desk, commands[step])
    settle(desk, instance)
    assert desk.world.carries(instance) == before


@pytest.mark.parametrize(
    ("role", "then"),
    [
        ("web", ["aws ec2 replace-iam-instance-profile-association"]),
        ("NONE", ["aws ec2 delete-tags", "aws ec2 associate-iam-instance-profile"]),
    ],
)
def test_a_foreign_role_that_was_taken_over_is_put_back_by_hand_and_then_left_alone(
    terminal: Terminal, desk: Desk, role: str, then: list[str]
) -> None:
    instance = foreign_to_be_taken_over(terminal, desk, role)
    settle(desk, instance)
    assert desk.world.carries(instance) == role.replace("NONE", "")
    told = explained(terminal, instance)
    assert told["former"]["profile_arn"] == THEIRS
    assert [words_of(each) for each in told["undo"]] == ["aws ec2 create-tags", *then]
    assert r"the\,irs" in told["undo"][-1], "the AWS CLI's shorthand takes a bare comma for its own"
    for each in told["undo"]:
        take(terminal, desk, each)
    settle(desk, instance)
    assert desk.world.carries(instance) == "the,irs"


def test_a_rollback_that_waits_already_isnt_named(terminal: Terminal, desk: Desk) -> None:
    instance = by_an_edit(terminal, desk)
    settle(desk, instance)
    desk.limits = Limits(0, 0)
    desk.edit("app=web", role="web")
    assert desk.row("app=web")["status"] == "Held"
    assert [words_of(each) for each in explained(terminal, instance)["undo"]] == ["rolekeeper replace"]


def test_where_iam_doesnt_say_whether_the_role_can_be_given_no_step_asks_for_it(terminal: Terminal, desk: Desk) -> None:
    instance = by_an_edit(terminal, desk)
    settle(desk, instance)
    for operation in ("GetRole", "GetInstanceProfile"):
        desk.world.calls.before(operation, refusing("AccessDenied"))
    assert explained(terminal, instance)["undo"] == []


def test_what_another_actor_attached_is_nothing_of_ours_to_undo(terminal: Terminal, desk: Desk) -> None:
    instance = by_tag(terminal, desk)
    desk.world.attach_by_hand(instance, "db")
    desk.world.tag(instance, **{"rolekeeper:ignore": "true"})
    assert explained(terminal, instance) == {"former": None, "undo": []}
