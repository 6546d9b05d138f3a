"""The installed command `rolekeeper`, as a process, against the embedded AWS."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fixtures.aws_cli import Aws, association, carries
from fixtures.command import COMMAND, Command
from rolekeeper_local.account import EmulatedAccount
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator

MANY = 26  # one more than may change without approval


@pytest.fixture(scope="module")
def rolekeeper(deployed: EmulatedAccount) -> Command:
    return Command(deployed.aws.env)


@pytest.fixture
def running(deployed: EmulatedAccount) -> Iterator[str]:
    """An instance that no mapping is for."""
    instance = deployed.launch("by-hand")
    eventually(lambda: deployed.state(instance) == "running")
    yield instance
    deployed.ec2.terminate_instances(InstanceIds=[instance])


# ---- mappings ----


def test_the_table_goes_into_a_file_and_back(rolekeeper: Command, deployed: EmulatedAccount, tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    rolekeeper("mapping", "export", "-o", str(file))
    again = rolekeeper("mapping", "import", str(file), "--prune", "--yes")
    assert (again.stdout, "Nothing to do" in again.stderr) == ("", True)

    document = yaml.safe_load(file.read_text())
    document["mappings"].append({"tag_key": "file", "tag_value": "a", "role": "s3-read", "accounts": ["000000000000"]})
    added = tmp_path / "added.yaml"
    added.write_text(yaml.safe_dump(document))
    rolekeeper("mapping", "validate", str(added))
    done = rolekeeper("mapping", "import", str(added), "--yes")
    assert "+ file=a  role=s3-read accounts=000000000000" in done.stdout
    assert "Published as written." in done.stderr
    [row] = [row for row in rolekeeper.json("mapping", "ls") if row["mapping"] == "file=a"]
    assert (row["status"], row["columns"]["accounts"]) == ("Published", ["000000000000"])

    done = rolekeeper("mapping", "import", str(file), "--prune", "--yes")
    assert "- file=a" in done.stdout
    assert not deployed.mapping("file", "a")
    removed, published, *_ = rolekeeper.json("mapping", "history", "file=a")
    assert (removed["event"], removed["claimed_by"]) == ("Mapping Removed", published["claimed_by"])
    assert removed["claimed_by"].startswith("arn:aws:")


def test_one_bad_row_and_nothing_is_written(rolekeeper: Command, deployed: EmulatedAccount, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "mappings:\n"
        "- {tag_key: bad-file, tag_value: a, role: s3-read}\n"
        "- {tag_key: bad-file, tag_value: b, role: x/y}\n"
    )
    done = rolekeeper("mapping", "import", str(file), "--yes", code=1)
    assert f"! {file}:3: bad-file=b: role: is 'x/y', which holds a path" in done.stderr
    assert not deployed.mapping("bad-file", "a")


def test_what_is_rejected_is_told_with_its_reason(rolekeeper: Command) -> None:
    done = rolekeeper("mapping", "set", "rejected=a", "role=no-such-role", code=1)
    assert "! rejected=a is Rejected: role 'no-such-role' doesn't exist" in done.stderr
    assert "rejected=a" in rolekeeper("mapping", "ls", "--status", "Rejected").stdout
    rolekeeper("mapping", "rm", "rejected=a", "--yes")


def test_a_rollback_brings_the_former_role_back(rolekeeper: Command, deployed: EmulatedAccount) -> None:
    rolekeeper("mapping", "set", "rolled=a", "role=s3-read")
    instance = deployed.launch("rolled", rolled="a")
    eventually(lambda: deployed.carries(instance, "s3-read"), 40)
    rolekeeper("mapping", "set", "rolled=a", "role=s3-write")
    eventually(lambda: deployed.carries(instance, "s3-write"))
    done = rolekeeper("mapping", "rollback", "rolled=a", "--yes")
    assert "    role: s3-write → s3-read" in done.stdout
    eventually(lambda: deployed.carries(instance, "s3-read"))
    assert rolekeeper.json("mapping", "get", "rolled=a")["status_revision"] == 3
    assert "role: s3-write → s3-read" in rolekeeper("mapping", "history", "rolled=a").stdout


def test_what_changes_many_is_held_until_it_is_approved(rolekeeper: Command, deployed: EmulatedAccount) -> None:
    ids = [deployed.launch(f"many-{number}", many="a") for number in range(MANY)]
    done = rolekeeper("mapping", "set", "many=a", "role=s3-read", code=1)
    assert f"! many=a is Held: it would attach {MANY}, replace 0 and detach 0 instances" in done.stderr
    held = rolekeeper.json("mapping", "get", "many=a")["held_revision"]
    assert held == 1
    rolekeeper("mapping", "approve", "many=a", "--revision", "7", "--yes", code=1)
    said = rolekeeper.types("y", "mapping", "approve", "many=a")
    assert f"Publish revision 1 of many=a, which changes {MANY} instances?" in said
    eventually(lambda: all(deployed.carries(each, "s3-read") for each in ids), 120)
    deployed.ec2.terminate_instances(InstanceIds=ids)
    eventually(lambda: all(deployed.state(each) == "terminated" for each in ids))
    rolekeeper("mapping", "rm", "many=a", "--yes")


# ---- one instance by hand ----


def test_attach_replace_and_detach_as_in_the_console(
    rolekeeper: Command, deployed: EmulatedAccount, cli: Aws, running: str
) -> None:
    rolekeeper("replace", running, "s3-read", code=1)
    first = rolekeeper("attach", running, "s3-read", "--for", "8h", "--reason", "incident 42")
    assert first.stdout.startswith(f"{running} (by-hand) is pinned to s3-read until ")
    shown = carries(cli, running, "s3-read")
    assert shown

    refused = rolekeeper("attach", running, "s3-write", code=1)
    assert f"to take that away: rolekeeper replace {running} s3-write" in refused.stderr
    rolekeeper("replace", running, "s3-write")
    replaced = carries(cli, running, "s3-write")
    assert replaced
    assert replaced["AssociationId"] != shown["AssociationId"]

    rolekeeper("detach", running, code=252)
    rolekeeper.types("detach", "detach", running, code=1)
    assert carries(cli, running, "s3-write")
    said = rolekeeper.types("Detach", "detach", running)
    assert "carries s3-write. Type Detach to go on" in said
    assert association(cli, running) is None

    deployed.tag(running, workload="s3-reader")
    stays(lambda: association(cli, running) is None)
    rolekeeper("release", running)
    eventually(lambda: carries(cli, running, "s3-read"))


def test_a_role_or_an_instance_that_isnt_there_is_told(rolekeeper: Command, running: str) -> None:
    assert "role 'nobody' doesn't exist" in rolekeeper("attach", running, "nobody", code=1).stderr
    assert "did you mean by-hand?" in rolekeeper("attach", "by-hnad", "s3-read", code=1).stderr


# ---- the switches ----


def test_paused_nothing_moves_and_resumed_everything_does(
    rolekeeper: Command, deployed: EmulatedAccount, running: str
) -> None:
    assert rolekeeper.json("mode") == {"mode": "enforce", "deployed": "enforce", "paused": False}
    try:
        assert "yes" in rolekeeper("pause").stdout
        done = rolekeeper("attach", running, "s3-read")
        assert "Nothing changes yet: Rolekeeper is paused" in done.stderr
        stays(lambda: deployed.shown(running) is None)
        rolekeeper("mode", "observe")
        assert rolekeeper.json("mode") == {"mode": "observe", "deployed": "enforce", "paused": True}
    finally:
        rolekeeper("mode", "deployed")
        rolekeeper("resume")
    eventually(lambda: deployed.carries(running, "s3-read"))
    rolekeeper("release", running)


# ---- how it ends ----


def test_every_kind_of_trouble_has_its_code(rolekeeper: Command) -> None:
    assert "see: rolekeeper mapping --help" in rolekeeper("mapping", "lss", code=252).stderr
    assert "give --yes" in rolekeeper("mapping", "rm", "a=b", code=252).stderr
    assert "there is no stack 'nosuch'" in rolekeeper("mapping", "ls", "--stack", "nosuch", code=253).stderr
    assert "Could not connect" in rolekeeper("mode", "--endpoint-url", "http://127.0.0.1:9", code=254).stderr
    for command in (["--help"], ["mapping", "--help"]):
        assert "Example" in rolekeeper(*command).stdout


def test_ctrl_c_ends_it_with_130(rolekeeper: Command) -> None:
    waiting = subprocess.Popen(
        [COMMAND, "mapping", "import", "-", "--format", "yaml", "--yes"],
        env=rolekeeper.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background jobs ignore it; a person's command doesn't.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509  # no threads here
    )
    with waiting:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                waiting.wait(2)
            waiting.send_signal(signal.SIGINT)
            assert waiting.wait(20) == 130
        finally:
            waiting.kill()
