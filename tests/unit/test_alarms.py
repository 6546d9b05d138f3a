"""The alarms in template.yaml: what they watch is counted, who is told, and one trouble is not twenty mails."""

import json
import re
from typing import Any

import pytest

from spec import telemetry_scan as told
from support import templates

TEMPLATE = templates.load()
RESOURCES = TEMPLATE["Resources"]
ALARMS = templates.of_type("AWS::CloudWatch::Alarm")
FUNCTIONS = [*templates.of_type("AWS::Serverless::Function")]
STREAM_READERS = ["OnMappingChange", "OnStateChange"]

# When each rings: above what, in how many of how many minutes; and whether it mails that it is over.
#
# A sweep counts trouble every 15 minutes, a burst many times a minute: 1 of 60 minutes rings at once, and within the
# hour it stays one alarm; likewise 1 of 30 minutes. Of what is counted once, however long it lasts, no "OK" is mailed:
# after an hour it would be a lie.
ONCE_AN_HOUR, COUNTED_ONCE = "> 0 in 1 of 60 x 60 s, OK is mailed", "> 0 in 1 of 60 x 60 s"
RING = {
    "DeadLettersAlarm": (
        "Maximum ApproximateNumberOfMessagesVisible of DeadLetterQueue > 0 in 1 of 1 x 60 s, OK is mailed"
    ),
    "OldestMessageAlarm": "Maximum ApproximateAgeOfOldestMessage of WorkQueue > 1200 in 5 of 5 x 60 s, OK is mailed",
    # In milliseconds. Each stream has its own, whose name says which it is.
    **{
        f"{name}WaitsAlarm": f"Maximum IteratorAge of {name} > 600000 in 5 of 5 x 60 s, OK is mailed"
        for name in STREAM_READERS
    },
    "FunctionErrorsAlarm": f"Sum Errors of {', '.join(sorted(FUNCTIONS))} > 0 in 1 of 30 x 60 s, OK is mailed",
    # What throttles the whole account throttles on_schedule, each minute; a single throttled minute does no harm.
    "FunctionThrottlesAlarm": "Sum Throttles of OnInstanceEvent, OnSchedule > 0 in 3 of 15 x 60 s, OK is mailed",
    "RetryLoopFailedAlarm": f"Sum ExecutionsFailed, ExecutionsTimedOut of RetryStateMachine {COUNTED_ONCE}",
    "RetriesHighAlarm": "Sum WillRetry > 10 in 3 of 3 x 300 s, OK is mailed",
    "ContestedAlarm": f"Sum Contested {COUNTED_ONCE}",
    "ParkedAlarm": f"Sum Parked {COUNTED_ONCE}",
    "EventsFailedAlarm": f"Sum EventsFailed {COUNTED_ONCE}",
    "PermissionDeniedAlarm": f"Sum PermissionDenied {ONCE_AN_HOUR}",
    "ChangeRefusedAlarm": f"Sum Refused {ONCE_AN_HOUR}",
    "ChangeLimitReachedAlarm": f"Sum ChangesWithheld {ONCE_AN_HOUR}",
    "SweepUnfinishedAlarm": f"Sum SweepUnfinished {ONCE_AN_HOUR}",
    "MappingTableEmptyAlarm": f"Sum MappingTableEmpty {ONCE_AN_HOUR}",
    # An empty fleet is swept too: it counts 0 instances, in a sample.
    "SweepOverdueAlarm": (
        "SampleCount InstancesSwept < 1 in SweepOverdueHours of SweepOverdueHours x 3600 s, OK is mailed"
    ),
}


def watched(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics that an alarm looks at, whether it does so directly or in an expression."""
    if "Metrics" not in alarm:
        return [alarm]
    stats = [each["MetricStat"] for each in alarm["Metrics"] if "MetricStat" in each]
    return [{**stat["Metric"], "Statistic": stat["Stat"], "Period": stat["Period"]} for stat in stats]


def resource(metric: dict[str, Any]) -> str:
    """The template's name for whose metric it is, or `rolekeeper`, which counts its own."""
    [dimension] = metric["Dimensions"]
    value = dimension["Value"]
    name = value if isinstance(value, str) else next(iter(value.values()))
    return str(name).removesuffix(".QueueName")


def when_it_rings(alarm: dict[str, Any]) -> str:
    """An alarm's metrics and limits, in the words of the table."""
    metrics = watched(alarm)
    [(statistic, period)] = {(metric["Statistic"], metric["Period"]) for metric in metrics}
    names = ", ".join(sorted({metric["MetricName"] for metric in metrics}))
    owners = ", ".join(sorted({resource(metric) for metric in metrics} - {"rolekeeper"}))
    above = {"GreaterThanThreshold": ">", "LessThanThreshold": "<"}[alarm["ComparisonOperator"]]
    periods = alarm["EvaluationPeriods"]
    periods = periods["Ref"] if isinstance(periods, dict) else periods
    window = f"in {alarm.get('DatapointsToAlarm', periods)} of {periods} x {period} s"
    whose = f" of {owners}" if owners else ""
    over = ", OK is mailed" if "OKActions" in alarm else ""
    return f"{statistic} {names}{whose} {above} {alarm['Threshold']} {window}{over}"


def test_each_alarm_rings_when_its_description_says() -> None:
    assert {name: when_it_rings(alarm) for name, alarm in ALARMS.items()} == RING


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_watches_what_is_really_counted_and_a_person_hears_it(name: str) -> None:
    """One that watches a misspelt metric is silent for ever."""
    alarm = ALARMS[name]
    for metric in watched(alarm):
        [dimension] = metric["Dimensions"]
        assert told.is_counted(metric["Namespace"], metric["MetricName"], dimension["Name"])
        assert resource(metric) in {*RESOURCES, "rolekeeper"}
    topic = [{"Ref": "AlarmTopic"}]
    assert (alarm["AlarmActions"], alarm.get("OKActions", topic)) == (topic, topic)
    assert alarm["TreatMissingData"] == ("breaching" if name == "SweepOverdueAlarm" else "notBreaching")


def test_nothing_is_counted_that_no_alarm_watches() -> None:
    """Each name of a metric costs as much as three alarms; what nobody is told of is in the log."""
    metrics = [metric for alarm in ALARMS.values() for metric in watched(alarm)]
    assert told.metrics() == {metric["MetricName"] for metric in metrics if metric["Namespace"] == "Rolekeeper"}


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        # CloudWatch adds nothing where one of the terms is missing; a function that isn't invoked has no data.
        ("FunctionErrorsAlarm", "SUM(FILL(METRICS(), 0))"),
        ("FunctionThrottlesAlarm", "SUM(FILL(METRICS(), 0))"),
        ("RetryLoopFailedAlarm", "SUM(FILL(METRICS(), 0))"),
        # It looks further back than it is asked to before it calls data missing: that would be hours more.
        ("SweepOverdueAlarm", "FILL(counted, 0)"),
    ],
)
def test_a_metric_that_has_no_data_counts_as_zero(name: str, expression: str) -> None:
    metrics = ALARMS[name]["Metrics"]
    [shown] = [each for each in metrics if each.get("ReturnData", True)]  # an alarm watches one result
    [summed] = [each for each in metrics if "Expression" in each]
    assert (shown, summed["Expression"].replace(metrics[0]["Id"], "counted")) == (summed, expression)


def test_a_throttle_of_each_function_rings_an_alarm() -> None:
    """Of these two by itself; of on_retry as its loop's failure; of a stream's reader as its delay."""
    summed = {resource(metric) for metric in watched(ALARMS["FunctionThrottlesAlarm"])}
    look = json.loads((told.ROOT / "statemachines/retry.asl.json").read_text())["States"]["Reconcile"]
    assert look["Resource"] == "${OnRetryFunctionArn}"
    assert "Lambda.TooManyRequestsException" in look["Retry"][0]["ErrorEquals"]
    assert "States.TaskFailed" in look["Catch"][0]["ErrorEquals"], "a loop that is refused for long fails"
    assert sorted(summed | {"OnRetry"} | set(STREAM_READERS)) == sorted(FUNCTIONS)


@pytest.mark.parametrize("name", ALARMS)
def test_cloudwatch_takes_how_far_an_alarm_looks_back(name: str) -> None:
    """Period x periods: at most a day, or seven days for periods of an hour and more (PutMetricAlarm, `Period`)."""
    periods = ALARMS[name]["EvaluationPeriods"]
    if periods == {"Ref": "SweepOverdueHours"}:
        periods = TEMPLATE["Parameters"]["SweepOverdueHours"]["MaxValue"]
    for metric in watched(ALARMS[name]):
        assert metric["Period"] % 60 == 0
        assert metric["Period"] * periods <= (604_800 if metric["Period"] >= 3600 else 86_400)


@pytest.mark.parametrize("name", ALARMS)
def test_a_mail_says_in_words_what_it_means_and_names_its_section(name: str) -> None:
    alarm = ALARMS[name]
    short = alarm["AlarmName"]["Sub"].removeprefix("${AWS::StackName}-")
    words, runbook, section = alarm["AlarmDescription"].partition(" Runbook: docs/runbook.md#")
    assert (runbook != "", section) == (True, short)
    assert words.endswith("."), "whole sentences"
    assert len(words.split()) >= 15
    assert len(alarm["AlarmDescription"]) <= 1024, "PutMetricAlarm's limit"


def test_the_page_about_cost_counts_them() -> None:
    """Each metric in an alarm is paid for, and each name of a metric that has data."""
    text = (told.ROOT / "docs/cost.md").read_text()
    said = re.search(r"(\d+) alarms, which watch (\d+) metrics", text)
    at_most = re.search(r"for each name that has data, (\d+) at\s+most", text)
    assert said
    assert at_most
    counted = len(ALARMS), sum(len(watched(alarm)) for alarm in ALARMS.values()), len(told.metrics())
    assert counted == (int(said[1]), int(said[2]), int(at_most[1]))
