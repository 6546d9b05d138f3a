"""What all tabs look at together: several that ask at once read it once, and wait for a failure once."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from rolekeeper_cli.console.jobs import Recent
from rolekeeper_cli.console.pages.instance import Stories


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_is_read_again_once_it_is_old_or_forgotten() -> None:
    clock, numbers = Clock(), iter(range(10))
    recent = Recent(lambda: next(numbers), 2, clock)
    assert [recent.get(), recent.get()] == [0, 0]
    clock.now = 2
    assert recent.get() == 1
    recent.forget()
    assert recent.get() == 2


def test_what_takes_long_is_read_less_often() -> None:
    clock, reads = Clock(), list[float]()

    def read() -> int:
        reads.append(clock.now)
        clock.now += 3
        return len(reads)

    recent = Recent(read, 2, clock)
    while clock.now < 60:
        recent.get()
        clock.now += 0.5
    assert len(reads) == 4, "a fifth of the time"


def test_an_error_is_not_kept() -> None:
    fails = iter([True, False])

    def read() -> int:
        if next(fails):
            raise ValueError("no")
        return 5

    recent = Recent(read, 2)
    with pytest.raises(ValueError, match="no"):
        recent.get()
    assert recent.get() == 5


@pytest.mark.parametrize("shared", ["mappings", "story"])
def test_ten_tabs_wait_for_an_aws_that_doesnt_answer_no_longer_than_one(shared: str) -> None:
    many, together, reads = 10, Barrier(10), list[int]()

    def read() -> int:
        reads.append(1)
        time.sleep(0.5)  # until all have asked
        raise ValueError("unreachable")

    recent, stories = Recent(read, 2), Stories[int]()

    def asks(_number: int) -> str:
        together.wait(timeout=10)
        try:
            _ = recent.get() if shared == "mappings" else stories.get("i-1", 1, 1, read)
        except ValueError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(many) as threads:
        assert list(threads.map(asks, range(many))) == ["unreachable"] * many
    assert len(reads) == 1
