"""Edits of mappings in the console go form, plan, write: nothing is written unseen."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from fixtures.account import mapping_key
from fixtures.console import hidden, news, text_of
from fixtures.console import main as text
from fixtures.mappings import Desk
from fixtures.terminal import CALLER, USER_ID, Terminal
from rolekeeper.settings import Limits
from rolekeeper_cli.console.page import Notice, mapping_url
from rolekeeper_cli.site import Site

pytestmark = pytest.mark.desk(usable=("web", "db"), rows={"workload=web": "web"})

WEB = {"key": "workload", "value": "web"}


def planned(browser: TestClient, tag: str = "workload=web", **columns: str) -> Response:
    """Open the form of a mapping, change columns, and have it planned."""
    key = mapping_key(tag)
    form = browser.get(mapping_url(key, "/mapping/edit"))
    typed = re.findall(r'<input id="f-\w+" name="(\w+)" value="([^"]*)"', form.text)
    names = {"key": key.tag_key, "value": key.tag_value, "version": hidden(form, "version")}
    data = {name: unescape(value) for name, value in typed} | names | columns
    return browser.post("/mapping/plan", data=data)


def pressed(browser: TestClient, what: str, **more: str) -> Response:
    """Press a button of the mapping's page."""
    return browser.post("/mapping/change", data={**WEB, "what": what, **more})


def written(browser: TestClient, plan: Response) -> Response:
    """Press the button of a plan."""
    return browser.post(plan.url.path)


# ---- form, plan, write ----


def test_a_new_mapping_is_planned_shown_and_written(browser: TestClient, desk: Desk, terminal: Terminal) -> None:
    instance = desk.world.running(app="new", Name="web-1")
    new = {"key": "app", "value": "new", "new": "yes", "role": "web", "owner": "team-web"}
    plan = browser.post("/mapping/plan", data={**new, "version": hidden(browser.get("/mapping/new"), "version")})
    said = text(plan)
    assert "no role → web on 1" in said
    assert f"1 no role → web web-1 {instance}" in said
    assert desk.row("app=new") == {}, "nothing is written before the button"
    terminal.judges("app=new")
    done = written(browser, plan)
    assert (done.url.path, "revision 1 is in effect" in text(done)) == ("/mapping", True)
    assert desk.row("app=new")["owner"] == "team-web"


def test_permissions_gained_and_lost_are_shown_with_the_instances(browser: TestClient, desk: Desk) -> None:
    desk.grant("web", "s3:GetObject")
    desk.grant("db", "dynamodb:Query")
    instance = desk.converged("web", workload="web")
    desk.world.profile("node", path="/")
    foreign = desk.world.running(profile="node", workload="web")
    browser.get("/")
    said = text(planned(browser, role="db"))
    assert "web → db on 1 of 2 instances; gains dynamodb:Query on * ; loses s3:GetObject" in said
    assert "Instances that carry foreign roles keep them (the page of each says what to do). What changes" in said
    assert f"1 keeps node Foreign role. {foreign}" in said
    assert f"1 web → db {instance}" in said


def test_a_mapping_to_none_says_what_ends_the_former_roles_credentials(browser: TestClient, desk: Desk) -> None:
    desk.converged("web", workload="web")
    plan = planned(browser, role="NONE").text
    assert "Software may use the former role&#39;s credentials until" in plan
    assert "once the role is taken away: <code>rolekeeper revoke INSTANCE</code>" in plan


def test_an_edit_is_changed_below_its_plan(browser: TestClient) -> None:
    form = {**WEB, "version": hidden(planned(browser, role="db"), "version"), "role": "db", "owner": "team-db"}
    assert "role web db owner none team-db" in text(browser.post("/mapping/plan", data=form))


def test_an_edit_is_refused_where_the_row_moved_after_the_plan(browser: TestClient, desk: Desk) -> None:
    plan = planned(browser, role="db")
    desk.edit("workload=web", role="web", owner="another")
    assert "Nothing was written: another actor changed workload=web since the plan" in text(written(browser, plan))
    assert (desk.row("workload=web")["role"], desk.row("workload=web")["owner"]) == ("web", "another")


def test_a_form_whose_row_moved_comes_back_as_it_was_typed(browser: TestClient, desk: Desk) -> None:
    version = hidden(browser.get("/mapping/edit", params=WEB), "version")
    desk.edit("workload=web", role="web", owner="another")
    answer = browser.post("/mapping/plan", data={**WEB, "version": version, "role": "db"})
    said = text(answer)
    assert (answer.status_code, "Another actor edited this mapping" in said) == (409, True)
    assert "owner another" in said
    assert 'name="role" value="db"' in answer.text
    # What came back is planned on the row as it is now.
    assert "Now Then role web db" in text(planned(browser, role="db"))


@pytest.mark.parametrize(
    ("columns", "problem"),
    [({"role": "a/b"}, "holds a path"), ({"expires_at": "tomorrow"}, "expires_at"), ({}, "Nothing was changed")],
)
def test_a_form_that_cant_be_meant_comes_back(browser: TestClient, columns: dict[str, str], problem: str) -> None:
    answer = planned(browser, **columns)
    assert (answer.status_code, problem in text(answer)) == (409, True)
    assert all(f'value="{each}"' in answer.text for each in columns.values())
    assert re.findall(r'name="(\w+)"[^>]*aria-invalid="true"', answer.text) == [*columns]
    assert "What the row says now" not in text(answer), "it is as it was"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({**WEB, "role": "db"}, "There is a mapping workload=web already"),
        ({"key": "app", "value": "new", "role": " "}, "No role is named"),
    ],
)
def test_a_new_mapping_overwrites_none_and_needs_a_role(browser: TestClient, typed: dict[str, str], said: str) -> None:
    answer = browser.post("/mapping/plan", data={"new": "yes", **typed})
    assert (answer.status_code, said in text(answer)) == (409, True)


def test_a_copy_begins_with_the_columns_of_another(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web", owner="team-web", priority=5)
    form = browser.get("/mapping/new", params=WEB).text
    typed = {"owner": "team-web", "priority": "5", "key": ""}
    assert [name for name, value in typed.items() if f'name="{name}" value="{value}"' not in form] == []


@pytest.mark.parametrize(
    ("button", "column", "value"),
    [({"what": "disable"}, "enabled", "False"), ({"what": "expire", "hours": "8"}, "expires_at", "2026-03-01T17:00:")],
)
def test_a_button_shows_its_plan_first(
    browser: TestClient, desk: Desk, terminal: Terminal, button: dict[str, str], column: str, value: str
) -> None:
    plan = pressed(browser, **button)
    assert column not in desk.row("workload=web")
    terminal.judges("workload=web")
    assert "is in effect" in text(written(browser, plan))
    assert str(desk.row("workload=web")[column]).startswith(value)
    listed = browser.get("/mappings").text
    assert {'unknown">Disabled' in listed, 'class="off"' in listed} == {column == "enabled"}, "in grey"


def test_a_plan_says_what_its_status_will_be_and_puts_no_weight_on_writing_a_bad_one(
    browser: TestClient, terminal: Terminal
) -> None:
    good, bad = planned(browser, role="db"), planned(browser, role="dbb")
    assert "Its status then: Published" in text(good)
    assert "No instance changes." in text(good)
    assert '<button class="button primary">Apply' in good.text
    assert "Its status then: Rejected Role 'dbb' doesn't exist" in text(bad)
    assert text(bad).count("did you mean 'db'?") == 1
    assert '<button class="button">Apply' in bad.text
    terminal.judges("workload=web")
    page = written(browser, bad)
    assert "Written: workload=web is Rejected. Did you mean the role db?" in text(page)
    boxes = page.text.partition("<main")[2].split('<div class="note ')[1:]
    assert sum("doesn&#39;t exist" in each.partition("</div>")[0] for each in boxes) == 1
    assert "doesn't exist" in text(browser.get(bad.url.path)), "the plan says what became of it, and why"
    assert re.search(r"<details open>\s*<summary>Change the edit", bad.text)


def test_deleting_names_who_loses_a_role(browser: TestClient, desk: Desk, terminal: Terminal) -> None:
    desk.edit("workload=web", role="web", priority=50)
    instance = desk.converged("web", workload="web")
    plan = pressed(browser, "delete")
    said = text(plan)
    assert "role web nothing priority 50 nothing" in said
    assert "web → no role on 1" in said
    assert f"1 web → no role {instance}" in said
    terminal.judges("workload=web")
    done = written(browser, plan)
    assert (done.url.path, "workload=web is deleted" in text(done)) == ("/mappings", True)
    assert desk.row("workload=web") == {}


def test_going_back_to_an_old_revision(browser: TestClient, desk: Desk, terminal: Terminal) -> None:
    desk.edit("workload=web", role="db")
    page = browser.get("/mapping", params=WEB).text
    assert re.findall(r'aria-label="Roll back to this: (.*?)"', page) == ["revision 1"]
    plan = pressed(browser, "roll-back", to="1")
    terminal.judges("workload=web")
    assert "revision 3 is in effect" in text(written(browser, plan))
    assert desk.row("workload=web")["role"] == "web"


# ---- held edits ----


@pytest.mark.parametrize("path", ["/mappings", "/mapping"])
@pytest.mark.parametrize("button", ["approve", "discard"])
def test_a_held_edit_is_shown_before_its_button_and_leads_back_to_where_one_was(
    browser: TestClient, held: Desk, terminal: Terminal, button: str, path: str
) -> None:
    page = browser.get(path, params=WEB)
    found = re.findall(r'href="(/mapping/held\?[^"]*)"[^>]*>(.*?)</a>', page.text)
    links = {text_of(label): unescape(link) for link, label in found}
    assert [each.partition("#")[2] for each in links.values()] == ["", "approve", "discard"]
    shown = browser.get(links[f"{button.capitalize()} …"])
    assert "web → db on 2" in text(shown), "nobody approves what wasn't shown"
    assert "by al (claimed)" in text(shown)
    assert re.search(rf'action="/mapping/{button}">.*?<button [^>]*id="{button}"', shown.text)
    assert f'href="{path}' in shown.text.partition('class="bar does"')[2], "and so does Cancel"
    assert held.row("workload=web")["status"] == "Held"
    terminal.judges("workload=web", "workload=web")
    form = {**WEB, "from": hidden(shown, "from"), "revision": hidden(shown, "revision")}
    done = browser.post(f"/mapping/{button}", data=form)
    assert done.url.path == path
    approved = button == "approve"
    said = "workload=web is Published as written: revision 2 is in effect" if approved else "is discarded"
    assert said in text(done)
    assert held.row("workload=web")["role"] == ("db" if approved else "web")
    assert (f"approved by moto ({USER_ID})" in text(browser.get("/mapping", params=WEB))) == approved


def test_nobody_approves_an_edit_of_their_own(browser: TestClient, held: Desk) -> None:
    held.edit("workload=web", role="db", owner="me", edited_by=CALLER)
    shown = browser.get("/mapping/held", params=WEB)
    assert "another person has to approve it" in text(shown)
    assert pressed(browser, "discard").url.path == "/mapping/held", "as undoing it"
    assert "/mapping/approve" not in shown.text
    answer = browser.post("/mapping/approve", data={**WEB, "revision": hidden(shown, "revision")})
    assert (answer.status_code, "is your own edit" in text(answer)) == (409, True)


# ---- plans of many instances ----


@pytest.fixture(params=["plan", "held"])
def address(request: pytest.FixtureRequest, browser: TestClient, desk: Desk) -> str:
    """The page of a plan that gives five instances another role, of an edit or of one that is held."""
    for _ in range(5):
        desk.converged("web", workload="web")
    if request.param == "plan":
        return planned(browser, role="db").url.path
    desk.limits = Limits(1, 0)
    desk.edit("workload=web", role="db", edited_by="al")
    return mapping_url(mapping_key("workload=web"), "/mapping/held")


def again(address: str) -> str:
    page, _, query = address.partition("?")
    return f"{page}/again?{query}"


def test_the_page_is_there_at_once_and_goes_on_by_itself(
    later: list[Callable[[], None]], browser: TestClient, desk: Desk, address: str
) -> None:
    browser.get("/")
    page = browser.get(address)
    assert "Finding out what it would do to 5 instances with this tag: it begins." in text(page)
    assert ("<noscript>" in page.text, 'method="post"' in page.text) == (True, False), "nobody does what isn't shown"
    part = news(page, address.partition("?")[0])
    assert browser.get(part).status_code == 204
    assert browser.post(address).status_code in {405, 409}
    assert len(later) == 1, "all of them wait for the same"
    later.pop()()
    whole = browser.get(part)
    assert "web → db on 5" in text(whole)
    assert ('method="post"' in whole.text, "hx-get" in whole.text) == (True, False)
    assert desk.in_effect("workload=web").revision == 1


def test_it_is_kept_until_something_is_written_or_the_fleet_is_read_anew(
    browser: TestClient, desk: Desk, site: Site, address: str
) -> None:
    def looks(path: str = address) -> bool:
        """Open the page; returns whether instances are looked at for it."""
        desk.world.calls.clear()
        browser.get(path)
        return "DescribeInstances" in desk.world.calls.made

    browser.get("/")
    browser.get(address)
    desk.world.wait(30)
    assert (looks(), looks(again(address)), looks()) == (False, True, False)
    desk.world.wait(30)
    said = text(browser.get(address))
    assert ("web → db on 5" in said, "Counted 3" in said) == (True, True)
    assert ("When it was held" in said) == ("/held" in address)
    desk.world.wait(301)
    assert not looks()
    browser.get("/")
    assert looks(), "the fleet was read anew"
    site.say(Notice("Something was written"))
    assert looks()


def test_a_group_is_opened_searched_and_read_page_by_page(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr("rolekeeper_cli.console.page.PAGE", 2)
    monkeypatch.setattr("rolekeeper_cli.console.page.FEW", 4)
    closed = browser.get(address)
    assert "5 web → db List them" in text(closed), "without JavaScript too"
    group = closed.url.join(unescape(re.findall(r'<a href="([^"]*)">List them', closed.text)[0]))
    lists = [browser.get(group.copy_merge_params({"page": number})).text for number in (1, 2, 3)]
    seen = [each for page in lists for each in re.findall(r'<a href="/instance/([^"]*)"', page)]
    assert (len({*seen}), len(seen), "page-next" in lists[0]) == (5, 5, True)
    found = browser.get(group.copy_merge_params({"text": seen[3]}))
    assert re.findall(r'<a href="/instance/([^"]*)"', found.text) == [seen[3]]
    monkeypatch.setattr("rolekeeper_cli.mapping.edits_page.MOST", 3)
    assert "The first 3 are listed, and 2 more counted." in text(browser.get(again(address)))


# ---- deletions ----


def test_one_without_a_row_that_is_still_in_effect_can_be_put_back(
    browser: TestClient, onlooker: TestClient, desk: Desk, terminal: Terminal
) -> None:
    desk.delete("workload=web")
    assert "Undo the deletion" not in text(onlooker.get("/mapping", params=WEB))
    page = browser.get("/mapping", params=WEB)
    said = "Its row was deleted, and it is still in effect: its instances carry web, revision 1"
    assert (page.status_code, said in text(page)) == (200, True)
    plan = pressed(browser, "discard")
    terminal.judges("workload=web")
    assert "In effect: web , revision 1" in text(written(browser, plan))
    desk.remove("workload=web")
    assert browser.get("/mapping", params=WEB).status_code == 404, "it is out of effect"


def test_a_deletion_that_is_held_leads_to_the_mapping(browser: TestClient, desk: Desk, terminal: Terminal) -> None:
    for _ in range(3):
        desk.converged("web", workload="web")
    desk.limits = Limits(2, 0)
    plan = pressed(browser, "delete")
    terminal.judges("workload=web")
    said = text(written(browser, plan))
    assert "Written, and not in effect yet." in said
    assert "waits until another person" not in said, "the box of the row says why"
    assert "Review Approve … Discard …" in said


# ---- who only looks ----


def test_a_console_that_only_shows_has_no_form_that_changes_anything(onlooker: TestClient, held: Desk) -> None:
    one = held.converged("web", workload="web")
    forms = ("/mapping/new", "/mapping/edit")
    paths = ("/mappings", "/mapping", "/mapping/held", "/settings", "/mappings/overlaps", f"/instance/{one}", *forms)
    pages = {path: onlooker.get(path, params=WEB) for path in paths}
    pages["switch"] = onlooker.get("/settings/switch?what=pause&reason=x")
    said = {path: text(page) for path, page in pages.items()}
    assert [path for path, page in pages.items() if 'method="post"' in page.text] == []
    assert f"rolekeeper detach {one}" in said[f"/instance/{one}"], "but what to type"
    assert "<form" not in pages["/settings"].text.partition("<main")[2]
    assert "Review" in said["/mappings"]
    assert not re.search("(Approve|Discard) …", said["/mappings"] + said["/mapping"])
    assert "This console only shows." in said["switch"]
    assert "start it with --write" in said["/mapping/held"]
    assert [(pages[path].status_code, "rolekeeper console --write" in said[path]) for path in forms] == [
        (404, True)
    ] * 2
