"""What operators see, on the embedded AWS: mails, read by a queue at the alarm topic; the dashboard and the alarms."""

import json

import pytest

from rolekeeper_local.world import World
from support.waiting import eventually

pytestmark = pytest.mark.emulator


def test_a_row_that_is_not_served_is_mailed_with_its_reason(deployed: World) -> None:
    session = deployed.aws.session()
    sns, sqs = session.client("sns"), session.client("sqs")
    mailbox = sqs.create_queue(QueueName="mailbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=mailbox, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = deployed.aws.stack_outputs()["AlarmTopic"]
    allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {
        "Version": "2012-10-17",
        "Statement": [{**allow, "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic}}}],
    }
    sqs.set_queue_attributes(QueueUrl=mailbox, Attributes={"Policy": json.dumps(policy)})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    deployed.put_mapping("mailed", "web", role="no-such-role", edited_by="ada")

    def mails() -> list[str]:
        got = sqs.receive_message(QueueUrl=mailbox, MaxNumberOfMessages=10, VisibilityTimeout=0).get("Messages", [])
        return [text for each in got if "mailed" in (text := json.loads(each["Body"])["Message"])]

    [mail] = eventually(mails)
    assert mail.strip('"').startswith("Mapping Rejected: the mapping of tag mailed = web, by Rolekeeper in account")
    assert "no-such-role" in mail
    assert "<" not in mail, "a placeholder that nothing was put into"
    assert mail.strip('"').endswith("Cause: the row changed. Edited by: ada")


def test_the_dashboard_and_every_alarm_are_deployed(deployed: World) -> None:
    cloudwatch = deployed.aws.session().client("cloudwatch")
    drawn = json.loads(cloudwatch.get_dashboard(DashboardName="rolekeeper")["DashboardBody"])
    [listed] = [widget["properties"]["alarms"] for widget in drawn["widgets"] if widget["type"] == "alarm"]
    there = cloudwatch.describe_alarms(AlarmNamePrefix="rolekeeper-")["MetricAlarms"]
    assert sorted(alarm["AlarmArn"] for alarm in there) == sorted(listed)
    assert "${" not in json.dumps(drawn), "a name that CloudFormation didn't put in"
