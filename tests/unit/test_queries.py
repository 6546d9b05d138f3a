"""The saved queries in template.yaml: each field that one names is in a line that the functions really log."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from fixtures.account import FakeAccount, refusing
from fixtures.mappings import Desk
from rolekeeper.aws.errors import AccessDeniedError, RetryableError
from rolekeeper.model.instance import Action
from rolekeeper.settings import Limits
from spec import telemetry_scan as told
from support import templates

QUERIES: dict[str, dict[str, Any]] = {
    query["Name"]["Sub"].removeprefix("${AWS::StackName}/"): query
    for query in templates.of_type("AWS::Logs::QueryDefinition").values()
}
DRAWN = {
    f"the dashboard's {widget['properties']['title']}": widget["properties"]["query"]
    for widget in json.loads(templates.of_type("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]["Sub"])[
        "widgets"
    ]
    if widget["type"] == "log"
}
TEXTS = {name: query["QueryString"] for name, query in QUERIES.items()} | DRAWN

# The language of CloudWatch Logs Insights, as far as it is used here (its query syntax reference).
COMMANDS = {"fields", "filter", "stats", "sort", "limit", "SOURCE"}
FUNCTIONS = {"bin", "coalesce", "count", "latest", "max", "now", "strcontains", "sum", "toMillis"}
WORDS = {"and", "or", "in", "like", "as", "by", "asc", "desc"}
# What CloudWatch finds in the lines of Lambda by itself ("Supported logs and discovered fields").
DISCOVERED = {
    "@timestamp", "@message", "@log", "@type", "@duration", "@initDuration", "@maxMemoryUsed", "@requestId",
}  # fmt: skip
# The day below doesn't have all that happens to mappings; tests/unit/test_docs.py holds those to the code.
ELSEWHERE = {"Conflict", "Removed", "Suspended", "Resumed", "Expired", "Expiring", "Rolling out", "Halted"}
_TOKEN = re.compile(r"`(?P<quoted>[^`]+)`|(?<!\w)(?P<bare>@?[A-Za-z_][\w.]*)")


def plain(text: str) -> str:
    """A query without its comments."""
    return re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)


def stages(text: str) -> list[str]:
    """A query's commands."""
    # A bar within a pattern or a text is no pipe.
    hidden = re.sub(r"/[^/\n]*/|\"[^\"]*\"|'[^']*'", lambda found: found[0].replace("|", "\0"), plain(text))
    return [" ".join(stage.split()) for stage in hidden.split("|")]


def names(text: str) -> set[str]:
    """The fields that a query asks the lines for: not what it makes itself."""
    made = set(re.findall(r"\bas (\w+)", text))
    asked: set[str] = set()
    for stage in stages(text):
        command, _, rest = stage.partition(" ")
        if command in {"limit", "SOURCE"}:
            continue
        without_texts = re.sub(r"(?<= )/\S.*?/|\"[^\"]*\"|'[^']*'", "", rest)
        asked |= {found["quoted"] or found["bare"] for found in _TOKEN.finditer(without_texts)}
    return asked - made - FUNCTIONS - WORDS


def words(text: str, field: str) -> set[str]:
    """The words that a query compares a field with."""
    compared = re.findall(rf"(?<![\w.@]){re.escape(field)} (?:=|in) (\[[^\]]*\]|\"[^\"]*\"|'[^']*')", plain(text))
    return set(re.findall(r"[\"']([^\"']+)[\"']", " ".join(compared)))


def flat(line: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """A line's fields as Logs Insights names them: what is nested by dots."""
    for name, value in line.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")


@pytest.fixture
def logged(world: FakeAccount) -> list[dict[str, Any]]:
    """The lines of a day: roles given and refused, edits served, held and rejected, a throttle and a denial."""
    desk = Desk(world)
    desk.usable("web", "api")
    desk.edit("workload=web", role="web")
    instances = [desk.converged("web", workload="web") for _ in range(3)]
    desk.limits = Limits(1, 0)
    desk.edit("workload=web", role="api", edited_by="ada")
    desk.discard("workload=web")
    desk.edit("workload=batch", role="no-such-role")
    for value in ("db", "new", "test"):
        world.publish(f"workload={value}", "api")
    world.tag(instances[0], workload="db")
    world.reconcile(instances[0])
    world.tag(instances[1], workload="new")
    world.calls.before("ReplaceIamInstanceProfileAssociation", refusing("UnauthorizedOperation"))
    world.reconcile(instances[1])
    world.tag(instances[2], workload="test")
    world.calls.before("ReplaceIamInstanceProfileAssociation", refusing("InternalError", status=500))
    world.reconcile(instances[2])
    world.calls.before("GetRole", refusing("ThrottlingException"))
    world.calls.before("UpdateItem", refusing("ThrottlingException"))
    with pytest.raises(RetryableError):
        desk.edit("workload=slow", role="web")
    announcer = world.telemetry()
    announcer.denied(AccessDeniedError("AccessDenied", "no", "iam:PassRole", "a role"), correlation_id="c")
    world.calls.before("PutEvents", refusing("AccessDeniedException"))
    announcer.flush()
    return world.logged()


def test_each_field_and_each_word_of_a_query_is_in_the_log(logged: list[dict[str, Any]]) -> None:
    """A misspelt one finds nothing, and looks as if nothing had happened."""
    fields = DISCOVERED | {name for line in logged for name in flat(line)}
    assert {name: names(text) - fields for name, text in TEXTS.items()} == {name: set() for name in TEXTS}

    messages = {line["message"] for line in logged} | {f"Mapping {event}" for event in ELSEWHERE}
    assert {name: words(text, "message") - messages for name, text in TEXTS.items()} == {name: set() for name in TEXTS}
    actions = {line["decision"]["action"] for line in logged if "decision" in line}
    assert {"Attach", "Replace", "Hold"} <= actions, "the day has little in it"
    for text in TEXTS.values():
        assert words(text, "decision.action") <= set(Action)
        assert words(text, "level") <= {"WARNING", "ERROR", "CRITICAL"}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_query_is_made_of_commands_that_there_are(text: str) -> None:
    assert [stage for stage in stages(text) if stage.split()[0] not in COMMANDS] == []
    assert set(re.findall(r"\b(\w+)\(", plain(text))) <= FUNCTIONS
    for one, other in ("()", "[]"):
        assert len(re.findall(rf"(?<!\\)\{one}", plain(text))) == len(re.findall(rf"(?<!\\)\{other}", plain(text)))
    for quote in "\"`'":
        assert plain(text).count(quote) % 2 == 0
    assert re.search(r"\| limit \d+$", text.strip()), "a query's answer is bounded"


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_name_with_a_dash_stands_in_backticks(text: str) -> None:
    """Without them, Logs Insights would subtract (its guidelines, "Fields that contain special characters")."""
    bare = re.sub(r"`[^`]*`|\"[^\"]*\"|'[^']*'", "", plain(text))
    assert re.findall(r"\w+-\w+", bare) == []


def test_queries_and_dashboard_look_into_logs_that_there_are() -> None:
    saved = {name: {each["Ref"] for each in query["LogGroupNames"]} for name, query in QUERIES.items()}
    drawn = {name: set(re.findall(r"SOURCE '\$\{(\w+)\}'", text)) for name, text in DRAWN.items()}
    groups = templates.of_type("AWS::Logs::LogGroup").keys()
    assert [name for name, looked in (saved | drawn).items() if not looked or looked - groups] == []


def test_the_dashboard_counts_every_event_of_mappings() -> None:
    assert words(DRAWN["the dashboard's Outcomes of edits"], "message") == told.mapping_events()
