"""Runs code against deliberate faults: each in a process that has imported the libraries, and nothing of Rolekeeper."""

import contextlib
import io
import multiprocessing
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.metadata import entry_points

import hypothesis
import pytest
from hypothesis import Phase

from simulation.mutants import ROOT, Mutant, become

# Forked from a process that has these, a mutant needs no second of its own to import them.
LIBRARIES = [
    *("aws_lambda_powertools", "boto3", "click", "cryptography.x509", "hypothesis", "jinja2", "moto.dynamodb"),
    *("moto.iam", "moto.sqs", "pytest", "rich.table", "starlette.testclient", "support.aws_models"),
    # And the plugins that pytest loads.
    *(each.module for each in entry_points(group="pytest11")),
]
# Seconds: a mutant with which a test hangs is found by it; one that hangs otherwise is one that nobody killed.
HANGS, TIMEOUT = 120, 600


def each_in_a_fresh_process[T, R](function: Callable[[T], R], values: Sequence[T], jobs: int) -> Iterator[R]:
    """Call a function for each value; yields the results in the values' order.

    Raises:
        TimeoutError: no result came for `TIMEOUT` seconds.
    """
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(LIBRARIES)
    with processes.Pool(jobs, maxtasksperchild=1) as pool:
        results = pool.imap(function, values)
        for _ in values:
            yield results.next(TIMEOUT)


class _Failures:
    def __init__(self, likely: Collection[str]) -> None:
        self.tests: list[str] = []
        self._likely = likely

    def pytest_sessionstart(self) -> None:
        """Look for no smaller example than the first that fails: that takes a minute, and nobody reads it."""
        hypothesis.settings.register_profile("first", hypothesis.settings(), phases=[Phase.explicit, Phase.generate])
        hypothesis.settings.load_profile("first")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Begin with the tests that found it before."""
        items.sort(key=lambda item: item.nodeid.partition("[")[0] not in self._likely)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.when == "call":
            self.tests.append(report.nodeid)


def failing_tests(
    mutant: Mutant, tests: Sequence[str], likely: Collection[str] = (), *, whole: bool = False
) -> list[str]:
    """Run these tests with a mutant, in this process; return the first that fails, or `whole` the list of all.

    The tests in `likely`, which found it before, run first.

    Raises:
        RuntimeError: the tests can't be run.
    """
    become(mutant)
    failures, output = _Failures(likely), io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(output):
        # Nobody reads how a test failed; and to look for what was never awaited takes a fifth of a second.
        options = ["-q", "--tb=line", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]
        options += [f"--timeout={HANGS}", *([] if whole else ["-x"])]
        code = pytest.main([*options, *tests], plugins=[failures])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"{mutant.name!r}: {' '.join(tests)} can't be run:\n{output.getvalue()}")
    return failures.tests
