"""What a person is shown and asked before anything changes, and what brings things back; EC2's own answer counts."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from fixtures.aws_cli import Aws, association, carries, roles_of
from fixtures.command import COMMAND, Command
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator

MANY = 26  # one more than may change without approval


@pytest.fixture(scope="module")
def rolekeeper(deployed: EmulatedAccount) -> Command:
    return Command(deployed.aws.env)


@pytest.fixture(scope="module")
def many(deployed: EmulatedAccount) -> Iterator[list[str]]:
    """Instances with the tag `traps=many`, more than may change without approval; no mapping is for them yet."""
    ids = [deployed.launch(f"traps-{number}", traps="many") for number in range(MANY)]
    eventually(lambda: all(deployed.state(each) == "running" for each in ids), 90)
    yield ids
    deployed.ec2.terminate_instances(InstanceIds=ids)
    eventually(lambda: all(deployed.state(each) == "terminated" for each in ids))


@pytest.fixture
def instance(deployed: EmulatedAccount) -> Iterator[str]:
    made = deployed.launch("trapped")
    eventually(lambda: deployed.state(made) == "running")
    yield made
    deployed.ec2.terminate_instances(InstanceIds=[made])


def shown(cli: Aws, value: str) -> set[str]:
    """The roles that EC2 shows on the instances with `traps=value`; an empty text for none."""
    return set(roles_of(cli, "traps", value).values())


# ---- shown and asked ----


def test_set_shows_what_would_happen_asks_and_follows_the_instances(
    rolekeeper: Command, deployed: EmulatedAccount, cli: Aws
) -> None:
    ids = [deployed.launch(f"few-{number}", traps="few") for number in range(2)]
    deployed.make_role("not-ours", path="/others/")
    foreign = eventually(partial(_launched_with, deployed, "not-ours"))
    eventually(lambda: all(deployed.state(each) == "running" for each in (*ids, foreign)))
    line = ("mapping", "set", "traps=few", "role=s3-read")

    said = rolekeeper.types("n", *line, code=1)
    assert "Instances: 2 to attach, 0 to replace, 0 to detach; 1 with a foreign role." in said
    assert "Permissions: gains s3:" in said
    assert "Write this into traps=few? [y/N]" in said
    assert (deployed.mapping("traps", "few"), shown(cli, "few")) == ({}, {"", "not-ours"})

    said = rolekeeper.types("y", *line, "--wait", code=1)
    assert "2 of 3 instances carry what they should; 1 stays as it is." in said
    assert [bool(carries(cli, each, "s3-read")) for each in ids] == [True, True]
    assert carries(cli, foreign, "not-ours")
    document = rolekeeper.json("wait", "--mapping", "traps=few", code=1)
    assert (document["done"], [each["instance"].split()[0] for each in document["stuck"]]) == (2, [foreign])

    said = rolekeeper.types("n", "mapping", "rm", "traps=few", code=1)
    assert "Delete traps=few and take the role from 2 instances? [y/N]" in said
    assert deployed.mapping("traps", "few")
    deployed.ec2.terminate_instances(InstanceIds=[foreign])
    eventually(lambda: deployed.state(foreign) == "terminated")
    said = rolekeeper.types("y", "mapping", "rm", "traps=few", "--wait")
    assert "2 of 2 instances carry what they should." in said
    assert [association(cli, each) for each in ids] == [None, None]
    deployed.ec2.terminate_instances(InstanceIds=ids)


def test_import_and_rollback_show_it_too(
    rolekeeper: Command, deployed: EmulatedAccount, cli: Aws, instance: str, tmp_path: Path
) -> None:
    deployed.tag(instance, traps="file")
    file = tmp_path / "mappings.yaml"
    file.write_text("mappings:\n- {tag_key: traps, tag_value: file, role: s3-read}\n")
    said = rolekeeper.types("n", "mapping", "import", str(file), code=1)
    assert "Instances: 1 to attach, 0 to replace, 0 to detach; 0 with a foreign role." in said
    assert association(cli, instance) is None
    rolekeeper.types("y", "mapping", "import", str(file), "--wait")
    assert carries(cli, instance, "s3-read")
    rolekeeper("mapping", "set", "traps=file", "role=s3-write", "--wait")
    assert carries(cli, instance, "s3-write")
    said = rolekeeper.types("y", "mapping", "rollback", "traps=file", "--wait")
    assert "Instances: 0 to attach, 1 to replace, 0 to detach; 0 with a foreign role." in said
    assert "Permissions: " in said
    assert carries(cli, instance, "s3-read")
    rolekeeper("mapping", "rm", "traps=file", "--yes", "--wait")
    assert association(cli, instance) is None


def test_attach_and_replace_ask_and_show_the_permissions(rolekeeper: Command, cli: Aws, instance: str) -> None:
    said = rolekeeper.types("n", "attach", instance, "s3-read", code=1)
    assert "Instances: 1 to attach, 0 to replace, 0 to detach; 0 with a foreign role." in said
    assert f"Attach: pin {instance} (trapped) to s3-read? [y/N]" in said
    stays(lambda: association(cli, instance) is None)
    rolekeeper.types("y", "attach", instance, "s3-read")
    assert carries(cli, instance, "s3-read")
    said = rolekeeper.types("n", "replace", instance, "s3-write", code=1)
    assert "1 to replace" in said
    assert "Permissions: gains s3:" in said
    assert carries(cli, instance, "s3-read")
    rolekeeper("replace", instance, "s3-write")
    assert carries(cli, instance, "s3-write"), "without a terminal it acts as it did"
    rolekeeper("release", instance)
    eventually(lambda: association(cli, instance) is None)


def test_pause_and_resume_show_what_waits_and_ask(
    rolekeeper: Command, deployed: EmulatedAccount, cli: Aws, instance: str
) -> None:
    said = rolekeeper.types("n", "pause", code=1)
    assert "Nothing changes from then on: Rolekeeper is paused." in said
    assert rolekeeper.json("mode")["paused"] is False
    rolekeeper.types("y", "pause", "--wait")
    try:
        assert rolekeeper.json("mode")["paused"] is True
        deployed.tag(instance, workload="s3-reader")
        said = rolekeeper.types("n", "resume", code=1)
        assert "Instances: 1 to attach, 0 to replace, 0 to detach" in said
        assert "They were withheld until now." in said
        assert association(cli, instance) is None
        said = rolekeeper.types("n", "mode", "observe", code=1)
        assert "Nothing else changes by that: Rolekeeper is paused." in said
    finally:
        rolekeeper("resume")
    eventually(lambda: carries(cli, instance, "s3-read"))


# ---- what is held ----


def test_a_held_edit_is_shown_beside_what_is_in_effect_and_discarded(
    rolekeeper: Command, deployed: EmulatedAccount, cli: Aws, many: list[str]
) -> None:
    said = rolekeeper.types("y", "mapping", "set", "traps=many", "role=s3-read", code=1)
    assert f"Instances: {MANY} to attach, 0 to replace, 0 to detach; 0 with a foreign role." in said
    assert "traps=many would be Held" in said
    assert "rolekeeper mapping discard traps=many drops that" in said
    row = " ".join(_line(rolekeeper("mapping", "ls").stdout, "traps=many").split())
    # Nothing of it is in effect yet.
    assert row.startswith("traps=many none (s3-read waits for approval)")
    assert "traps=many: none (s3-read waits for approval)" in rolekeeper("plan", "--instance", many[0]).stderr

    said = rolekeeper.types("y", "mapping", "discard", "traps=many")
    assert re.search(r"Discard the edit of traps=many \(revision \d+, Held\)\? \[y/N\]", said)
    assert "Discarded. The row is gone." in said
    assert deployed.mapping("traps", "many") == {}
    stays(lambda: shown(cli, "many") == {""}, 3)
    assert rolekeeper.json("mapping", "history", "traps=many")[0]["event"] == "Mapping Discarded"


@pytest.mark.usefixtures("many")
def test_a_held_deletion_is_approved_as_a_deletion_or_dropped(
    rolekeeper: Command, deployed: EmulatedAccount, cli: Aws
) -> None:
    rolekeeper("mapping", "set", "traps=many", "role=s3-read", code=1)
    said = rolekeeper.types("y", "mapping", "approve", "traps=many", "--wait")
    assert re.search(rf"Publish revision \d+ of traps=many, which changes {MANY} instances\? \[y/N\]", said)
    assert f"{MANY} of {MANY} instances carry what they should." in said
    assert re.search(rf"\r\S*\d+ of {MANY} instances carry what they should\S*\r", said), (
        "while it came, it said how far"
    )
    assert shown(cli, "many") == {"s3-read"}

    done = rolekeeper("mapping", "rm", "traps=many", "--yes", code=1)
    assert "rolekeeper mapping approve traps=many deletes it" in done.stderr
    row = " ".join(_line(rolekeeper("mapping", "ls").stdout, "traps=many").split())
    assert row.startswith("traps=many s3-read (its deletion waits for approval)")
    said = rolekeeper.types("y", "mapping", "rollback", "traps=many")
    assert re.search(r"Discard the deletion of traps=many \(revision \d+, Held\)\? \[y/N\]", said)
    eventually(partial(deployed.mapping_status, "traps", "many", "Published"), 20)
    stays(lambda: shown(cli, "many") == {"s3-read"}, 3)

    rolekeeper("mapping", "rm", "traps=many", "--yes", code=1)
    said = rolekeeper.types("y", "mapping", "approve", "traps=many", "--wait")
    assert f"Delete traps=many and take the role from {MANY} instances? [y/N]" in said
    assert "Deleted." in said
    assert "serve" not in said.lower()
    assert (deployed.mapping("traps", "many"), shown(cli, "many")) == ({}, {""})


@pytest.mark.usefixtures("many")
def test_of_an_approval_and_a_discard_at_the_same_moment_one_wins(
    rolekeeper: Command, deployed: EmulatedAccount, cli: Aws
) -> None:
    rolekeeper("mapping", "set", "traps=many", "role=s3-read", code=1)
    held = int(deployed.mapping("traps", "many")["held_revision"])
    with ThreadPoolExecutor(2) as pool:
        lines = [[COMMAND, "mapping", verb, "traps=many", "--yes"] for verb in ("approve", "discard")]
        run = partial(subprocess.run, env=rolekeeper.env, capture_output=True, text=True, timeout=120, check=False)
        approved, discarded = pool.map(run, lines)
    said = f"{approved.stderr}{discarded.stderr}"
    assert (approved.returncode == 0) != (discarded.returncode == 0), said
    if approved.returncode == 0:
        eventually(lambda: shown(cli, "many") == {"s3-read"}, 120)
        assert deployed.mapping("traps", "many")["status_revision"] == held
        rolekeeper("mapping", "rm", "traps=many", "--yes", code=1)
        rolekeeper("mapping", "approve", "traps=many", "--yes", "--wait")
    else:
        assert deployed.mapping("traps", "many") == {}
        stays(lambda: shown(cli, "many") == {""}, 3)


def test_a_rollback_undoes_a_rejected_edit_before_it_goes_back(
    rolekeeper: Command, deployed: EmulatedAccount, cli: Aws, instance: str
) -> None:
    deployed.tag(instance, traps="back")
    for role in ("s3-read", "s3-write"):
        rolekeeper("mapping", "set", "traps=back", f"role={role}", "--wait")
    rolekeeper("mapping", "set", "traps=back", "role=no-such-role", code=1)
    row = " ".join(_line(rolekeeper("mapping", "ls").stdout, "traps=back").split())
    assert row.startswith("traps=back s3-write (no-such-role is rejected)")
    rolekeeper("mapping", "rollback", "traps=back", "--yes")
    assert deployed.mapping("traps", "back")["role"] == "s3-write"
    assert carries(cli, instance, "s3-write")
    rolekeeper("mapping", "rollback", "traps=back", "--yes", "--wait")
    assert carries(cli, instance, "s3-read")
    rolekeeper("mapping", "rm", "traps=back", "--yes", "--wait")


# ---- what undoes it ----


@pytest.mark.parametrize("which", [0, 1])
def test_what_explain_says_undoes_it(
    rolekeeper: Command, deployed: EmulatedAccount, cli: Aws, instance: str, which: int
) -> None:
    """The mapping's edit gave it another role: each step that is named is taken, and brings the former one back."""
    key = f"traps=undo-{which}"
    deployed.tag(instance, traps=f"undo-{which}")
    for role in ("s3-read", "s3-write"):
        rolekeeper("mapping", "set", key, f"role={role}", "--wait")
    assert carries(cli, instance, "s3-write")
    document = rolekeeper.json("explain", instance, "--no-who")
    assert document["former"]["instance_profile"] == "s3-read"
    commands = [each["command"] for each in document["undo"]]
    assert commands == [f"rolekeeper mapping rollback {key} --to 1", f"rolekeeper replace {instance} s3-read"]
    words = shlex.split(commands[which])[1:]
    rolekeeper(*words, *(["--yes"] if words[0] == "mapping" else []))
    eventually(lambda: carries(cli, instance, "s3-read"))
    assert "before that" in rolekeeper("explain", instance, "--no-who").stdout
    if which:
        rolekeeper("release", instance)
    rolekeeper("mapping", "rm", key, "--yes")


def _launched_with(deployed: EmulatedAccount, profile: str) -> str:
    """An instance that was launched with a profile, once EC2 knows that; empty before."""
    try:
        return deployed.launch("foreign", traps="few", profile=profile)
    except ClientError as error:
        if "Invalid IAM Instance Profile name" not in str(error):
            raise
        return ""


def _line(text: str, begins: str) -> str:
    [line] = [each for each in text.splitlines() if each.startswith(begins)]
    return line
