"""One instance in the console: why it carries what it carries, what happened, and edits that are shown first."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from fixtures import console
from fixtures.account import refusing
from fixtures.console import main, news, words
from fixtures.mappings import Desk
from fixtures.terminal import Terminal
from rolekeeper_cli.act import pins
from rolekeeper_cli.site import Site

pytestmark = pytest.mark.desk(usable=("web", "db"), rows={"app=web": "web"})


@pytest.fixture
def one(desk: Desk) -> str:
    """An instance that got its role."""
    return desk.converged("web", app="web")


def does(browser: TestClient, one: str, kind: str, **form: str) -> tuple[Response, Response]:
    """Fill in a form, read its plan, and do it: both pages."""
    planned = browser.post(f"/instance/{one}/{kind}", data=form)
    return planned, browser.post(planned.url.path)


# ---- looking ----


def test_it_says_what_it_carries_why_and_what_the_role_may_do(browser: TestClient, desk: Desk) -> None:
    desk.grant("web", "s3:GetObject", "arn:aws:s3:::reports/*")
    desk.edit("env=prod", role="db", priority=200)
    one = desk.converged("web", app="web", env="prod", Name="web-1")
    page = browser.get(f"/instance/{one}")
    text = words(page)
    assert re.search(r"ok web for app=web since .{30,40} It carries role web, as app=web asks[.]", text)
    assert '<a href="/role/web"><code>web</code></a>' in page.text
    assert f"Carries web (iip-assoc-{one[2:-1]}2, associated), attached by Rolekeeper for app=web" in text
    assert "Overridden env=prod: priority 200 comes after 100 of app=web" in text
    for copied in (one, "arn:aws:iam::123456789012:instance-profile/rolekeeper/web"):
        assert f'class="copy" value="{copied}"' in page.text
    assert "s3:GetObject on arn:aws:s3:::reports/*" in text
    assert "Attach no role → web for app=web rev 1" in text
    assert "Cause: test. EC2 answered iip-assoc-" in text


def test_drift_is_explained_a_foreign_role_named_as_one_and_a_reason_said_once(browser: TestClient, desk: Desk) -> None:
    text = words(browser.get(f"/instance/{desk.world.running(app='web')}"))
    assert "drift no role → web for app=web app=web gives it role web. Rolekeeper changes that within" in text
    assert "It still carries no role : the change is to come." in text
    page = browser.get(f"/instance/{desk.world.running(profile='theirs', app='web')}")
    assert "foreign theirs (foreign) → web for app=web" in words(page)
    assert main(page).partition("Timeline")[0].count("which is outside the role path") == 1
    sides = "theirs foreign stays Keep it: ignore the instance … app=web web waits Hand it over: aws ec2 disassociate-"
    assert sides in words(page)


def test_the_roles_over_time_show_at_once_and_without_cloudtrail(
    browser: TestClient, desk: Desk, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal.trail, "lookup_events", None)
    since = f"{desk.world.clock.now():%Y-%m-%d %H:%M}"
    one = desk.converged("web", app="web")
    desk.world.wait(3 * 3600)
    now = desk.world.clock.now()
    page, text = browser.get(f"/instance/{one}"), "attached by Rolekeeper for app=web"
    assert f"<title>web, {since} to {now:%Y-%m-%d %H:%M} UTC: {text}</title>" in page.text
    assert f"Role What From, UTC Until, UTC web {text} {since}" in words(page), "for who can't see it"
    assert 'aria-current="true">auto</a>' in page.text
    week = browser.get(f"/instance/{one}?span=7d").text
    assert 'aria-current="true">7d</a>' in week
    assert f"from {now - timedelta(days=7):%Y-%m-%d %H:%M} to" in week
    assert f'hx-get="/instance/{one}/uptake?span=7d"' in week, "what CloudTrail says is of the same time"


def test_entries_that_repeat_are_one_line(browser: TestClient, desk: Desk, one: str) -> None:
    desk.world.detach_by_hand(one)
    desk.world.wait(100)
    desk.world.reconcile(one)
    page = browser.get(f"/instance/{one}")
    assert "2 × Attach no role → web for app=web rev 1 Details" in words(page)  # noqa: RUF001
    assert page.text.count('<details id="at-') == 1
    assert words(page).count("Cause: test.") == 2, "below the line"


@pytest.mark.parametrize(
    ("message", "drawn"),
    [
        ("There is an existing association", 'unknown">Attach overtaken'),
        ("InstanceIdentityProfileNotFound", 'bad">Attach refused'),
    ],
)
def test_a_race_that_harmed_nobody_isnt_red(browser: TestClient, desk: Desk, message: str, drawn: str) -> None:
    one = desk.world.running(app="web")
    desk.world.calls.before("AssociateIamInstanceProfile", refusing("IncorrectState", message))
    desk.world.reconcile(one)
    assert drawn in browser.get(f"/instance/{one}").text


def test_older_entries_are_a_link_away(browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolekeeper_cli.instance.page.ENTRIES", 2)
    desk.edit("app=db", role="db")
    one = desk.converged("web", app="web")
    for role in ("db", "web"):
        desk.world.tag(one, app=role)
        desk.world.reconcile(one)
        desk.world.wait(100)
    page = browser.get(f"/instance/{one}")
    assert page.text.count('<details id="at-') == 2
    assert "The newest 2. More" in words(page)
    assert f'href="/instance/{one}?entries=200#timeline"' in page.text
    more = browser.get(f"/instance/{one}?entries=200")
    assert more.text.count('<details id="at-') == 3
    assert "The newest" not in words(more)
    desk.world.wait(60)
    assert browser.get(news(more)).text.count('<details id="at-') == 3, "a page that follows keeps them"


# ---- forms behind buttons ----


def test_one_form_is_open_at_a_time_and_an_address_opens_one(browser: TestClient, one: str) -> None:
    """Browsers close the other ones of the same name."""

    def opened(query: str) -> list[str]:
        text = browser.get(f"/instance/{one}{query}").text
        assert re.findall(r'<details name="change" id="(\w+)"', text) == ["pin", "detach", "tag"]
        return re.findall(r'<details name="change" id="(\w+)" open', text)

    assert opened("") == []
    assert opened("?open=detach") == ["detach"]
    assert opened("?role=db") == ["pin"]
    assert opened("?verb=detach&reason=x") == ["detach"]
    assert opened("?key=app&value=db") == ["tag"]
    assert opened("?open=%22%3E") == []


def test_beside_each_form_and_undo_is_the_command_that_does_the_same(browser: TestClient, desk: Desk, one: str) -> None:
    does(browser, one, "pin", verb="replace", role="db")
    desk.world.reconcile(one)
    desk.world.stop(one)
    commands = re.findall(r"As a command</summary><code>(.*?)</code>", browser.get(f"/instance/{one}").text)
    assert commands == [
        f"rolekeeper replace {one} ROLE",
        f"rolekeeper detach {one}",
        f"aws ec2 create-tags --resources {one} --tags Key=KEY,Value=VALUE",
        f"rolekeeper release {one}",
        f"aws ec2 start-instances --instance-ids {one}",
        f"rolekeeper release {one}",
        f"rolekeeper replace {one} web",
    ]


def test_one_that_is_gone_shows_its_history(browser: TestClient, desk: Desk, one: str) -> None:
    desk.world.truth.terminate(one)
    desk.world.wait(60)
    page = browser.get(f"/instance/{one}")
    text = words(page)
    assert "This is its history" in text
    assert "Attach no role → web" in text
    assert "Pin a role" not in text
    assert "attached by Rolekeeper for app=web" in text, "on the line of time"
    assert "/facts" not in page.text, "there will be no news"


def test_one_that_never_was_is_a_designed_page_with_near_ones(browser: TestClient, desk: Desk) -> None:
    one = desk.converged("web", app="web", Name="frontend")
    page = browser.get(f"/instance/{one[:-1]}2")
    near = browser.get("/instance/frontent")
    assert (page.status_code, near.status_code) == (404, 404)
    assert f'href="/instance/{one}"' in page.text
    assert 'href="/instance/frontend"' in near.text


def test_what_changed_of_it_changes_beside_the_forms_too(browser: TestClient, desk: Desk) -> None:
    one = desk.world.running(Name="plain")
    page = browser.get(f"/instance/{one}")
    assert 'name="verb" value="attach"' in page.text
    assert '<div id="detach-head" hidden>' in page.text, "there is no role to detach"
    desk.world.tag(one, app="web")
    desk.world.reconcile(one)
    part = browser.get(news(page))
    said = words(part)
    assert 'name="verb" value="replace"' in part.text
    assert "app web" in said, "its tags"
    assert '<div id="detach-head" hx-swap-oob="true">' in part.text
    assert part.text.count("hx-swap-oob") == 6
    assert 'name="reason"' not in part.text, "fields keep what was typed"


def test_who_did_it_is_a_part_and_a_page(browser: TestClient, one: str) -> None:
    part = browser.get(f"/instance/{one}/who", headers={"HX-Request": "true"})
    assert "Tagged by unknown (app=web): not in CloudTrail's event history" in words(part)
    page = browser.get(f"/instance/{one}/who")
    assert ["<html" in each.text for each in (part, page)] == [False, True]
    assert "Back to the instance" in words(page)


# ---- changing ----


def test_of_two_plans_at_once_one_is_done(
    site: Site, browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, write = desk.converged("web", app="web"), pins.put
    form = {"verb": "replace", "role": "db"}
    plans = [browser.post(f"/instance/{one}/pin", data=form).url.path for _ in range(2)]

    def slow(*pin: Any, **former: Any) -> Any:
        time.sleep(0.3)  # until the other one has looked at the instance
        return write(*pin, **former)

    monkeypatch.setattr(pins, "put", slow)
    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(lambda plan: console.browser(site).post(plan, follow_redirects=False), plans))
    said = [words(browser.get(each.headers["location"])) for each in done]
    assert sorted("is pinned to db" in each for each in said) == [False, True]
    assert sum("isn't as it was when this was planned" in each for each in said) == 1


def test_a_form_that_cant_be_meant_comes_back(browser: TestClient, one: str) -> None:
    form = {"verb": "attach", "role": "wbe", "reason": "incident 42"}
    back = browser.post(f"/instance/{one}/pin", data=form)
    assert "Did you mean web?" in words(back)
    assert 'value="incident 42"' in back.text, "as it was typed"
    odd = browser.post(f"/instance/{one}/pin", data={**form, "verb": "conjure"})
    assert "'conjure' is none of attach, replace, detach" in words(odd)


def test_a_detach_asks_for_its_word(browser: TestClient, desk: Desk, one: str) -> None:
    planned = browser.post(f"/instance/{one}/pin", data={"verb": "detach"})
    assert f"<code>rolekeeper revoke {one}</code>" in planned.text
    assert "→ no role on 1 instance" in words(planned)
    assert "the word to type is Detach" in words(browser.post(planned.url.path))
    assert not desk.world.state.read([desk.world.key(one)]).pins
    done = browser.post(planned.url.path, data={"confirm": "Detach"})
    assert "is pinned to no role" in words(done)


def test_a_pin_is_released(browser: TestClient, desk: Desk, one: str) -> None:
    does(browser, one, "pin", verb="replace", role="db")
    desk.world.reconcile(one)
    assert desk.world.carries(one) == "db"
    planned, done = does(browser, one, "release")
    assert "Its pin to db ends." in words(planned)
    assert "It should carry db now, and web then." in words(planned)
    assert "is released from db and goes back to its tags" in words(done)
    assert 'id="release"' not in browser.get(f"/instance/{one}").text
    assert "has no pin" in words(browser.post(f"/instance/{one}/release")), "a second one"


def test_a_tag_is_set_and_removed(browser: TestClient, desk: Desk) -> None:
    one = desk.world.running(Name="plain")
    planned, done = does(browser, one, "tag", do="set", key="app", value="web")
    assert f"Set tag app=web on {one}" in words(planned)
    assert "no role → " in words(planned)
    assert "It should carry no role now, and web then." in words(planned)
    assert f"Tag app=web is set on {one} (plain)." in words(done)
    desk.world.reconcile(one)
    planned, done = does(browser, one, "tag", do="remove", key="app")
    assert "→ no role on 1 instance" in words(planned)
    assert "the word to type is Detach" in words(done)
    assert f"Tag app is removed from {one}" in words(browser.post(planned.url.path, data={"confirm": "Detach"}))
    assert "has no tag app" in words(browser.post(f"/instance/{one}/tag", data={"do": "remove", "key": "app"}))


def test_blanks_around_a_tag_are_part_of_it(browser: TestClient, desk: Desk) -> None:
    one = desk.world.running(Name="plain")
    planned, done = does(browser, one, "tag", do="set", key="app ", value=" web")
    assert "The blanks at the ends of 'app ' and ' web' are part of the tag." in words(planned)
    assert '<th scope="row" class="exact">app </th><td class="exact"> web</td>' in done.text


def test_a_pin_keeps_what_a_change_to_come_would_take(browser: TestClient, desk: Desk) -> None:
    without = desk.world.running(app="web")
    assert "Pin it to no role" in words(browser.get(f"/instance/{without}"))
    planned, _ = does(browser, without, "pin", verb="detach")
    assert f"Pin {without} to no role" in words(planned)
    assert "Its role stays as it is The pin lasts until it is released." in words(planned)
    one = desk.converged("web", app="web")
    desk.world.untag(one, "app")
    page = browser.get(f"/instance/{one}")
    assert "No step keeps" not in words(page)
    assert "Pin it to web" in words(page)
    planned, _ = does(browser, one, "pin", verb="replace", role="web")
    assert "Its role stays as it is" in words(planned)


def test_a_stopped_one_that_waits_is_started(browser: TestClient, desk: Desk, one: str) -> None:
    desk.world.stop(one)
    desk.edit("app=web", role="db")
    assert "Rolekeeper waits for its start" in words(browser.get(f"/instance/{one}"))
    planned, done = does(browser, one, "start")
    assert " on 1 instance" in words(planned)
    assert f"{one} is started." in words(done)
    assert "Only a stopped instance can be started" in words(browser.post(f"/instance/{one}/start"))


def test_a_missing_permission_is_named(browser: TestClient, desk: Desk) -> None:
    one = desk.world.running()
    planned = browser.post(f"/instance/{one}/pin", data={"verb": "attach", "role": "web"})
    desk.world.calls.before("PutItem", refusing("AccessDeniedException", "not you"))
    done = browser.post(planned.url.path)
    assert done.status_code == 502
    assert "You aren't allowed dynamodb:PutItem" in words(done)
    assert f'href="/instance/{one}">Back to the instance' in done.text
    assert "is pinned to web" in words(browser.post(planned.url.path)), "what failed can be done again"


# ---- what changes without the instance ----


def test_a_pause_is_said_on_an_open_page(browser: TestClient, desk: Desk, terminal: Terminal, one: str) -> None:
    page = browser.get(f"/instance/{one}")
    assert "No changes are made now" not in words(page)
    seen = news(page)
    assert terminal("pause", "--reason", "incident", "--yes").exit_code == 0
    desk.world.wait(10)
    assert browser.get(seen).status_code in {200, 204}, "the thread looks at the switches"
    assert "No changes are made now" in words(browser.get(f"/instance/{one}"))
    assert browser.get(seen).status_code == 200
    _, done = does(browser, one, "pin", verb="replace", role="db")
    assert "is pinned to db, and EC2 doesn't show it yet. What ends that:" in words(done)
    assert "Nothing changes yet" not in words(done), "the page says why in a box of its own"


def test_what_is_too_long_for_an_address_isnt_put_into_one(browser: TestClient, one: str) -> None:
    form = {"verb": "replace", "role": "no-such", "reason": "x" * 60_000}
    assert "The reason has more than 500 characters" in words(browser.post(f"/instance/{one}/pin", data=form))
    answer = browser.post(f"/instance/{one}/pin", data=form, follow_redirects=False)
    assert answer.status_code == 303
    assert len(answer.headers["location"]) < 2_000
    assert "role=no-such" in answer.headers["location"]


def test_without_suggestions_its_page_and_the_forms_show_nonetheless(browser: TestClient, desk: Desk, one: str) -> None:
    """Roles are offered in a form where IAM lists them; where it is throttled, a person types one."""
    for path in (f"/instance/{one}", "/mapping/new"):
        desk.world.calls.before("ListRoles", refusing("Throttling", "Rate exceeded"))
        page = browser.get(path)
        assert (page.status_code, '<option value="db">' in page.text) == (200, False)
    assert '<option value="db">' in browser.get("/mapping/new").text


@pytest.mark.parametrize("part", ["who", "uptake"])
def test_tabs_of_one_instance_ask_cloudtrail_once(
    browser: TestClient, desk: Desk, terminal: Terminal, part: str
) -> None:
    one, asked = desk.converged("web", app="web"), terminal.trail.asked
    browser.get(f"/instance/{one}")
    first = browser.get(f"/instance/{one}/{part}")
    often = len(asked)
    assert often > 0
    assert {browser.get(f"/instance/{one}/{part}").text == first.text for _ in range(5)} == {True}
    assert len(asked) == often
    desk.world.wait(60)
    browser.get(f"/instance/{one}/{part}")
    assert len(asked) > often, "events come up to 15 minutes late"
