"""What writes, called without the command: no context of click's is there, and nothing may be printed."""

from collections.abc import Iterator

import pytest

from fixtures.terminal import Terminal
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.options import Options


@pytest.fixture(autouse=True)
def roles(web_and_db: None) -> None:
    """Two roles are there."""


@pytest.fixture
def deployment(terminal: Terminal) -> Deployment:  # noqa: ARG001  # it is what AWS is asked through
    """The deployment over the desk, whose time passes as in the terminal."""
    return Deployment(Options())


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing is written to the terminal, whatever is done."""
    yield
    assert capfd.readouterr() == ("", "")
