"""What a month and a million events cost: Rolekeeper, an AWS Config rule with remediation, and c7n.

`make cost` prints it. What stands idle (alarms, metrics, dashboards, keys, schedules) is counted in template.yaml as it
is deployed, prices are in prices.yaml, and what an event takes is in COUNTS. Every event counts as an invocation of its
own with a cold start, the dearest that there is.
"""

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import yaml

from bench.assumed import CALL, COLD, FLEETS, IDLE, MONTH, Fleet
from bench.bill import GB, PRICES, Usage, bill, invocations, total, waited
from bench.others import config_rule, custodian
from bench.rows import Row, Target
from rolekeeper.fleet.targets import CHECKED_FOR
from rolekeeper.permissions.roles import ASKED_AT_ONCE
from rolekeeper.storage.state import PAGE
from support.deployment import Deployment, deployment, translated
from support.templates import ROOT

DOCS = ROOT / "docs/cost.md"
TARGET = 5.0  # USD in an idle month of a small account, without what is free
# The same of an account and Region that a hub serves beside its own, without instances; and for how many it is shown.
ANOTHER, INSTANCES = 0.10, (0, 100, 250)
# The same of an organization without instances: of so many accounts with so many Regions, and so many rows.
ACCOUNTS, REGIONS, ROWS, IN_A_TARGET = 400, 17, 50, (0, 1, 15)
LARGE, ONE_REGION = 350.0, 40.0
CENT = 0.01


@dataclass(frozen=True)
class Counts:
    """What one happening takes: calls to AWS, DynamoDB's read and write units, our events, and bytes of our own log."""

    calls: float
    reads: float
    writes: float = 0
    events: int = 0
    log: float = 0


# Of an instance with five tags and its record; tests/unit/test_cost.py counts the events at the fakes.
COUNTS = {
    "attach": Counts(8, 17, 11, 1, 800),
    "replace": Counts(8, 17, 13, 1, 850),
    "converged": Counts(3, 17, log=800),
    "wait": Counts(5, 17, 6, log=750),
    "ended": Counts(4, 17, 1, log=650),
    "minute": Counts(7, 8),
    # A sweep, and for each instance and each row that it sees. IAM is asked beside that (`asking`).
    "sweep": Counts(11, 8, 1, log=400),
    "an instance": Counts(0.035, 3.1),
    "a row": Counts(2 / 50, 3),
    # A run for another account, for each row, fifty of which are one read, for each of its targets that it sweeps, and
    # for each row whose key the target's sweep lists.
    "account": Counts(2, 2, log=250),
    "a copy": Counts(1 / 50, 2),
    "target": Counts(6, 3, 3, log=550),
    "a key": Counts(0, 0.1),
}
IAM_CALLS = 5  # about a role that has one inline policy
# A target without instances is swept once an hour, and four times in the hour after its spoke's daily event.
IDLE_SWEEPS = 24 + 4
# The accounts machine's own steps in each round (statemachines/accounts.asl.json), beside the start of each child.
STEPS, CHILD_GB = 5, 64 / 1024
SERVED, READ = 400, 4096  # bytes of a target in the registry, and of a read request unit
MINUTE = timedelta(minutes=1)
# A wait is followed by so many looks of the retry loop, each like a converged one and of so many transitions.
LOOKS, TRANSITIONS = 5, 3
# What is written of an instance is looked at once more, ten in a batch, and the transaction takes the follow-up away.
# The minute that does it counts a target's changes in one write: as if each were the only one of its minute.
FOLLOWED, BATCH, TAKEN_AWAY = {"attach", "replace", "wait"}, 10, 2
COUNTED = {"attach", "replace"}

# Lambda polls a queue by five receives that last 20 s each (Lambda developer guide, "Using Lambda with Amazon SQS").
POLLS_A_MINUTE = 15
# DynamoDB keeps a table's key for five minutes; assumed: one reader and one stream's reader of each of two tables.
KMS_REQUESTS = 2 * 2 * MONTH / 5
# Assumed: in one hour of twenty something happens that a metric counts, and an alarm mails that it began and ended.
TROUBLED, MAILS = 0.05, 2
ITEM, ENTRIES = 700, 3 * 3  # bytes of a record or a history entry; entries of three months, three a change


def stored(counts: Counts, times: float) -> Usage:
    return Counter({"dynamodb_reads": times * counts.reads, "dynamodb_writes": times * counts.writes})


def asking(rows: int) -> float:
    """The seconds in which IAM is asked about each row's role, some at once."""
    return CALL * IAM_CALLS * math.ceil(rows / ASKED_AT_ONCE)


def happening(kind: str, times: float) -> Usage:
    """So many events of a kind, from the message to what follows it."""
    counts = COUNTS[kind]
    used = invocations(times, COLD + CALL * counts.calls, counts.log) + stored(counts, times)
    used += Counter({"sqs_requests": 3 * times, "events": counts.events * times})
    look = COUNTS["converged"]
    if kind in FOLLOWED:
        used += invocations(times / BATCH, CALL * look.calls, BATCH * look.log) + stored(look, times)
        writes = TAKEN_AWAY + (kind in COUNTED)
        used += Counter({"dynamodb_writes": writes * times, "sqs_requests": 3 * times / BATCH})
    if kind == "wait":
        used += invocations(times * LOOKS, CALL * look.calls, look.log) + stored(look, times * LOOKS)
        used += Counter({"states_transitions": times * LOOKS * TRANSITIONS})
    return used


def watching(stack: Deployment, troubled: float) -> Usage:
    """What CloudWatch and KMS ask for what stands in the template; our metrics have data in `troubled` of the hours."""
    metrics = [each for alarm in stack.of_type("AWS::CloudWatch::Alarm").values() for each in watched(alarm)]
    ours = {each["MetricName"] for each in metrics if each["Namespace"] == "Rolekeeper"}
    # One is counted at each sweep's end, so it has data in every hour.
    hours = len(ours & {"InstancesSwept"}) + troubled * len(ours - {"InstancesSwept"})
    return Counter(
        {
            "alarm_metrics": len(metrics),
            "custom_metrics": hours,
            "dashboards": len(stack.of_type("AWS::CloudWatch::Dashboard")),
            "kms_keys": len(stack.of_type("AWS::KMS::Key")),
            "kms_requests": KMS_REQUESTS,
            "sns_mails": MAILS * troubled * MONTH / 60,
        }
    )


def watched(alarm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The metrics that an alarm looks at: each is paid for."""
    if "Metrics" not in alarm:
        return [alarm]
    return [each["MetricStat"]["Metric"] for each in alarm["Metrics"] if "MetricStat" in each]


def schedules(stack: Deployment) -> dict[str, int]:
    """The minutes between two runs of what the template starts by the clock; it may be a rate only."""
    found, units = {}, {"minute": 1, "hour": 60, "day": 24 * 60}
    for rule in stack.of_type("AWS::Events::Rule").values():
        if rate := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", rule.get("ScheduleExpression", "")):
            task = "minute" if "expiries" in rule["Targets"][0].get("Input", "") else "sweep"
            found[task] = int(rate[1]) * units[rate[2]]
    return found


def ours(fleet: Fleet, **parameters: str) -> Usage:
    """A month of Rolekeeper, deployed with these parameters."""
    stack = deployment(translated(), **parameters)
    used = watching(stack, TROUBLED if fleet.events else 0) + Counter({"sqs_requests": POLLS_A_MINUTE * MONTH})
    sizes = {"minute": {"minute": 1}, "sweep": {"sweep": 1, "an instance": fleet.instances, "a row": fleet.rows}}
    used += waited(MONTH / schedules(stack)["sweep"] * asking(fleet.rows))
    for task, minutes in schedules(stack).items():
        runs, parts = MONTH / minutes, [(COUNTS[name], size) for name, size in sizes[task].items()]
        used += invocations(runs, sum(CALL * each.calls * size for each, size in parts), COUNTS[task].log)
        for each, size in parts:
            used += stored(each, runs * size)
    for kind, times in fleet.happenings.items():
        used += happening(kind, times)
    kept = (fleet.instances + ENTRIES * fleet.changes) * ITEM / GB
    return used + Counter({"dynamodb_gb_months": kept, "dynamodb_backup_gb_months": kept})


def another(instances: int, *, accounts: float = 1, regions: float = 1, rows: int = IDLE.rows) -> Usage:
    """A month of accounts and Regions that a hub serves beside its own, in which nothing happens.

    The runs of all accounts begin at once, so each counts as a cold start. Once a day a spoke says that it is there.
    """
    days, minutes = MONTH / (24 * 60), schedules(deployment(translated()))["sweep"]
    runs = accounts * (MONTH / minutes if instances else IDLE_SWEEPS * days)
    sizes = {"account": 1, "a copy": rows, "target": regions, "a key": regions * rows}
    sizes["an instance"] = regions * instances
    parts = [(COUNTS[name], size) for name, size in sizes.items()]
    seconds = COLD + sum(CALL * each.calls * size for each, size in parts)
    used = invocations(runs, seconds, sum(each.log * size for each, size in parts))
    used += Counter(
        {"states_transitions": runs, "express_requests": runs, "express_gb_seconds": runs * seconds * CHILD_GB}
    )
    for each, size in parts:
        used += stored(each, runs * size)
    used += waited(accounts * MONTH / (CHECKED_FOR / MINUTE) * asking(rows))
    events = accounts * regions * days
    used += invocations(events, COLD + CALL * COUNTS["target"].calls, COUNTS["target"].log)
    kept = accounts * (rows + regions * (1 + instances)) * ITEM / GB
    return used + Counter({"events": events, "sqs_requests": 3 * events, "dynamodb_gb_months": kept})


def organization(regions: int, instances: int = 0) -> Usage:
    """A month of a hub and of all that it serves, with so many instances a target; each round begins in the hub.

    The registry is read whole each minute and three times in each round, and the hub's sweep reads all records of each
    row.
    """
    rounds = MONTH / schedules(deployment(translated()))["sweep"]
    used = ours(replace(IDLE, instances=instances, rows=ROWS))
    used += another(instances, accounts=ACCOUNTS, regions=regions, rows=ROWS)
    for times, items, size in ((MONTH + 3 * rounds, ACCOUNTS * regions, SERVED), (rounds * ROWS, ACCOUNTS, ITEM)):
        used += stored(Counts(0, items * size / READ), times) + waited(times * CALL * math.ceil(items / PAGE))
    return used + invocations(rounds, COLD, COUNTS["account"].log) + Counter({"states_transitions": STEPS * rounds})


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Dollars for an idle month by part, and for a million events of each kind, at the prices of one dated file."""
    date = yaml.safe_load(PRICES.read_text())["date"]
    say(f"the template at the prices of {date}")

    def row(name: str, usd: float, most: float | None = None) -> Row:
        return Row(f"{name}, prices of {date}", usd, "USD", target=Target(most, "ours") if most else None)

    idle = ours(IDLE)
    yield row("idle month", total(idle), TARGET)
    yield row("idle month, free tier", total(idle, free=True))
    yield from (row(f"idle month: {part}", usd) for part, usd in bill(idle).items() if usd >= CENT / 2)
    yield row("idle month of another target", total(another(0)), ANOTHER)
    yield row(f"idle month of {ACCOUNTS * REGIONS:,} targets, {ROWS} rows", total(organization(REGIONS)), LARGE)
    yield row(f"idle month of {ACCOUNTS} accounts in one Region, {ROWS} rows", total(organization(1)), ONE_REGION)
    yield from (row(f"million events: {kind}", total(happening(kind, 1_000_000))) for kind in IDLE.happenings)


def tables() -> dict[str, list[list[str]]]:
    """What docs/cost.md shows, by heading: rows of cells, the first with the names of the columns."""
    months = {name: ours(fleet) for name, fleet in FLEETS.items()}
    bills = [bill(usage) for usage in months.values()]
    shown = [part for part in bills[0] if any(each[part] >= CENT / 2 for each in bills)]
    drawn = [ours(fleet, CreateDashboard="true") for fleet in FLEETS.values()]
    others = [bill(another(instances)) for instances in INSTANCES]
    sizes = [(regions, instances) for regions in (1, REGIONS) for instances in IN_A_TARGET]
    hubs = [bill(organization(*size)) for size in sizes]
    head, sweep = ["USD a month", *FLEETS], schedules(deployment(translated()))["sweep"]
    return {
        "Idle, and by fleet": [
            head,
            *([part, *(f"{each[part]:.2f}" for each in bills)] for part in shown),
            ["all", *_totals(months.values())],
            ["all, with a dashboard", *_totals(drawn)],
            ["all, with the free tier", *_totals(drawn, free=True)],
        ],
        "Another target": [
            ["USD a month, by instances", *map(str, INSTANCES)],
            *([part, *(f"{each[part]:.3f}" for each in others)] for part in others[0] if others[-1][part] >= CENT / 10),
            ["all", *(f"{sum(each.values()):.3f}" for each in others)],
        ],
        "An organization": [
            ["USD a month, by targets", *(f"{ACCOUNTS * regions:,}" for regions, _ in sizes)],
            ["instances in each", *(str(instances) for _, instances in sizes)],
            *([part, *(f"{each[part]:.2f}" for each in hubs)] for part in hubs[0] if hubs[-1][part] >= CENT / 2),
            ["all", *(f"{sum(each.values()):.2f}" for each in hubs)],
        ],
        "Beside others": [
            head,
            ["Rolekeeper", *_totals(months.values())],
            ["of that, its alarms and metrics", *(f"{each['Alarms'] + each['Metrics']:.2f}" for each in bills)],
            ["AWS Config rule with remediation", *_totals(map(config_rule, FLEETS.values()))],
            ["c7n in Lambda mode", *_totals(custodian(each, sweep) for each in FLEETS.values())],
        ],
        "By a million": [
            ["a million of", "USD"],
            *([kind, f"{total(happening(kind, 1_000_000)):.2f}"] for kind in IDLE.happenings),
        ],
    }


def _totals(months: Iterable[Usage], *, free: bool = False) -> list[str]:
    return [f"{total(each, free=free):.2f}" for each in months]


def markdown(rows: list[list[str]]) -> str:
    """A table as docs/cost.md has it, in aligned columns."""
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    dashes = ["-" * first, *(f"{'-' * (size - 1)}:" for size in others)]
    text = ""
    for name, *cells in (rows[0], dashes, *rows[1:]):
        padded = (cell.rjust(size) for cell, size in zip(cells, others, strict=True))
        text += f"| {' | '.join((name.ljust(first), *padded))} |\n"
    return text


def page(text: str) -> str:
    """docs/cost.md with what the model says now: its first sentence, and each table below its heading's comment."""
    idle = ours(IDLE)
    said = f"about {total(idle):.2f} USD a month, or {total(idle, free=True):.2f} USD"
    text = re.sub(r"about [\d.]+ USD a month, or [\d.]+ USD", said, text, count=1)
    for heading, rows in tables().items():
        text = re.sub(rf"(<!-- {heading} -->\n\n)(\|.*\n)+", rf"\1{markdown(rows)}", text)
    return text


def main(*arguments: str) -> None:
    """Print the tables, or with `--docs` write them into docs/cost.md."""
    if arguments == ("--docs",):
        DOCS.write_text(page(DOCS.read_text()))
    for heading, rows in tables().items():
        print(f"{heading}\n\n{markdown(rows)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
