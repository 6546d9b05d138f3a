"""What operators see, on the embedded AWS: mails, read by a queue at the alarm topic; the dashboard and the alarms."""

import json

import pytest

from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import REGION
from support.waiting import eventually

pytestmark = pytest.mark.emulator


def test_a_row_that_is_rejected_is_mailed_with_its_reason_whatever_people_wrote(deployed: EmulatedAccount) -> None:
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

    value = 'DOMAIN\\group "quoted"'
    deployed.put_mapping("mailed", value, role="no-such-role", edited_by="ada")

    def mails() -> list[dict[str, str]]:
        got = sqs.receive_message(QueueUrl=mailbox, MaxNumberOfMessages=10, VisibilityTimeout=0).get("Messages", [])
        return [mail for each in got if "mailed=" in (mail := json.loads(each["Body"]))["Message"]]

    [mail] = eventually(mails)
    assert mail["Subject"] == f"Rolekeeper: Mapping Rejected: mailed={value}"
    assert f"The mapping mailed={value} is not in effect as its row says." in mail["Message"]
    assert "role 'no-such-role' doesn't exist" in mail["Message"]
    assert "Cause: the row changed. Edited by (claimed): ada" in mail["Message"]
    deployed.delete_mapping("mailed", value)


def test_the_dashboard_and_every_alarm_are_deployed(deployed: EmulatedAccount) -> None:
    cloudwatch = deployed.aws.session().client("cloudwatch")
    drawn = json.loads(cloudwatch.get_dashboard(DashboardName=f"rolekeeper-{REGION}")["DashboardBody"])
    [listed] = [widget["properties"]["alarms"] for widget in drawn["widgets"] if widget["type"] == "alarm"]
    there = cloudwatch.describe_alarms(AlarmNamePrefix="rolekeeper-")["MetricAlarms"]
    assert sorted(alarm["AlarmArn"] for alarm in there) == sorted(listed)
    assert "${" not in json.dumps(drawn), "a name that CloudFormation didn't put in"
