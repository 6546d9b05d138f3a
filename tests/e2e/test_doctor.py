"""`rolekeeper doctor`, as a process, on the embedded AWS: it finds what AWS itself says is wrong."""

import json

import pytest

from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount

pytestmark = pytest.mark.emulator


def test_a_rule_and_a_source_that_somebody_disabled_are_found(deployed: EmulatedAccount) -> None:
    session = deployed.aws.session()
    events, lambda_ = session.client("events"), session.client("lambda")
    [rule] = [each["Name"] for each in events.list_rules()["Rules"] if "InstanceTagRule" in each["Name"]]
    sources = lambda_.list_event_source_mappings(FunctionName=deployed.aws.function_name("OnStateChange"))
    [source] = [each["UUID"] for each in sources["EventSourceMappings"]]
    events.disable_rule(Name=rule)
    lambda_.update_event_source_mapping(UUID=source, Enabled=False)
    try:
        document = json.loads(Command(deployed.aws.env)("doctor", "--output", "json", code=1).stdout)
    finally:
        events.enable_rule(Name=rule)
        lambda_.update_event_source_mapping(UUID=source, Enabled=True)
    remedies = {each["check"]: each["remedy"] for each in document["findings"] if each["level"] == "fail"}
    assert remedies["rules"] == f"aws events enable-rule --name {rule}"
    assert remedies["sources"] == f"aws lambda update-event-source-mapping --uuid {source} --enabled"
