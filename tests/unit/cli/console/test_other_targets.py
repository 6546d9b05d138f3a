"""The console of a hub: all its targets in one list, an instance's page wherever that is, and what can't be seen."""

import re

import pytest
from starlette.testclient import TestClient

from fixtures.account import ACCOUNT, REGION
from fixtures.console import words
from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Target
from support.grants import allow, policy

TARGET = Target("111111111111", "eu-west-1")


@pytest.fixture(autouse=True)
def spoke(terminal: Terminal, desk: Desk) -> SpokeFixture:
    return SpokeFixture.with_web(terminal, desk, TARGET)


@pytest.fixture
def there(spoke: SpokeFixture) -> str:
    """An instance there that has its role."""
    instance = spoke.world.running(app="web", Name="web-there")
    spoke.reconcile(instance)
    return instance


@pytest.fixture
def here(desk: Desk) -> str:
    return desk.converged("web", app="web", Name="web-here")


def options(text: str, name: str) -> list[str]:
    """The values of a filter that are suggested."""
    return sorted(re.findall(rf'<option value="{name}:([^"]*)"', text))


def test_all_targets_are_one_list_that_is_narrowed_by_account_and_region(
    browser: TestClient, there: str, here: str
) -> None:
    page = browser.get("/")
    assert {f'href="/instance/{each}"' in page.text for each in (there, here)} == {True}
    assert [words(page).count(str(each)) for each in (TARGET, Target(ACCOUNT, REGION))] == [1, 1], "each says where"
    assert 'id="sort-target"' in page.text
    assert options(page.text, "account") == [TARGET.account, ACCOUNT]
    assert options(page.text, "region") == [TARGET.region, REGION]
    narrowed = browser.get("/", params={"account": TARGET.account}).text
    assert (there in narrowed, here in narrowed) == (True, False)


def test_a_target_that_cant_be_seen_is_said_and_hinders_no_other(
    browser: TestClient, spoke: SpokeFixture, here: str
) -> None:
    spoke.refuse()
    page = browser.get("/")
    assert here in page.text
    said = words(page)
    assert f"{TARGET} is left out: you may not look there." in said
    assert "What the last sweep saw there: Targets ." in said
    assert '<a href="/targets">Targets</a>' in page.text.partition('id="notes"')[2]
    assert options(page.text, "account") == [ACCOUNT], "what finds nothing isn't suggested"


def test_the_list_of_mappings_says_which_accounts_lack_a_role(browser: TestClient, desk: Desk) -> None:
    desk.edit("app=alone", role="web")
    reason = "in effect in 2 of 3 accounts; role 'web' doesn't exist in 222222222222"
    desk.put("app=web", role="web", status="Published", status_revision=1, status_reason=reason)
    said = words(browser.get("/mappings"))
    assert f"I{reason[1:]}" in said
    assert said.count("In effect in") == 1, "where there is nothing to say of accounts, nothing is said"


def test_an_instances_page_is_of_its_own_account(browser: TestClient, there: str) -> None:
    browser.get("/")
    page = browser.get(f"/instance/{there}")
    said = words(page)
    assert page.status_code == 200
    assert f"Instance {TARGET}/{there} (web-there), running" in said
    assert "attached by Rolekeeper for app=web" in said
    assert f"rolekeeper replace {TARGET}/{there} ROLE" in said
    assert f'action="/instance/{there}/pin"' in page.text, "the undo is a button here too"
    assert f"aws ec2 delete-tags --resources {there} --tags Key=app --region {TARGET.region}" in page.text
    who = words(browser.get(f"/instance/{there}/who"))
    assert f"not in CloudTrail's event history of {TARGET.region}" in who


def test_whether_software_uses_a_role_is_asked_of_the_instances_own_account(
    browser: TestClient, there: str, spoke: SpokeFixture
) -> None:
    browser.get("/")
    web = f"arn:aws:iam::{TARGET.account}:role/rolekeeper/web"
    spoke.trail.delivered(web, there)
    spoke.trail.called(web, there)
    spoke.world.tag(there, app="none")
    spoke.reconcile(there)
    spoke.world.wait(60)
    spoke.trail.called(web, there)
    said = words(browser.get(f"/instance/{there}/uptake"))
    assert "Former role web, taken " in said
    assert "still used, last call " in said
    assert f"rolekeeper revoke {TARGET}/{there} --role web" in said


def test_a_name_in_the_address_is_found_in_every_target(
    browser: TestClient, there: str, spoke: SpokeFixture, desk: Desk
) -> None:
    both = {spoke.world.running(Name="web 5"), desk.world.running(Name="web 5")}
    answer = browser.get("/instance/web-there", follow_redirects=False)
    assert answer.headers["location"] == f"/instance/{there}", "though no page has read the fleet before"
    page = browser.get("/instance/web%205")
    assert page.url.params["q"] == 'tag:"Name=web 5"'
    assert {each for each in both if f'href="/instance/{each}"' in page.text} == both
    assert there not in page.text


@pytest.mark.parametrize(("kind", "form"), [("tag", {"do": "set", "key": "app", "value": "db"}), ("start", {})])
def test_what_only_its_account_can_do_is_refused(
    browser: TestClient, there: str, spoke: SpokeFixture, kind: str, form: dict[str, str]
) -> None:
    browser.get("/")
    answer = browser.post(f"/instance/{there}/{kind}", data=form)
    assert f"Only account {TARGET.account}'s own credentials can tag and start its instances" in words(answer)
    assert spoke.carries(there) == "web"


def test_roles_are_those_of_all_accounts_and_one_is_shown_of_its_own(
    browser: TestClient, spoke: SpokeFixture, desk: Desk, there: str, here: str
) -> None:
    desk.role("old")
    spoke.world.clients["iam"].inline["web"] = policy(allow(["s3:GetObject"]))
    page = browser.get("/roles")
    said = words(page)
    assert f"web {ACCOUNT} app=web 1 never not broad nothing" in said
    assert f"web {TARGET.account} app=web 1 never not broad reads S3" in said
    narrowed = browser.get("/roles", params={"account": TARGET.account}).text
    assert (f'href="/role/web?account={TARGET.account}"' in narrowed, "/role/old" in narrowed) == (True, False)
    theirs = browser.get("/role/web", params={"account": TARGET.account, "ask": "last-accessed"})
    assert f'<a href="/instance/{there}">' in theirs.text
    assert "reads S3 s3:GetObject on *" in words(theirs)
    assert "a spoke's viewer may not ask IAM for its report" in words(theirs)
    own = browser.get("/role/web").text
    assert (f'<a href="/instance/{here}">' in own, there in own, "Ask IAM" in own) == (True, False, True)
    assert f"/role/web?account={TARGET.account}" in browser.get(f"/instance/{there}").text
    gone = browser.get("/role/old", params={"account": TARGET.account})
    assert gone.status_code == 404
    assert f"There is no role old under /rolekeeper/ in account {TARGET.account}." in words(gone)
