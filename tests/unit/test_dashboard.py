"""The dashboard in template.yaml: CloudWatch can draw it, and every metric on it is counted by somebody."""

import itertools
import json
import re
from typing import Any

import pytest

from spec import telemetry_scan as told
from support import templates

RESOURCES = templates.load()["Resources"]
PROPERTIES = RESOURCES["Dashboard"]["Properties"]
# CloudWatch's grid (dashboard body reference, "Widget position").
COLUMNS = 24


def body() -> dict[str, Any]:
    """The body as CloudWatch gets it: with text in the place of CloudFormation's names."""
    filled: dict[str, Any] = json.loads(re.sub(r"\$\{([^}]+)\}", r"[\1]", PROPERTIES["DashboardBody"]["Sub"]))
    return filled


WIDGETS: list[dict[str, Any]] = body()["widgets"]
GRAPHS = [widget for widget in WIDGETS if widget["type"] == "metric"]


def rows(graph: dict[str, Any]) -> list[list[str]]:
    """A graph's metrics in full: a "." is what the row before has at that place (dashboard body reference)."""
    full: list[list[str]] = []
    for row in graph["properties"]["metrics"]:
        names = [each for each in row if isinstance(each, str)]
        full.append([full[-1][at] if name == "." else name for at, name in enumerate(names)])
    return full


def titled(widget: dict[str, Any]) -> str:
    return str(widget["properties"]["title"])


def test_no_widget_covers_another_or_hangs_over_the_edge() -> None:
    for widget in WIDGETS:
        assert widget["x"] + widget["width"] <= COLUMNS, titled(widget)
    for one, other in itertools.combinations(WIDGETS, 2):
        beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        below = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
        assert beside or below, (titled(one), titled(other))


@pytest.mark.parametrize("graph", GRAPHS, ids=titled)
def test_every_metric_is_counted_by_somebody(graph: dict[str, Any]) -> None:
    for namespace, metric, dimension, value in rows(graph):
        assert told.is_counted(namespace, metric, dimension)
        assert value.strip("[]").removesuffix(".QueueName") in {*RESOURCES, "rolekeeper"}


def test_everything_that_we_count_is_drawn() -> None:
    drawn = {metric for graph in GRAPHS for namespace, metric, *_ in rows(graph) if namespace == "Rolekeeper"}
    assert drawn == told.metrics()


def test_every_alarm_and_every_function_is_on_it() -> None:
    [alarms] = [widget["properties"]["alarms"] for widget in WIDGETS if widget["type"] == "alarm"]
    assert alarms == [f"[{name}.Arn]" for name in templates.of_type("AWS::CloudWatch::Alarm")]
    functions = {f"[{name}]" for name in templates.of_type("AWS::Serverless::Function")}
    for wanted in ("Duration", "Errors", "Throttles", "ConcurrentExecutions"):
        assert {row[3] for graph in GRAPHS for row in rows(graph) if row[1] == wanted} == functions
