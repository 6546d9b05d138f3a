"""The port of a stack's console is kept for the next one, and believed only where nobody else can have changed it."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.console import ports, server
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.options import Options


class Machine:
    """Its ports: some are `taken`; the next free one is 5000."""

    def __init__(self) -> None:
        self.taken: set[int] = set()

    def create_server(self, address: tuple[str, int]) -> Mock:
        host, port = address
        assert host == "127.0.0.1"
        if port in self.taken:
            raise OSError(98, os.strerror(98))
        return Mock(getsockname=lambda: (host, port or 5000))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr("socket.create_server", made.create_server)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A port that was kept."""
    made = tmp_path / "rolekeeper/console/name"
    assert ports.keep(made, 4321)
    return made


def starts(file: Path) -> tuple[int, bool]:
    """The port of a console that starts, and whether the next one has it too."""
    listening, lasts = server.listen_as_before(file)
    port: int = listening.getsockname()[1]
    return port, lasts


# ---- which port a console has ----


@pytest.mark.usefixtures("machine")
def test_the_first_port_is_any_and_stays_that_of_the_stack(tmp_path: Path) -> None:
    file = tmp_path / "state/name"
    assert starts(file) == (5000, True)
    ports.keep(file, 6000)
    assert starts(file) == (6000, True)


def test_where_the_port_is_taken_there_is_another_one_once(
    machine: Machine, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.taken.add(4321)
    assert starts(file) == (5000, False)
    assert "port 4321 of 127.0.0.1 can't be used: Address already in use" in capsys.readouterr().err
    machine.taken.clear()
    assert starts(file) == (4321, True), "it wasn't forgotten"


@pytest.mark.usefixtures("machine")
def test_a_port_that_cant_be_kept_is_used_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").touch()
    assert starts(tmp_path / "state/rolekeeper/name") == (5000, False)
    assert "can't be read" in capsys.readouterr().err
    assert not ports.keep(tmp_path / "state/rolekeeper/name", 5000)
    assert "isn't kept for the next one" in capsys.readouterr().err


@pytest.mark.usefixtures("terminal")
def test_each_account_region_stack_and_endpoint_has_a_file_of_its_own_in_the_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def named(region: str = "us-east-1", stack: str | None = None, endpoint: str | None = None) -> Path:
        return ports.file_of(Deployment(Options(region=region, stack=stack, endpoint_url=endpoint)))

    asked = named(), named("eu-west-1"), named(stack="other"), named(endpoint="http://127.0.0.1:1")
    assert len(set(asked)) == 4
    assert named() == asked[0]
    assert {each.parent for each in asked} == {tmp_path / "rolekeeper/console"}
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/ann")
    assert named().parent == Path("/home/ann/.local/state/rolekeeper/console")


# ---- whom it is believed from ----


def test_nobody_else_can_read_or_change_what_is_kept(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def put_a_link(file: Path) -> None:
    other = file.with_name("other")
    file.rename(other)
    file.symlink_to(other)


def put_a_linked_folder(file: Path) -> None:
    other = file.parent.with_name("elsewhere")
    file.parent.rename(other)
    file.parent.symlink_to(other)


def write(text: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(text)


ATTACKS: dict[str, Callable[[Path], object]] = {
    "a link": put_a_link,
    "a link in place of the folder": put_a_linked_folder,
    "anyone may write to the folder": lambda file: file.parent.chmod(0o777),
    "a group may write to the folder": lambda file: file.parent.chmod(0o770),
    "anyone may write the file": lambda file: file.chmod(0o666),
    "garbage": write(b"\0\xff garbage"),
    "nothing": write(b""),
    "a port of root's": write(b"443\n"),
    "no port": write(b"65536\n"),
    "a sign": write(b"+4321\n"),
    "other digits": write("".join(map(chr, range(0xFF11, 0xFF15))).encode()),
    "a long number": write(b"4" * 100_000),
    "a host": write(b"evil.example:4321\n"),
}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_what_others_may_have_written_is_neither_used_nor_changed(
    file: Path, attack: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    attack(file)
    before = file.read_bytes()
    assert starts(file) == (5000, False)
    assert f"to keep one: delete {file.parent}" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_what_another_user_owns_isnt_even_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    monkeypatch.setattr(Path, "read_text", Mock(side_effect=AssertionError))
    with pytest.raises(CommandError, match="can be changed by others"):
        ports.kept(file)


def test_a_link_in_the_place_of_the_next_port_is_replaced_and_not_followed(file: Path, tmp_path: Path) -> None:
    aim = tmp_path / "aim"
    aim.write_text("precious")
    file.unlink()
    file.symlink_to(aim)
    ports.keep(file, 5000)
    assert (aim.read_text(), file.is_symlink(), ports.kept(file)) == ("precious", False, 5000)
