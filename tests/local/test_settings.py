"""The embedded AWS's settings, and what its command says when they are wrong."""

import socket
import subprocess
import sys

import pytest

from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws
from rolekeeper_local.settings import accounts_from, as_environment, port_from, timings_from


def test_the_port_is_4566_unless_moved() -> None:
    assert port_from({}) == 4566
    assert port_from({"ROLEKEEPER_LOCAL_PORT": "4611"}) == 4611


@pytest.mark.parametrize("text", ["no", "0", "65536", "-1", "4566.0"])
def test_what_is_no_port_is_refused_by_the_variables_name(text: str) -> None:
    with pytest.raises(ValueError, match=f"ROLEKEEPER_LOCAL_PORT must be a port number, not '{text}'"):
        port_from({"ROLEKEEPER_LOCAL_PORT": text})


def test_there_is_one_account_unless_it_says_more() -> None:
    assert [accounts_from(given) for given in ({}, {"ROLEKEEPER_LOCAL_ACCOUNTS": "3"})] == [1, 3]
    for text in ("0", "4", "many"):
        with pytest.raises(ValueError, match=f"ROLEKEEPER_LOCAL_ACCOUNTS must be 1 to 3, not '{text}'"):
            accounts_from({"ROLEKEEPER_LOCAL_ACCOUNTS": text})


def test_times_survive_the_way_through_the_environment() -> None:
    timings = Timings(pending=0.25, propagation=7)
    assert timings_from(as_environment(timings)) == timings


def test_what_is_no_time_is_refused_by_the_variables_name() -> None:
    with pytest.raises(ValueError, match="ROLEKEEPER_LOCAL_STOPPING_SECONDS must be a number of seconds, not 'soon'"):
        timings_from({"ROLEKEEPER_LOCAL_STOPPING_SECONDS": "soon"})


def test_the_command_tells_a_taken_port_in_one_line_and_fails() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "rolekeeper_local"],
            env={"ROLEKEEPER_LOCAL_PORT": str(port)},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    assert done.returncode == 1
    assert done.stdout == ""
    way_out = "stop what listens there, or choose another by --port or ROLEKEEPER_LOCAL_PORT"
    assert done.stderr == f"port {port} is taken: {way_out}\n"


def test_clients_heed_no_profile_endpoint_or_proxy_of_the_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_PROFILE", "work")
    client = EmbeddedAws(port=4599).session().client("ec2")
    assert client.meta.endpoint_url == "http://127.0.0.1:4599"
    assert client._endpoint.http_session._proxy_config.proxy_url_for("http://127.0.0.1") is None  # type: ignore[attr-defined]  # noqa: SLF001 - botocore tells no other way
