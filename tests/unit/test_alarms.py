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

# What AWS counts, by whom (its metrics reference for SQS, Lambda and Step Functions).
AWS_METRICS = {
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"},
    "AWS/Lambda": {"Errors", "Throttles", "IteratorAge"},
    "AWS/States": {"ExecutionsFailed", "ExecutionsTimedOut"},
}
# Of these nothing is counted again while they last: an "OK" after an hour would be a lie.
SILENT_AFTERWARDS = {
    "ContestedAlarm",
    "ParkedAlarm",
    "RetryLoopFailedAlarm",
    "EventsFailedAlarm",
}
# What must ring, by the metric that it rings for.
MUST_RING = [
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "DeadLettersAlarm"),
    ("AWS/SQS", "ApproximateAgeOfOldestMessage", "OldestMessageAlarm"),
    ("Rolekeeper", "PermissionDenied", "PermissionDeniedAlarm"),
    ("Rolekeeper", "Refused", "ChangeRefusedAlarm"),
    ("Rolekeeper", "WillRetry", "RetriesHighAlarm"),
    ("Rolekeeper", "ChangesWithheld", "ChangeLimitReachedAlarm"),
    ("Rolekeeper", "Contested", "ContestedAlarm"),
    ("Rolekeeper", "Parked", "ParkedAlarm"),
    ("Rolekeeper", "SweepUnfinished", "SweepUnfinishedAlarm"),
    ("Rolekeeper", "InstancesSwept", "SweepOverdueAlarm"),
    ("Rolekeeper", "MappingTableEmpty", "MappingTableEmptyAlarm"),
    ("Rolekeeper", "EventsFailed", "EventsFailedAlarm"),
]
# One alarm for several functions or outcomes: what it adds up, by metric and by whose it is.
SUMS = {
    "FunctionErrorsAlarm": {("Errors", function) for function in FUNCTIONS},
    # What throttles the whole account throttles on_schedule, which runs each minute.
    "FunctionThrottlesAlarm": {("Throttles", "OnInstanceEvent"), ("Throttles", "OnSchedule")},
    "RetryLoopFailedAlarm": {("ExecutionsFailed", "RetryStateMachine"), ("ExecutionsTimedOut", "RetryStateMachine")},
}


def watched(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics that an alarm looks at, whether it does so directly or in an expression."""
    if "Metrics" not in alarm:
        return [alarm]
    stats = [each["MetricStat"] for each in alarm["Metrics"] if "MetricStat" in each]
    return [{**stat["Metric"], "Statistic": stat["Stat"], "Period": stat["Period"]} for stat in stats]


def the_value(metric: dict[str, Any]) -> Any:
    [dimension] = metric["Dimensions"]
    return dimension["Value"]


# ---- what they watch ----


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_watches_what_is_really_counted(name: str) -> None:
    """One that watches a misspelt metric is silent for ever."""
    for metric in watched(ALARMS[name]):
        if metric["Namespace"] == "Rolekeeper":
            assert metric["MetricName"] in told.metrics()
            assert metric["Dimensions"] == [{"Name": "service", "Value": "rolekeeper"}], "as Powertools names it"
        else:
            assert metric["MetricName"] in AWS_METRICS[metric["Namespace"]]
            assert set(the_value(metric).values()) <= {
                f"{resource}{suffix}" for resource in RESOURCES for suffix in ("", ".QueueName")
            }


def test_nothing_is_counted_that_no_alarm_watches() -> None:
    """Each name of a metric costs as much as three alarms; what nobody is told of is in the log."""
    ours = {
        each["MetricName"] for alarm in ALARMS.values() for each in watched(alarm) if each["Namespace"] == "Rolekeeper"
    }
    assert told.metrics() == ours


@pytest.mark.parametrize(("namespace", "metric", "name"), MUST_RING, ids=[name for *_, name in MUST_RING])
def test_somebody_is_told(namespace: str, metric: str, name: str) -> None:
    assert [(each["Namespace"], each["MetricName"]) for each in watched(ALARMS[name])] == [(namespace, metric)]
    assert ALARMS[name]["AlarmActions"] == [{"Ref": "AlarmTopic"}]


@pytest.mark.parametrize(("name", "terms"), SUMS.items())
def test_one_alarm_rings_for_several(name: str, terms: set[tuple[str, str]]) -> None:
    assert {(each["MetricName"], the_value(each)["Ref"]) for each in watched(ALARMS[name])} == terms
    assert {(each["Statistic"], each["Period"]) for each in watched(ALARMS[name])} == {("Sum", 60)}


@pytest.mark.parametrize("name", SUMS)
def test_a_term_that_has_no_data_doesnt_hide_the_others(name: str) -> None:
    """CloudWatch adds nothing where one of the terms is missing; a function that isn't invoked has no data."""
    alarm = ALARMS[name]
    [total, *terms] = alarm["Metrics"]
    assert total["Expression"] == "SUM(FILL(METRICS(), 0))"
    assert total.get("ReturnData", True)
    assert [each["ReturnData"] for each in terms] == [False] * len(SUMS[name]), "an alarm watches one result"
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")


def test_a_throttle_of_each_function_rings_an_alarm() -> None:
    """Of these two by itself; of on_retry as its loop's failure; of a stream's reader as its delay."""
    summed = {function for _, function in SUMS["FunctionThrottlesAlarm"]}
    look = json.loads((told.ROOT / "statemachines/retry.asl.json").read_text())["States"]["Reconcile"]
    assert look["Resource"] == "${OnRetryFunctionArn}"
    assert "Lambda.TooManyRequestsException" in look["Retry"][0]["ErrorEquals"]
    assert "States.TaskFailed" in look["Catch"][0]["ErrorEquals"], "a loop that is refused for long fails"
    assert sorted(summed | {"OnRetry"} | set(STREAM_READERS)) == sorted(FUNCTIONS)
    each_minute = RESOURCES["OnSchedule"]["Properties"]["Events"]["Expiries"]["Properties"]["Schedule"]
    assert each_minute == "rate(1 minute)", "on_schedule stands for the whole account"


@pytest.mark.parametrize(("name", "window"), [("FunctionErrorsAlarm", (1, 30)), ("FunctionThrottlesAlarm", (3, 15))])
def test_one_error_rings_and_a_single_throttled_minute_does_not(name: str, window: tuple[int, int]) -> None:
    assert (ALARMS[name]["DatapointsToAlarm"], ALARMS[name]["EvaluationPeriods"]) == window


def test_each_stream_has_an_alarm_of_its_own_whose_name_says_which_it_is() -> None:
    mine = [alarm for alarm in ALARMS.values() if alarm.get("MetricName") == "IteratorAge"]
    assert sorted(the_value(alarm)["Ref"] for alarm in mine) == sorted(STREAM_READERS)
    for alarm in mine:
        handler = RESOURCES[the_value(alarm)["Ref"]]["Properties"]["Handler"].removesuffix(".handler")
        assert handler.replace("_", "-") in alarm["AlarmName"]["Sub"]


def test_every_alarm_is_held_here() -> None:
    streams = {f"{function}WaitsAlarm" for function in STREAM_READERS}
    assert set(ALARMS) == {name for *_, name in MUST_RING} | SUMS.keys() | streams


# ---- when they ring, and who hears it ----


@pytest.mark.parametrize("name", ALARMS)
def test_nothing_to_count_is_no_trouble_but_for_the_sweep(name: str) -> None:
    expected = "breaching" if name == "SweepOverdueAlarm" else "notBreaching"
    assert ALARMS[name]["TreatMissingData"] == expected


@pytest.mark.parametrize("name", ALARMS)
def test_an_ok_is_mailed_where_quiet_means_that_it_is_over(name: str) -> None:
    assert ("OKActions" not in ALARMS[name]) == (name in SILENT_AFTERWARDS)
    assert ALARMS[name].get("OKActions", [{"Ref": "AlarmTopic"}]) == [{"Ref": "AlarmTopic"}]


@pytest.mark.parametrize(
    "name",
    [
        name
        for namespace, _, name in MUST_RING
        # The latter two measure for how long, and so don't flap.
        if namespace == "Rolekeeper" and name not in {"SweepOverdueAlarm", "RetriesHighAlarm"}
    ],
)
def test_what_comes_again_and_again_rings_once(name: str) -> None:
    """A sweep counts it every 15 minutes, a burst many times a minute: within the hour it stays one alarm."""
    alarm = ALARMS[name]
    assert (alarm["Statistic"], alarm["Threshold"], alarm["ComparisonOperator"]) == ("Sum", 0, "GreaterThanThreshold")
    assert alarm["Period"] == 60, "it rings at once"
    assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (1, 60)


@pytest.mark.parametrize("name", ALARMS)
def test_cloudwatch_takes_how_far_an_alarm_looks_back(name: str) -> None:
    """Period x periods: at most a day, or seven days for periods of an hour and more (PutMetricAlarm, `Period`)."""
    alarm, parameter = ALARMS[name], TEMPLATE["Parameters"]["SweepOverdueHours"]
    periods = alarm["EvaluationPeriods"]
    if periods == {"Ref": "SweepOverdueHours"}:
        periods = parameter["MaxValue"]
    for metric in watched(alarm):
        assert metric["Period"] % 60 == 0
        assert metric["Period"] * periods <= (604_800 if metric["Period"] >= 3600 else 86_400)
    assert alarm.get("DatapointsToAlarm", 1) <= periods


# What measures for how long: the statistic, the seconds of a period, how many of them, and above which number.
LASTS = {
    "DeadLettersAlarm": ("Maximum", 60, 1, 0),
    "OldestMessageAlarm": ("Maximum", 60, 5, 20 * 60),  # seconds
    **dict.fromkeys((f"{each}WaitsAlarm" for each in STREAM_READERS), ("Maximum", 60, 5, 10 * 60_000)),  # milliseconds
    "RetriesHighAlarm": ("Sum", 300, 3, 10),
}


@pytest.mark.parametrize(("name", "lasts"), LASTS.items())
def test_an_alarm_rings_after_the_time_that_its_description_says(name: str, lasts: tuple[Any, ...]) -> None:
    alarm = ALARMS[name]
    assert tuple(alarm[key] for key in ("Statistic", "Period", "EvaluationPeriods", "Threshold")) == lasts
    assert (alarm["ComparisonOperator"], alarm.get("DatapointsToAlarm", lasts[2])) == ("GreaterThanThreshold", lasts[2])


def test_a_missing_sweep_is_a_number_not_missing_data() -> None:
    """CloudWatch looks further back than it is asked to before it calls data missing: that would be hours more."""
    alarm = ALARMS["SweepOverdueAlarm"]
    [counted, ended] = alarm["Metrics"]
    assert ended["Expression"] == f"FILL({counted['Id']}, 0)"
    assert ended.get("ReturnData", True)
    assert counted["ReturnData"] is False
    assert counted["MetricStat"]["Stat"] == "SampleCount", "an empty fleet is swept too: it counts 0 instances"
    assert (counted["MetricStat"]["Period"], alarm["EvaluationPeriods"]) == (3600, {"Ref": "SweepOverdueHours"})
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "LessThanThreshold")


# ---- what a mail says ----


@pytest.mark.parametrize("name", ALARMS)
def test_a_mail_says_in_words_what_it_means_and_names_its_section(name: str) -> None:
    alarm = ALARMS[name]
    short = alarm["AlarmName"]["Sub"].removeprefix("${AWS::StackName}-")
    says = alarm["AlarmDescription"]
    assert says.endswith(f" Runbook: docs/runbook.md#{short}")
    words = says.removesuffix(f" Runbook: docs/runbook.md#{short}")
    assert words.endswith("."), "whole sentences"
    assert len(words.split()) >= 15
    assert len(says) <= 1024, "PutMetricAlarm's limit"


# ---- what they cost ----


def test_the_page_about_cost_counts_them() -> None:
    text = (told.ROOT / "docs/cost.md").read_text()
    said = re.search(r"(\d+) alarms, which watch (\d+) metrics", text)
    assert said
    assert int(said[1]) == len(ALARMS)
    assert int(said[2]) == sum(len(watched(alarm)) for alarm in ALARMS.values()), "each metric in an alarm is paid for"
    at_most = re.search(r"for each name that has data, (\d+) at\s+most", text)
    assert at_most
    assert len(told.metrics()) == int(at_most[1])
