"""The doctor in the console: findings by what there is to do, remedies to copy, and the alarms that ring."""

import pytest
from starlette.testclient import TestClient

from fixtures.console import words
from fixtures.doctor import DoctorFixture
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.doctor.run import CHECKS
from rolekeeper_cli.doctor.view import Findings, unknown


@pytest.fixture(autouse=True)
def ward(terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> DoctorFixture:
    return DoctorFixture(terminal, desk, monkeypatch)


def test_what_there_is_to_fix_comes_first_with_a_command_to_copy(browser: TestClient, ward: DoctorFixture) -> None:
    ward.rules["InstanceTagRule"] = "DISABLED"
    ward.subscriptions["SubscriptionsConfirmed"] = "0"
    page = browser.get("/doctor")
    said = words(page)
    assert said.index("Failed (1)") < said.index("Warnings (1)") < said.index(f"OK ({len(CHECKS) - 2})")
    assert "Unknown (" not in said
    assert "Alarms (0 of 2 ring)" in said
    assert "rules Rule InstanceTagRule is disabled, so its events are lost." in said
    command = f"aws events enable-rule --name {ward.ids['InstanceTagRule']}"
    assert f'<code>{command}</code> <button type="button" class="copy" value="{command}"' in page.text
    assert 'class="copy" value="rolekeeper doctor"' in page.text, "what prints the same"
    assert 'class="state bad">rules<' in page.text
    assert 'class="state drift">subscribers<' in page.text


def test_what_hinders_several_checks_is_shown_once(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def hindered(_: Deployment) -> Findings:
        yield unknown("what answered isn't AWS", "see the network")
        return ""

    for name in ("rules", "alarms"):
        monkeypatch.setitem(CHECKS, name, hindered)
    said = words(browser.get("/doctor"))
    assert said.count("What answered isn't AWS.") == 1
    assert "Unknown (2) rules, alarms What answered" in said


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
