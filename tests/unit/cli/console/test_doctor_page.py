"""The doctor in the console: findings by what there is to do, remedies to copy, and the alarms that ring."""

import pytest
from starlette.testclient import TestClient

from fixtures.console import words
from fixtures.doctor import DoctorFixture
from fixtures.mappings import MappingsFixture
from fixtures.terminal import Terminal
from rolekeeper_cli.checks.run import CHECKS


@pytest.fixture(autouse=True)
def ward(terminal: Terminal, desk: MappingsFixture, monkeypatch: pytest.MonkeyPatch) -> DoctorFixture:
    return DoctorFixture(terminal, desk, monkeypatch)


def test_all_is_well(browser: TestClient) -> None:
    said = words(browser.get("/doctor"))
    assert f"OK ({len(CHECKS)})" in said
    assert "alarms No alarm rings, of 2." in said
    assert "Failed" not in said
    assert "Alarms (0 of 2 ring)" in said


def test_what_there_is_to_fix_comes_first_with_a_command_to_copy(browser: TestClient, ward: DoctorFixture) -> None:
    ward.rules["InstanceTagRule"] = "DISABLED"
    ward.subscriptions["SubscriptionsConfirmed"] = "0"
    page = browser.get("/doctor")
    said = words(page)
    assert said.index("Failed (1)") < said.index("Warnings (1)") < said.index("OK (")
    assert "rules Rule InstanceTagRule is disabled, so its events are lost." in said
    assert f"<code>aws events enable-rule --name {ward.ids['InstanceTagRule']}</code>" in page.text
    assert 'class="state bad">rules<' in page.text
    assert 'class="state drift">subscribers<' in page.text


def test_an_alarm_that_rings_says_why_and_where_its_page_is(browser: TestClient, ward: DoctorFixture) -> None:
    ward.alarms["DeadLettersAlarm"] |= {
        "StateValue": "ALARM",
        "StateReason": "2 letters",
        "AlarmDescription": "Work waits. Runbook: docs/runbook.md#dead-letters",
    }
    said = words(browser.get("/doctor"))
    assert "Alarms (1 of 2 ring)" in said
    assert "rings rolekeeper-dead-letters" in said
    assert "Work waits. 2 letters Runbook: docs/runbook.md#dead-letters" in said


def test_it_is_checked_again_where_that_is_asked(browser: TestClient, ward: DoctorFixture) -> None:
    assert "Failed" not in words(browser.get("/doctor"))
    ward.rules["InstanceTagRule"] = "DISABLED"
    assert "Failed" not in words(browser.get("/doctor")), "it was checked a short time ago"
    assert "Failed (1)" in words(browser.get("/doctor/again"))
