"""One embedded AWS for most files, where nothing takes its time; a file that needs another makes its own."""

from collections.abc import Iterator

import pytest

from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import EmbeddedAws
from support.ports import free_port


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    timings, directory = Timings(pending=0, propagation=0, recording=0), tmp_path_factory.mktemp("aws")
    with EmbeddedAws(port=free_port(), timings=timings, directory=directory) as embedded:
        yield embedded
