"""One embedded AWS for a file of tests, where nothing takes its time; a file that needs another makes its own."""

from collections.abc import Iterator
from socket import socket

import pytest

from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    timings = Timings(pending=0, propagation=0)
    with EmbeddedAws(port=port, timings=timings, directory=tmp_path_factory.mktemp("aws")) as embedded:
        yield embedded
