"""Mappings in the console: a list, one of them, and edits that go form, plan, write; nothing is written unseen."""

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
from rolekeeper.model.mapping import Pin
from rolekeeper.settings import Limits
from rolekeeper_cli.console.page import Notice, mapping_url
from rolekeeper_cli.site import Site

pytestmark = pytest.mark.usefixtures("web_and_db")

WEB = {"key": "workload", "value": "web"}


def planned(browser: TestClient, tag: str, **columns: str) -> Response:
    """Open the form of a mapping, change columns, and have it planned."""
    key = mapping_key(tag)
    form = browser.get(mapping_url(key, "/mapping/edit"))
    typed = {
        name: unescape(value)
        for name, value in re.findall(r'<input id="f-\w+" name="(\w+)" value="([^"]*)"', form.text)
    }
    names = {"key": key.tag_key, "value": key.tag_value, "version": hidden(form, "version")}
    return browser.post("/mapping/plan", data={**typed, **names, **columns})


def written(browser: TestClient, plan: Response) -> Response:
    """Press the button of a plan."""
    return browser.post(plan.url.path)


# ---- the list, and one ----


@pytest.mark.parametrize(
    ("status", "details", "said"),
    [
        (
            "Rolling out",
            {"code": "rolling-out", "wave": 2, "waves": 3, "may": 3, "total": 6, "counts": "1, 3, 6"},
            "Wave 2 of 3: 2 of 6",
        ),
        (
            "Halted",
            {"code": "alarm-rings", "wave": 1, "waves": 3, "total": 6, "counts": "1, 3, 6"},
            "Wave 1 of 3: 2 of 6",
        ),
        ("Halted", {"code": "alarm-rings", "wave": "x", "waves": 3, "total": 6, "counts": "1"}, ""),
    ],
)
def test_a_rollout_shows_how_far_it_has_come_with_its_waves_as_marks(
    browser: TestClient, desk: Desk, status: str, details: dict[str, object], said: str
) -> None:
    desk.edit("workload=web", role="web", rollout="1, 50%, 100% every 15m")
    desk.set("workload=web", status=status, status_reason="in waves", status_details=[details], moved=2)
    page = browser.get(mapping_url(mapping_key("workload=web"))).text
    marks = re.findall(r'<line x1="(\d+)"', page)
    assert marks == (["16", "50", "100"] if said else [])
    assert f"{said} instances moved" in text_of(page) or not said


def test_the_list_begins_with_what_wants_a_person(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web", owner="team-web")
    desk.edit("workload=bad", role="no-such")
    desk.put("app=new", role="db")
    said = text(browser.get("/mappings"))
    assert said.index("workload=bad") < said.index("app=new") < said.index("workload=web")
    assert "Rejected" in said
    assert "Not judged yet" in said
    only = text(browser.get("/mappings", params={"status": "Rejected"}))
    assert "workload=bad" in only
    assert "1 of 3 mappings" in only
    assert "1 of 3 mappings" in text(browser.get("/mappings", params={"text": "TEAM-WEB"}))
    assert "No mapping matches There are 3 in all." in text(
        browser.get("/mappings", params={"text": "nothing like it"})
    )


def test_the_instances_that_a_mapping_governs_are_counted_now(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    desk.edit("workload=db", role="db")
    for _ in range(2):
        desk.world.running(workload="web")
    desk.converged("web", workload="web")
    links = re.findall(r'href="/\?(.*?)" aria-label="(.*?)"', unescape(browser.get("/mappings").text))
    assert links == [
        ("mapping=workload%3Ddb", "0 instances of workload=db"),
        ("mapping=workload%3Ddb&condition=drift", "0 in drift of workload=db"),
        ("mapping=workload%3Dweb", "3 instances of workload=web"),
        ("mapping=workload%3Dweb&condition=drift", "2 in drift of workload=web"),
    ]
    assert "In effect: web , revision 1, on 3 instances , 2 in drift" in text(browser.get("/mapping", params=WEB))


def column(page: Response, number: int) -> list[str]:
    """What a column of the list says, from above."""
    rows = re.findall(r'<tr id="row-\d+">(.*?)</tr>', page.text, re.DOTALL)
    return [text_of(re.findall(r"<t[hd].*?</t[hd]>", each, re.DOTALL)[number]) for each in rows]


def test_the_list_is_sorted_by_any_column_and_stays_so_while_it_is_filtered(
    browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.edit("app=a", role="web", priority=7, owner="y", edited_by="zoe")
    desk.edit("app=b", role="db", owner="x", edited_by="arn:aws:iam::123456789012:user/amy")
    desk.edit("app=c", role="db", priority=200, owner="z", edited_by="bob", expires_at="2030-01-01T00:00:00Z")
    for _ in range(2):
        desk.world.running(app="b")
    orders = {
        "": "abc",
        "status": "abc",
        "-mapping": "cba",
        "role": "bca",
        "-number": "bac",
        "-drift": "bac",
        "-at": "cba",
        "by": "bca",
        "priority": "abc",
        "owner": "bac",
        "-expires_at": "cab",
        "no-such": "abc",
    }
    with monkeypatch.context() as few:
        few.setattr("rolekeeper_cli.console.page.PAGE", 2)
        for sort, wanted in orders.items():
            pages = [browser.get("/mappings", params={"sort": sort, "page": number}) for number in (1, 2)]
            assert [column(each, 1) for each in pages] == [[f"app={each}" for each in wanted[:2]], [f"app={wanted[2]}"]]
    page = browser.get("/mappings")
    assert (column(page, 7), column(page, 8)) == (["zoe", "amy", "bob"], ["7", "100", "200"])
    page = browser.get("/mappings", params={"sort": "-priority", "status": "Published"})
    assert 'aria-sort="descending"' in page.text
    assert hidden(page, "sort") == "-priority"
    links = {
        "&".join(sorted(unescape(each).split("&"))) for each in re.findall(r'href="/mappings\?([^"]*)"', page.text)
    }
    assert {"sort=-priority", "sort=owner&status=Published", "sort=-priority&status=Published"} <= links


def test_who_edited_a_row_last_and_when_is_listed_also_of_edits_that_arent_in_effect(
    browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.edit("app=a", role="web", edited_by="amy")
    desk.world.wait(600)
    desk.edit("app=b", role="no-such", edited_by="bob")
    with monkeypatch.context() as few:
        few.setattr("rolekeeper_cli.console.page.PAGE", 1)
        asked = len(desk.world.calls.made)
        assert column(browser.get("/mappings?page=2"), 7) == ["amy"]
        assert "Query" not in desk.world.calls.made[asked:], "of the other page's edits nothing is read"
        assert column(browser.get("/mappings?page=2&text=bob"), 1) == ["app=b"]
    page = browser.get("/mappings")
    assert (column(page, 1), column(page, 7)) == (["app=b", "app=a"], ["bob", "amy"])
    assert column(page, 6) == ["0 s ago", "10 min ago"]
    # What is stored of an edit isn't asked for again.
    asked = len(desk.world.calls.made)
    desk.world.wait(10)
    browser.get("/mappings")
    again = desk.world.calls.made[asked:]
    assert again.count("Query") == 0
    desk.edit("app=b", role="db", edited_by="cid")
    desk.world.wait(10)
    assert "cid" in column(browser.get("/mappings"), 7)


def test_what_waits_is_said_in_a_line_with_all_of_it_on_hover(browser: TestClient, held: Desk) -> None:
    held.edit("app=bad", role="no-such")
    held.put("app=new", role="db")
    page = browser.get("/mappings")
    rejected, waiting, new = (each for each in column(page, 3))
    assert rejected.startswith("→ no-such Role 'no-such' doesn't exist")
    assert waiting == "→ db revision 2 Review Approve … Discard … Edit"
    assert new == "→ db Edit"
    titles = [unescape(each) for each in re.findall(r'class="line" title="(.*?)"', page.text)]
    assert "replace 2" in titles[1]
    assert "rolekeeper mapping approve" not in titles[1], "its button says that"
    counts = re.findall(r'<a id="status-.*?</a>', page.text)
    assert [text_of(each) for each in counts] == ["Rejected 1", "Held 1", "Not judged yet 1"]


def test_a_mapping_that_isnt_there_is_said(browser: TestClient) -> None:
    answer = browser.get("/mapping", params=WEB)
    assert answer.status_code == 404
    assert "There is no mapping workload=web" in text(answer)
    assert browser.get("/mapping").status_code == 400


# ---- editing: form, plan, write ----


def test_a_new_mapping_is_planned_shown_and_written(browser: TestClient, desk: Desk, terminal: Terminal) -> None:
    instance = desk.world.running(workload="web", Name="web-1")
    form = browser.get("/mapping/new")
    plan = browser.post(
        "/mapping/plan",
        data={**WEB, "new": "yes", "version": hidden(form, "version"), "role": "web", "owner": "team-web"},
    )
    said = text(plan)
    assert "no role → web on 1" in said
    assert f"1 no role → web web-1 {instance}" in said
    assert "Published" in said
    assert desk.row("workload=web") == {}, "nothing is written before the button"
    terminal.judges("workload=web")
    done = written(browser, plan)
    assert done.url.path == "/mapping"
    assert "revision 1 is in effect" in text(done)
    assert desk.row("workload=web")["owner"] == "team-web"


def test_permissions_gained_and_lost_are_shown_with_the_instances(browser: TestClient, desk: Desk) -> None:
    desk.grant("web", "s3:GetObject")
    desk.grant("db", "dynamodb:Query")
    desk.edit("workload=web", role="web")
    instance = desk.converged("web", workload="web")
    foreign = desk.world.running(profile="node", workload="web") if desk.world.profile("node", path="/") else ""
    browser.get("/")
    said = text(planned(browser, "workload=web", role="db"))
    assert "web → db on 1 of 2 instances; gains dynamodb:Query on * ; loses s3:GetObject" in said
    assert "Instances that carry foreign roles keep them (the page of each says what to do). What changes" in said
    assert f"1 keeps node Foreign role. {foreign}" in said
    assert f"1 web → db {instance}" in said


def test_a_mapping_to_none_says_what_ends_the_former_roles_credentials(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    desk.converged("web", workload="web")
    plan = planned(browser, "workload=web", role="NONE").text
    assert "Software may use the former role&#39;s credentials until" in plan
    assert "once the role is taken away: <code>rolekeeper revoke INSTANCE</code>" in plan


def test_a_plan_is_written_once_and_has_a_page_of_its_own_to_which_a_browser_goes_back(
    browser: TestClient, desk: Desk, terminal: Terminal
) -> None:
    """What answers a sent form would ask to send it again."""
    desk.edit("workload=web", role="web")
    plan = planned(browser, "workload=web", role="db")
    assert [each.status_code for each in plan.history] == [303]
    assert text(browser.get(str(plan.url))) == text(plan)
    terminal.judges("workload=web")
    assert "revision 2 is in effect" in text(written(browser, plan))
    for again in (browser.get(str(plan.url)), written(browser, plan)):
        assert (
            "no plan is carried out twice. Result: workload=web is Published as written: revision 2 is in effect"
            in text(again)
        )
        assert '<a class="button" href="/mapping?key=workload&amp;value=web">' in again.text
    assert desk.served("workload=web").revision == 2  # type: ignore[union-attr]


def test_an_edit_is_changed_below_its_plan(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    plan = planned(browser, "workload=web", role="db")
    form = {**WEB, "version": hidden(plan, "version"), "role": "db", "owner": "team-db"}
    assert "role web db owner none team-db" in text(browser.post("/mapping/plan", data=form))


def test_an_edit_is_refused_where_the_row_moved_after_the_plan(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    plan = planned(browser, "workload=web", role="db")
    desk.edit("workload=web", role="web", owner="another")
    done = written(browser, plan)
    assert "Nothing was written: another actor changed workload=web since the plan" in text(done)
    assert (desk.row("workload=web")["role"], desk.row("workload=web")["owner"]) == ("web", "another")


def test_a_form_whose_row_moved_comes_back_as_it_was_typed(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    version = hidden(browser.get("/mapping/edit", params=WEB), "version")
    desk.edit("workload=web", role="web", owner="another")
    answer = browser.post("/mapping/plan", data={**WEB, "version": version, "role": "db"})
    assert answer.status_code == 409
    said = text(answer)
    assert "Another actor edited this mapping" in said
    assert "owner another" in said
    assert 'name="role" value="db"' in answer.text
    # What came back is planned on the row as it is now.
    assert "Now Then role web db" in text(planned(browser, "workload=web", role="db"))


@pytest.mark.parametrize(
    ("columns", "problem"),
    [({"role": "a/b"}, "holds a path"), ({"expires_at": "tomorrow"}, "expires_at"), ({}, "Nothing was changed")],
)
def test_a_form_that_cant_be_meant_comes_back(
    browser: TestClient, desk: Desk, columns: dict[str, str], problem: str
) -> None:
    desk.edit("workload=web", role="web")
    answer = planned(browser, "workload=web", **columns)
    assert answer.status_code == 409
    assert problem in text(answer)
    assert all(f'value="{each}"' in answer.text for each in columns.values())
    marked = re.findall(r'name="(\w+)"[^>]*aria-invalid="true"', answer.text)
    assert marked == [name for name in columns if name in {"priority", "expires_at", "role"}]
    assert "What the row says now" not in text(answer), "it is as it was"


def test_a_new_mapping_overwrites_none_and_needs_a_role(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    answer = browser.post("/mapping/plan", data={**WEB, "new": "yes", "role": "db"})
    assert answer.status_code == 409
    assert "There is a mapping workload=web already" in text(answer)
    roleless = browser.post("/mapping/plan", data={"key": "app", "value": "new", "new": "yes", "role": " "})
    assert "No role is named" in text(roleless)


def test_a_copy_begins_with_the_columns_of_another(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web", owner="team-web", priority=5)
    form = browser.get("/mapping/new", params=WEB).text
    assert 'name="owner" value="team-web"' in form
    assert 'name="priority" value="5"' in form
    assert 'name="key" value=""' in form


def test_what_a_row_excludes_is_edited_and_shown(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web", not_accounts={"111111111111"})
    form = browser.get("/mapping/edit", params=WEB).text
    assert 'name="not_accounts" value="111111111111"' in form
    assert "Account ids that it is not for" in form
    plan = planned(browser, "workload=web", role="web", not_accounts="", not_units="ou-a1b2-c3d4e5f6/*")
    assert "not accounts 111111111111 none" in text(plan), text(plan)
    assert "not units none ou-a1b2-c3d4e5f6/*" in text(plan)
    assert "111111111111" in text(browser.get("/mapping", params=WEB))


@pytest.mark.parametrize(
    ("button", "row"), [({"what": "disable"}, {"enabled": False}), ({"what": "expire", "hours": "8"}, {"role": "web"})]
)
def test_a_button_shows_its_plan_first(
    browser: TestClient, desk: Desk, terminal: Terminal, button: dict[str, str], row: dict[str, object]
) -> None:
    desk.edit("workload=web", role="web")
    desk.converged("web", workload="web")
    plan = browser.post("/mapping/change", data={**WEB, **button})
    assert desk.row("workload=web").get("enabled") is None
    terminal.judges("workload=web")
    assert "is in effect" in text(written(browser, plan))
    assert row.items() <= desk.row("workload=web").items()
    assert ("expires_at" in desk.row("workload=web")) == (button["what"] == "expire")
    listed = browser.get("/mappings").text
    assert {'unknown">Disabled' in listed, 'class="off"' in listed} == {button["what"] == "disable"}, "in grey"


def test_a_plan_says_what_its_status_will_be_and_puts_no_weight_on_writing_a_bad_one(
    browser: TestClient, desk: Desk, terminal: Terminal
) -> None:
    desk.edit("workload=web", role="web")
    good, bad = planned(browser, "workload=web", role="db"), planned(browser, "workload=web", role="dbb")
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
    plan = browser.post("/mapping/change", data={**WEB, "what": "delete"})
    assert "role web nothing priority 50 nothing" in text(plan)
    assert "web → no role on 1" in text(plan)
    assert f"1 web → no role {instance}" in text(plan)
    terminal.judges("workload=web")
    done = written(browser, plan)
    assert done.url.path == "/mappings"
    assert "workload=web is deleted" in text(done)
    assert desk.row("workload=web") == {}


def test_going_back_to_an_old_revision(browser: TestClient, desk: Desk, terminal: Terminal) -> None:
    desk.edit("workload=web", role="web")
    desk.edit("workload=web", role="db")
    page = browser.get("/mapping", params=WEB)
    assert re.findall(r'aria-label="Roll back to this: (.*?)"', page.text) == ["revision 1"]
    plan = browser.post("/mapping/change", data={**WEB, "what": "roll-back", "to": "1"})
    terminal.judges("workload=web")
    assert "revision 3 is in effect" in text(written(browser, plan))
    assert desk.row("workload=web")["role"] == "web"


# ---- held edits ----


def test_a_held_edit_is_approved_beside_its_plan(browser: TestClient, held: Desk, terminal: Terminal) -> None:
    assert "→ db Revision 2 waits for approval:" in text(browser.get("/mapping", params=WEB))
    shown = browser.get("/mapping/held", params=WEB)
    assert "web → db on 2" in text(shown)
    assert "by al (claimed)" in text(shown)
    terminal.judges("workload=web")
    done = browser.post("/mapping/approve", data={**WEB, "revision": hidden(shown, "revision")})
    assert "revision 2 is in effect" in text(done)
    assert held.shows("workload=web")[::2] == ("Published", 2)
    assert f"approved by moto ({USER_ID})" in text(browser.get("/mapping", params=WEB))


@pytest.mark.parametrize(("origin", "path"), [("list", "/mappings"), ("", "/mapping")])
@pytest.mark.parametrize("button", ["approve", "discard"])
def test_a_held_edit_is_reached_from_the_list_and_leads_back_to_where_one_was(
    browser: TestClient, held: Desk, terminal: Terminal, button: str, origin: str, path: str
) -> None:
    page = browser.get(path, params=WEB)
    links = {
        text_of(label): unescape(link)
        for link, label in re.findall(r'href="(/mapping/held\?[^"]*)"[^>]*>(.*?)</a>', page.text)
    }
    assert [each.partition("#")[2] for each in links.values()] == ["", "approve", "discard"]
    shown = browser.get(links[f"{button.capitalize()} …"])
    assert "web → db on 2" in text(shown), "nobody approves what wasn't shown"
    assert re.search(rf'action="/mapping/{button}">.*?<button [^>]*id="{button}"', shown.text)
    assert f'href="{path}' in shown.text.partition('class="bar does"')[2], "and so does Cancel"
    assert held.row("workload=web")["status"] == "Held"
    terminal.judges("workload=web", "workload=web")
    form = {**WEB, "from": hidden(shown, "from"), "revision": hidden(shown, "revision")}
    done = browser.post(f"/mapping/{button}", data=form)
    assert done.url.path == path
    assert (
        "workload=web is Published as written: revision 2 is in effect" if button == "approve" else "is discarded"
    ) in text(done)
    assert origin in form["from"]
    assert held.row("workload=web")["role"] == ("db" if button == "approve" else "web")


def test_nobody_approves_an_edit_of_their_own(browser: TestClient, held: Desk) -> None:
    held.put("workload=web", role="db", owner="me", edited_by=CALLER)
    held.publish("workload=web")
    shown = browser.get("/mapping/held", params=WEB)
    assert "another person has to approve it" in text(shown)
    assert browser.post("/mapping/change", data={**WEB, "what": "discard"}).url.path == "/mapping/held", "as undoing it"
    assert "/mapping/approve" not in shown.text
    answer = browser.post("/mapping/approve", data={**WEB, "revision": hidden(shown, "revision")})
    assert answer.status_code == 409
    assert "is your own edit" in text(answer)


# ---- its edits ----


def test_a_rows_edits_are_shown_column_by_column_with_what_they_did(browser: TestClient, held: Desk) -> None:
    held.limits = Limits(25, 20)
    held.edit("workload=web", role="db", priority=5, edited_by="arn:aws:sts::123456789012:assumed-role/Ops/bo")
    held.edit("workload=web", role="no-such", edited_by="cy")
    held.edit("workload=web", role="db")
    held.remove("workload=web")
    held.edit("workload=web", role="web")
    edits = browser.get("/mapping", params=WEB).text.partition('class="steps edits"')[2]
    steps = re.split(r"<li>\s*<p>", edits)[1:]
    said = [text_of(each).partition(" · ")[::2] for each in steps]
    assert [first for first, _ in said] == [
        *("Published revision 6", "Removed revision 5", "Published revision 4", "Rejected"),
        *("Published revision 3", "Held revision 2", "Published revision 1"),
    ]
    back, removed, plain, rejected, third, waiting, first = (rest.partition("UTC) ")[2] for _, rest in said)
    assert back.startswith("role web")
    assert removed.startswith("role was db Instances: 2 detached")
    assert plain.startswith("priority was 5 Roll back to this")
    assert rejected.startswith("· by cy (claimed) Role 'no-such' doesn't exist")
    assert third.startswith("· by bo (claimed) role was web then db priority 5 Instances: 2 replaced")
    assert waiting.startswith("· by al (claimed) role was web then db Would change: 2 replaced")
    assert first.startswith("role web Roll back to this")


def test_an_edit_shows_what_it_changes_later_and_when(browser: TestClient, held: Desk) -> None:
    held.edit("workload=web", role="web", expires_at="2030-01-01T00:00:00Z")
    page = text(browser.get("/mapping", params=WEB))
    assert "At 2030-01-01T00:00:00Z: 0 attached, 0 replaced, 2 detached" in page


def test_a_damaged_revision_hides_no_other(browser: TestClient, held: Desk) -> None:
    item = held.revisions("workload=web")[0]
    held.world.store.write(held.world.store.put({**item, "spec": "damaged"}))
    page = browser.get("/mapping", params=WEB)
    assert page.status_code == 200
    assert "a new row role: web" in text(page), "as it was written down"


# ---- the same as a command ----


def test_a_page_says_which_command_does_the_same(browser: TestClient, held: Desk) -> None:
    held.edit("a=b=c", role="web", owner="x y")
    plan = planned(browser, r"a=b=c", role="db", owner="", description="it's new")
    odd = {"key": "a", "value": "b=c"}
    deletion = browser.post("/mapping/change", data={**odd, "what": "delete"})
    pages = [browser.get("/mapping", params=odd), plan, deletion, browser.get("/mapping/held", params=WEB)]
    copied = [hidden_copy(each) for each in pages]
    assert copied == [
        "rolekeeper mapping get a=b=c",
        """rolekeeper mapping set a=b=c role=db owner= 'description=it'"'"'s new'""",
        "rolekeeper mapping rm a=b=c",
        "rolekeeper mapping approve workload=web --revision 2",
    ]


def hidden_copy(page: Response) -> str:
    [found] = re.findall(r'class="copy" value="([^"]*)" aria-label="Copy the command"', page.text)
    return unescape(found)


# ---- mappings that match the same instances ----


@pytest.fixture
def shared(desk: Desk) -> Desk:
    """Two instances on which one mapping wins, three on which two tie, and one that a pin governs."""
    desk.edit("app=web", role="web", priority=50)
    desk.edit("tier=gold", role="db")
    for _ in range(2):
        desk.converged("web", app="web", tier="gold", Name="each has another")
    for _ in range(3):
        desk.world.running(tier="gold", team="a")
    arn = desk.in_effect("tier=gold").profile_arn
    desk.world.pin(desk.world.running(app="web", tier="gold"), Pin("db", arn))
    desk.edit("team=a", role="web", priority=200)
    desk.put("team=a", role="web", priority=100)
    return desk


def ladders(page: Response) -> list[str]:
    return [text_of(each) for each in re.findall(r"<tr>\s*<th scope=\"row\">.*?</tr>", page.text, re.DOTALL)]


def test_which_mappings_meet_and_who_wins_is_drawn(browser: TestClient, shared: Desk) -> None:  # noqa: ARG001
    page = browser.get("/mappings/overlaps")
    assert ladders(page) == [
        "db 100 tier=gold db wins 200 team=a web overridden 3",
        "web 50 app=web web wins 100 tier=gold db overridden 2",
    ]
    assert 'href="/?tag=app%3Dweb&amp;tag=tier%3Dgold" aria-label="2 instances' in page.text.replace("&tag", "&amp;tag")
    assert "Overlaps 2" in text(browser.get("/mappings"))
    own = browser.get("/mappings/overlaps", params={"key": "team", "value": "a"})
    assert len(ladders(own)) == 1
    assert "3 shared with other mappings" in text(browser.get("/mapping", params={"key": "team", "value": "a"}))


def test_a_tie_is_drawn_with_no_winner(browser: TestClient, shared: Desk) -> None:
    """Each was in effect before an instance carried both tags."""
    shared.edit("size=xl", role="web")
    instance = shared.world.running(tier="gold", size="xl")
    page = browser.get("/mappings/overlaps")
    step, own = "Give it priority 90 …", browser.get(f"/instance/{instance}")
    assert ladders(page)[0] == f"Tie 100 size=xl web tie {step} 100 tier=gold db tie {step} 1"
    assert f"100 size=xl web tie {step} 100 tier=gold db tie {step}" in text(own), "and on the page of each"
    link = re.findall(r'href="(/mapping/edit[^"]*)"', own.text)[1]
    assert 'name="priority" value="90"' in browser.get(unescape(link)).text
    assert "1 tie" in text(browser.get("/mappings"))


def test_rows_in_conflict_are_listed_with_the_reason_published_ones_too(browser: TestClient, shared: Desk) -> None:
    shared.publish("team=a")
    assert "Rows in conflict team=a → edit: conflicts with tier=gold" in text(browser.get("/mappings/overlaps"))
    shared.edit("size=xl", role="web")
    shared.world.running(tier="gold", size="xl")
    for tag in ("size=xl", "tier=gold"):
        shared.publish(tag)
    page = browser.get("/mappings/overlaps")
    assert "size=xl in effect: conflicts with tier=gold" in text(page)
    assert "tier=gold in effect: conflicts with" in text(page)


def test_where_nothing_meets_it_says_so(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web")
    desk.converged("web", workload="web")
    assert "No instance matches two mappings." in text(browser.get("/mappings/overlaps"))
    assert "No instance matches workload=web and another mapping." in text(
        browser.get("/mappings/overlaps", params=WEB)
    )
    assert "Overlaps" not in text(browser.get("/mappings"))


# ---- plans of many instances ----


@pytest.fixture(params=["plan", "held"])
def address(request: pytest.FixtureRequest, browser: TestClient, desk: Desk) -> str:
    """The page of a plan that gives five instances another role, of an edit or of one that is held."""
    desk.edit("workload=web", role="web")
    for _ in range(5):
        desk.converged("web", workload="web")
    if request.param == "plan":
        return planned(browser, "workload=web", role="db").url.path
    desk.limits = Limits(1, 0)
    desk.put("workload=web", role="db", edited_by="al")
    desk.publish("workload=web")
    return mapping_url(mapping_key("workload=web"), "/mapping/held")


def below(address: str, path: str) -> str:
    page, _, query = address.partition("?")
    return f"{page}{path}?{query}"


def looked_for(browser: TestClient, desk: Desk, address: str) -> tuple[str, bool]:
    """What a page says, and whether instances were looked at for it."""
    desk.world.calls.clear()
    said = text(browser.get(address))
    return said, "DescribeInstances" in desk.world.calls.made


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
    assert desk.served("workload=web").revision == 1  # type: ignore[union-attr]


def test_it_is_kept_until_something_is_written_or_the_fleet_is_read_anew(
    browser: TestClient, desk: Desk, site: Site, address: str
) -> None:
    browser.get("/")
    browser.get(address)
    desk.world.wait(30)
    said, looked = looked_for(browser, desk, address)
    assert ("web → db on 5" in said, "Counted 3" in said, looked) == (True, True, False)
    assert ("When it was held" in said) == ("/held" in address)
    assert looked_for(browser, desk, below(address, "/again"))[1]
    assert not looked_for(browser, desk, address)[1]
    desk.world.wait(301)
    assert not looked_for(browser, desk, address)[1]
    browser.get("/")
    assert looked_for(browser, desk, address)[1], "the fleet was read anew"
    site.say(Notice("Something was written"))
    assert looked_for(browser, desk, address)[1]


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
    assert "The first 3 are listed, and 2 more counted." in text(browser.get(below(address, "/again")))


# ---- deletions ----


def test_one_without_a_row_that_is_still_in_effect_can_be_put_back(
    browser: TestClient, onlooker: TestClient, desk: Desk, terminal: Terminal
) -> None:
    desk.edit("workload=web", role="web")
    desk.delete("workload=web")
    assert "Undo the deletion" not in text(onlooker.get("/mapping", params=WEB))
    page = browser.get("/mapping", params=WEB)
    assert page.status_code == 200
    assert "Its row was deleted, and it is still in effect: its instances carry web, revision 1" in text(page)
    plan = browser.post("/mapping/change", data={**WEB, "what": "discard"})
    terminal.judges("workload=web")
    assert "In effect: web , revision 1" in text(written(browser, plan))
    desk.edit("workload=web", role="web")
    desk.delete("workload=web")
    desk.publish("workload=web")
    assert browser.get("/mapping", params=WEB).status_code == 404, "it is out of effect"


def test_a_deletion_that_is_held_leads_to_the_mapping(browser: TestClient, desk: Desk, terminal: Terminal) -> None:
    desk.edit("workload=web", role="web")
    for _ in range(3):
        desk.converged("web", workload="web")
    desk.limits = Limits(2, 0)
    plan = browser.post("/mapping/change", data={**WEB, "what": "delete"})
    terminal.judges("workload=web")
    said = text(written(browser, plan))
    assert "Written, and not in effect yet." in said
    assert "waits until another person" not in said, "the box of the row says why"
    assert "Review Approve … Discard …" in said


# ---- who only looks ----


def test_a_console_that_only_shows_has_no_form_that_changes_anything(onlooker: TestClient, held: Desk) -> None:
    one = held.converged("web", workload="web")
    pages = {
        path: onlooker.get(path, params=None if "?" in path else WEB)
        for path in (
            *("/mappings", "/mapping", "/mapping/held", "/settings", "/settings/switch?what=pause&reason=x"),
            *("/mapping/new", "/mapping/edit", "/mappings/overlaps", f"/instance/{one}"),
        )
    }
    assert [path for path, page in pages.items() if 'method="post"' in page.text] == []
    assert f"rolekeeper detach {one}" in text(pages[f"/instance/{one}"]), "but what to type"
    assert "<form" not in pages["/settings"].text.partition("<main")[2]
    assert "Review" in text(pages["/mappings"])
    assert {"Approve …", "Discard …"} & {
        *re.findall(r"\w+ …", text(pages["/mappings"]) + text(pages["/mapping"]))
    } == set()
    assert "This console only shows." in text(pages["/settings/switch?what=pause&reason=x"])
    assert "start it with --write" in text(pages["/mapping/held"])
    for path in ("/mapping/new", "/mapping/edit"):
        assert pages[path].status_code == 404
        assert "rolekeeper console --write" in text(pages[path])
