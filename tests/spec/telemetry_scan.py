"""What Rolekeeper tells others, found in its code: the metrics that it counts, the events that it sends."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from rolekeeper import telemetry
from rolekeeper.fleet import overrides
from rolekeeper.mappings.verdict import Status

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers/rolekeeper/rolekeeper"


@cache
def _nodes(module: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(module.read_text())))


def parsed(*modules: Path) -> Iterator[ast.AST]:
    for module in modules:
        yield from _nodes(module)


def constants(node: ast.expr | None) -> set[str]:
    """The text that an expression may come to: itself, or either branch of a conditional."""
    if isinstance(node, ast.IfExp):
        return constants(node.body) | constants(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def mapping_events() -> set[str]:
    """The detail-types of mappings: written out, or made of a status. `Waiting` is no news and is never sent."""
    written = {
        each
        for node in parsed(*LAYER.rglob("*.py"))
        if isinstance(node, ast.Constant)
        for each in constants(node)
        if re.fullmatch("Mapping [A-Z][a-z]+", each)
    }
    return written | {f"Mapping {status}" for status in Status if status is not Status.WAITING}


def events() -> set[str]:
    return mapping_events() | {
        *telemetry.CHANGED.values(),
        *telemetry.PINNED.values(),
        telemetry.REFUSED,
        telemetry.PARKED,
        telemetry.PERMISSION_MISSING,
        overrides.CONTROL_CHANGED,
        overrides.MODE_CHANGED,
    }


def metrics() -> set[str]:
    counted = {
        each
        for node in parsed(*LAYER.rglob("*.py"), *(ROOT / "functions").glob("*.py"))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "count"
        for each in constants(node.args[0])
    }
    assert {"Parked", "WillRetry"} <= counted, "the scan finds less"
    return counted | set(telemetry.COUNTED.values())


# What AWS counts of each, by its dimension (metrics references of SQS, Lambda and Step Functions).
_AWS_METRICS = {
    ("AWS/SQS", "QueueName"): {
        "ApproximateNumberOfMessagesVisible",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
        "ApproximateAgeOfOldestMessage",
    },
    ("AWS/Lambda", "FunctionName"): {"Duration", "Errors", "Throttles", "ConcurrentExecutions", "IteratorAge"},
    ("AWS/States", "StateMachineArn"): {
        "ExecutionsStarted",
        "ExecutionsSucceeded",
        "ExecutionsFailed",
        "ExecutionsTimedOut",
        "ExecutionsAborted",
    },
}


def is_counted(namespace: str, metric: str, dimension: str) -> bool:
    """Whether AWS counts a metric, or we do, by the dimension that Powertools names."""
    if (namespace, dimension) == ("Rolekeeper", "service"):
        return metric in metrics()
    return metric in _AWS_METRICS.get((namespace, dimension), ())
