"""From nothing to the first decision: a new process that gets one event, and gives one instance its role.

Ours as `sam build` ships it; the AWS SDK making the same calls; Cloud Custodian with a policy that does as much; the
SDK's signer over the standard library's HTTP. All talk to AWS on loopback.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from botocore import xform_name

from bench.calls import queued
from bench.deployed import function, written
from bench.programs import C7N, CHILDREN, STOCK, Bench, Program, Ran, bench, interleaved
from bench.rows import Row, Target
from bench.worlds import INSTANCE, ROLE, TAG
from fixtures.account import ACCOUNT, REGION

ROUNDS, IMPORT_ROUNDS = 15, 5
# The SDK's own packages, and what they bring.
SDK = {"boto3", "botocore", "s3transfer", "urllib3", "dateutil", "six"}
POWERTOOLS = {"aws_lambda_powertools", "jmespath", "typing_extensions"}
OURS = {"rolekeeper", "runtime", "on_instance_event"}
_IMPORT = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Processor time and the clock's, memory, calls, and the time of imports by package."""
    with bench() as aws, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs, calls = made(aws, folder)
        ran = interleaved(aws, programs, ROUNDS, lambda: aws.begin("one_instance"), say)
        ours = ran["ours"]
        for peer, limit in (("floor", 2.0), ("stock boto3", 0.55), ("c7n", 0.45)):
            against = _ms(ran[peer])
            yield Row(f"cold start, processor time, to {peer}", _ms(ours), "ms", against, peer, Target(limit))
        for peer in ("floor", "stock boto3", "c7n"):
            wall = [median(each.wall for each in ran[which]) * 1_000 for which in ("ours", peer)]
            # The function waits until EC2 shows the role; the others don't.
            yield Row(f"cold start, by the clock, to {peer}", wall[0], "ms", wall[1], peer)
        for peer in ("stock boto3", "c7n"):
            peaks = [median(each.peak for each in ran[which]) for which in ("ours", peer)]
            target = Target(46, "ours") if peer == "stock boto3" else None
            yield Row(f"memory after the first decision, to {peer}", peaks[0], "MB", peaks[1], peer, target)
        yield Row("calls of the first decision, to c7n", calls["ours"], "calls", calls["c7n"], "c7n, not following it")
        yield Row("cold start, of it Python's own start", _ms(ran["python"]), "ms")
        aws.begin("one_instance")
        for package, took in imports(aws, folder, say).items():
            yield Row(f"cold start, of it importing {package}", took, "ms")


def made(aws: Bench, folder: Path) -> tuple[dict[str, Program], dict[str, int]]:
    """The programs by name, those that repeat our calls from a first run; and how many calls ours and c7n make."""
    ours = function("OnInstanceEvent", written(folder, "events", [queued(INSTANCE)]))
    aws.begin("one_instance", keeps=True)
    aws.run(ours)
    calls = aws.calls()["made"]
    stock = [(each["service"], xform_name(each["operation"]), each["params"]) for each in calls]
    floor = [(each["service"], each["headers"], each["body"]) for each in calls]
    custodian = _custodian(folder)
    aws.begin("one_instance", keeps=True)
    aws.run(custodian)
    counted = {"ours": len(calls), "c7n": len(aws.calls()["made"])}
    programs = {
        "ours": ours,
        "stock boto3": _repeats(folder, "stock", stock),
        "c7n": custodian,
        "floor": _repeats(folder, "floor", floor),
        "python": Program(STOCK, ("-c", "pass")),
    }
    return programs, counted


def _repeats(folder: Path, name: str, calls: Any) -> Program:
    return Program(STOCK, ("-P", str(CHILDREN / f"{name}.py"), str(written(folder, name, calls))))


def _custodian(folder: Path) -> Program:
    """Cloud Custodian's function for the same: an instance that runs and has the tag gets the role."""
    key, _, value = TAG.partition("=")
    policy = {
        "name": "web",
        "resource": "aws.ec2",
        "mode": {"type": "ec2-instance-state", "events": ["running"]},
        "filters": [{f"tag:{key}": value}],
        "actions": [{"type": "set-instance-profile", "name": ROLE}],
    }
    options = {"account_id": ACCOUNT, "output_dir": "/tmp", "metrics_enabled": False, "tracer": "default"}  # noqa: S108  # Lambda's
    written(folder, "config", {"execution-options": options, "policies": [policy]})
    event = {
        "source": "aws.ec2",
        "detail-type": "EC2 Instance State-change Notification",
        "account": ACCOUNT,
        "region": REGION,
        "detail": {"instance-id": INSTANCE, "state": "running"},
    }
    events = written(folder, "custodian", [event])
    return Program(C7N, ("-P", str(CHILDREN / "c7n_lambda.py"), str(events)), cwd=folder)


def imports(aws: Bench, folder: Path, say: Callable[[str], None]) -> Mapping[str, float]:
    """Milliseconds that our function's imports take by whose they are, the median of some runs; by the clock."""
    program = function("OnInstanceEvent", folder / "events.json", "-X", "importtime")
    runs = []
    for number in range(IMPORT_ROUNDS):
        say(f"imports {number + 1} of {IMPORT_ROUNDS}")
        aws.begin("one_instance")
        aws.run(program)
        runs.append(by_package(aws.said()))
    packages = sorted(set(chain.from_iterable(runs)))
    return {each: median(run[each] for run in runs) for each in packages}


def by_package(said: str) -> Counter[str]:
    """Milliseconds by whose module it is, of what `python -X importtime` says."""
    found: Counter[str] = Counter()
    for microseconds, module in _IMPORT.findall(said):
        package = module.partition(".")[0]
        kinds = {"the SDK": SDK, "Powertools": POWERTOOLS, "our own": OURS}
        whose = next((kind for kind, names in kinds.items() if package in names), "the standard library")
        found[whose] += int(microseconds) / 1_000  # type: ignore[assignment]  # a Counter adds whatever it is given
    return found


def _ms(runs: list[Ran]) -> float:
    return median(each.cpu for each in runs) * 1_000
