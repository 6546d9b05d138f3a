"""What operators see, on the embedded AWS: mails, read by a queue at the alarm topic; the dashboard and the alarms."""

import json

import pytest

from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import REGION

pytestmark = pytest.mark.emulator


def test_the_dashboard_and_every_alarm_are_deployed(deployed: EmulatedAccount) -> None:
    cloudwatch = deployed.aws.session().client("cloudwatch")
    drawn = json.loads(cloudwatch.get_dashboard(DashboardName=f"rolekeeper-{REGION}")["DashboardBody"])
    [listed] = [widget["properties"]["alarms"] for widget in drawn["widgets"] if widget["type"] == "alarm"]
    there = cloudwatch.describe_alarms(AlarmNamePrefix="rolekeeper-")["MetricAlarms"]
    assert sorted(alarm["AlarmArn"] for alarm in there) == sorted(listed)
    assert "${" not in json.dumps(drawn), "a name that CloudFormation didn't put in"
