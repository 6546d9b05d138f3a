"""The console over 10,000 instances, as a process: how soon it shows each page, and what it takes after that.

A page is painted once it shows what it is about, as it is or as it was known last. It is cold in a console that has
just handed out its link, and reads the fleet; warm, once that was read, and the page was asked for before.

AWS answers on loopback, in a process of its own: the memory is the console's alone. The time that AWS takes to
make its answers is in the first page's, and in the whole read's.
"""

import re
import subprocess
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlsplit

from bench.commands import PYTHON
from bench.programs import Bench, bench
from bench.rows import Row, Target

INSTANCES, FOREIGN, ROWS = 10_000, 200, 500
FIRST_PAGE_MS, PAINT_MS, LATER_MS, MEMORY_MB = 3_000, 300, 50, 300
ROUNDS, POLLED_SECONDS, TABS = 20, 30, 10
PATIENCE_SECONDS, LOOK_SECONDS = 600.0, 0.1
PAGES = {"the first page": "/", "the last page": "/?page=100", "a page that is filtered": "/?q=tag:app%3Dapp-7"}
# Pages, and what of AWS's answers each has to show.
PAINTED = {
    "the fleet": ("/", 'href="/instance/i-'),
    "an instance": ("/instance/i-00000000000000007", "role-7"),
    "the mappings": ("/mappings", "app=app-1"),
    "a mapping": ("/mapping?key=app&value=app-7", "role-7"),
    "the roles": ("/roles", "role-1"),
    "a role": ("/role/role-7", "app=app-7"),
    "the settings": ("/settings", "enforce"),
    "the plan of a pause": ("/settings/switch?what=pause", "Pause Rolekeeper"),
}


class Tab:
    """A browser's tab: it has the cookie that the link is changed for."""

    def __init__(self, link: str) -> None:
        address = urlsplit(link)
        assert address.port
        self._connection = HTTPConnection("127.0.0.1", address.port, timeout=60)
        self._headers = {"Host": address.netloc}
        entered = self._get(address.path)
        self._headers["Cookie"] = str(entered.getheader("Set-Cookie")).partition(";")[0]
        entered.read()

    def shows(self, path: str) -> tuple[int, str, float]:
        """Status and text of a page, and the milliseconds that it took."""
        began = time.perf_counter()
        answer = self._get(path)
        text = answer.read().decode()
        return answer.status, text, (time.perf_counter() - began) * 1_000

    def _get(self, path: str) -> HTTPResponse:
        self._connection.request("GET", path, headers=self._headers)
        return self._connection.getresponse()


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """The first page, the pages after it, the memory, and the calls to EC2."""
    with bench() as aws:
        aws.begin("fleet", instances=INSTANCES, rows=ROWS, foreign=FOREIGN)
        opened, *cold = zip(*(_cold(aws, start, say) for start in range(ROUNDS)), strict=True)
        yield Row("console, from the command to the fleet's first paint, median", median(opened), "ms")
        yield from _painted("cold", cold)
        with console(aws) as (tab, process):
            yield from _rows(aws, tab, process, say)


def _cold(aws: Bench, start: int, say: Callable[[str], None]) -> list[float]:
    """Milliseconds from the command to its first page, and for each page."""
    say(f"the pages as it starts, {start + 1} of {ROUNDS}")
    began = time.perf_counter()
    with console(aws) as (tab, _):
        before = (time.perf_counter() - began) * 1_000
        painted = [_paint(tab, *page) for page in PAINTED.values()]
        return [before + painted[0], *painted]


def _paint(tab: Tab, path: str, wanted: str) -> float:
    """Milliseconds until a page shows this."""
    began = time.perf_counter()
    until(tab, path, wanted, {HTTPStatus.OK, HTTPStatus.ACCEPTED}, again=0.0)
    return (time.perf_counter() - began) * 1_000


def _painted(how: str, found: Iterable[Sequence[float]]) -> Iterator[Row]:
    """How soon each page was painted in most rounds, and in all but one of twenty; the goal is the latter's."""
    for name, times in zip(PAINTED, found, strict=True):
        yield Row(f"console, first paint of {name}, {how}, median", median(times), "ms")
        most = quantiles(times, n=20, method="inclusive")[-1]
        yield Row(f"console, first paint of {name}, {how}, p95", most, "ms", target=Target(PAINT_MS, "ours"))


@contextmanager
def console(aws: Bench) -> Iterator[tuple[Tab, int]]:
    """The command's console, as a process; and a tab that was let in."""
    typed = [str(PYTHON), str(PYTHON.parent / "rolekeeper"), "console", "--no-browser", "--port", "0"]
    env = {**aws.env, "PYTHONDONTWRITEBYTECODE": ""}
    with subprocess.Popen(typed, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as started:  # noqa: S603  # our own command
        try:
            assert started.stdout
            if not (line := started.stdout.readline()):
                raise RuntimeError(f"the console ended with {started.wait()}")
            yield Tab(line.split()[-1]), started.pid
        finally:
            started.terminate()


def _rows(aws: Bench, tab: Tab, process: int, say: Callable[[str], None]) -> Iterator[Row]:
    over = f"{INSTANCES:,} instances"
    say("the first page")
    began = time.perf_counter()
    until(tab, "/", 'href="/instance/i-')
    first = (time.perf_counter() - began) * 1_000
    yield Row(f"console, first page while {over} are read", first, "ms", target=Target(FIRST_PAGE_MS, "ours"))
    say("the whole fleet")
    until(tab, "/fleet/reads", "Read in full")
    yield Row(f"console, {over} read in full", time.perf_counter() - began, "s")
    for name, path in PAGES.items():
        say(name)
        took = median(tab.shows(path)[2] for _ in range(ROUNDS))
        yield Row(f"console, {name} from the cache, {over}", took, "ms", target=Target(LATER_MS, "ours"))
    say(f"{TABS} tabs")
    before, polled = _ec2_calls(aws), []
    for _ in range(POLLED_SECONDS):
        [version] = re.findall(r"version=(\d+)", until(tab, "/", "version="))[:1]
        polled += [tab.shows(f"/fleet/rows?version={version}") for _ in range(TABS)]
        time.sleep(1)
    quiet = [took for status, _, took in polled if status == HTTPStatus.NO_CONTENT]
    yield Row("console, a poll with nothing new", median(quiet), "ms")
    calls = (_ec2_calls(aws) - before) * 60 / POLLED_SECONDS
    yield Row(f"console, EC2 calls a minute, {TABS} tabs, nothing new", calls, "calls")
    say("the pages once they are known")
    rounds = [[_paint(tab, *page) for page in PAINTED.values()] for _ in range(ROUNDS + 1)][1:]
    yield from _painted("warm", zip(*rounds, strict=True))
    yield Row(f"console, its memory, {over}", _peak_mb(process), "MB", target=Target(MEMORY_MB, "ours"))


def until(
    tab: Tab, path: str, wanted: str, good: Container[int] = (HTTPStatus.OK,), *, again: float = LOOK_SECONDS
) -> str:
    """Ask for a page `again` until it shows this; a RuntimeError if it doesn't in time. Gives what it shows then."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        status, text, _ = tab.shows(path)
        if status in good and wanted in text:
            return text
        if time.monotonic() > deadline:
            raise RuntimeError(f"{path} doesn't show {wanted} within {PATIENCE_SECONDS:.0f} s; its status: {status}")
        time.sleep(again)


def _ec2_calls(aws: Bench) -> int:
    counted = aws.calls()["counted"]
    return sum(number for name, number in counted.items() if name.startswith(("DescribeInst", "DescribeIam")))


def _peak_mb(process: int) -> float:
    """The process's largest memory so far (proc(5), `VmHWM`)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) / 1024
