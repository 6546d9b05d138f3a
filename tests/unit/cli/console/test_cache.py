"""What all tabs look at together: several that ask at once read it once, and wait for a failure once."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from fakes.clock import Clock
from rolekeeper_cli.console.cache import Cache


def test_what_takes_long_is_read_less_often() -> None:
    clock, reads = Clock(), list[float]()

    def read() -> int:
        reads.append(clock.seconds)
        clock.seconds += 3
        return len(reads)

    cache = Cache(clock=lambda: clock.seconds)
    while clock.seconds < 60:
        cache.get("", read, 2)
        clock.seconds += 0.5
    assert len(reads) == 4, "a fifth of the time"


def test_of_what_is_kept_the_oldest_goes() -> None:
    cache = Cache(most=2)
    assert [cache.known(each) for each in [*map(cache.keep, "abc")]] == [None, "b", "c"]


def test_ten_tabs_wait_for_an_aws_that_doesnt_answer_no_longer_than_one() -> None:
    many, together, reads = 10, Barrier(10), list[int]()

    def read() -> int:
        reads.append(1)
        time.sleep(0.5)  # until all have asked
        raise ValueError("unreachable")

    cache = Cache()

    def asks(_number: int) -> str:
        together.wait(timeout=10)
        try:
            cache.get("", read)
        except ValueError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(many) as threads:
        assert list(threads.map(asks, range(many))) == ["unreachable"] * many
    assert len(reads) == 1


@pytest.mark.parametrize("stale", [True, False])
def test_while_one_reads_the_others_have_what_was_or_wait(*, stale: bool) -> None:
    reads, goes_on, clock = Event(), Event(), Clock()
    cache = Cache(clock=lambda: clock.seconds)
    assert cache.get("", lambda: 1, 2) == 1
    clock.seconds = 2

    def read() -> int:
        reads.set()
        assert goes_on.wait(timeout=10)
        return 2

    with ThreadPoolExecutor(2) as threads:
        reading = threads.submit(cache.get, "", read, 2)
        assert reads.wait(timeout=10)
        asking = threads.submit(cache.get, "", read, 2, stale=stale)
        if stale:
            assert asking.result(timeout=10) == 1
        goes_on.set()
        assert reading.result(timeout=10) == 2
        assert asking.result(timeout=10) == (1 if stale else 2)


def test_what_is_a_minute_old_is_given_at_once_while_another_thread_reads_and_older_is_waited_for() -> None:
    clock, reads = Clock(), list[Callable[[], None]]()
    cache = Cache(clock=lambda: clock.seconds, beside=reads.append)

    def asks() -> int:
        return cache.get("", lambda: int(clock.seconds), 2, stale=True)

    begun = asks()
    clock.seconds += 50
    assert (asks(), len(reads)) == (begun, 1)
    reads.pop()()
    assert (asks(), len(reads)) == (begun + 50, 0)
    clock.seconds += 70
    assert (asks(), len(reads)) == (begun + 120, 0)


def test_what_another_thread_cant_read_is_raised_for_the_next_one_who_asks() -> None:
    clock, reads, broken = Clock(), list[Callable[[], None]](), list[int]()
    cache = Cache(clock=lambda: clock.seconds, beside=reads.append)

    def read() -> int:
        if broken:
            raise ValueError("unreachable")
        return 1

    assert cache.get("", read, 2, stale=True) == 1
    clock.seconds += 3
    broken.append(1)
    assert cache.get("", read, 2, stale=True) == 1
    reads.pop()()
    with pytest.raises(ValueError, match="unreachable"):
        cache.get("", read, 2, stale=True)
