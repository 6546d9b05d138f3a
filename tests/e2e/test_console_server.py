"""`rolekeeper console` as a process: it says its link once it listens, on loopback alone, and ends cleanly."""

import re
import signal
import subprocess
from pathlib import Path

import pytest

from fixtures.command import COMMAND
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import EmbeddedAws

pytestmark = pytest.mark.emulator


def test_it_listens_on_loopback_alone_until_a_signal_ends_it_as_ctrl_c_ends_every_command(
    deployed: EmulatedAccount, aws: EmbeddedAws, tmp_path: Path
) -> None:
    assert deployed.account
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path), **aws.env}
    line = [COMMAND, "console", "--no-browser"]
    with subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = process.stdout.readline()
            link = re.fullmatch(r"console: http://\w{16}\.localhost:(\d+)/enter/\S+\n", said)
            assert link, said
            port = f"{int(link[1]):04X}"
            table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
            listening = [address for _, address, _, state, *_ in table if state == "0A"]
            assert [each for each in listening if each.endswith(f":{port}")] == [f"0100007F:{port}"]
            assert f":{port}" not in Path("/proc/net/tcp6").read_text()
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, stdout) == (130, "")
    assert stderr.endswith("Stopped.\n")
    assert "Traceback" not in stderr
