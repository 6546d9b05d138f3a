"""The mappings in the console: the list, one of them with its edits, and those that match the same instances."""

import re
from html import unescape
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from fixtures.console import hidden, text_of
from fixtures.console import main as text
from fixtures.mappings import Desk
from rolekeeper.model.mapping import Pin
from rolekeeper.settings import Limits

pytestmark = pytest.mark.desk(usable=("web", "db"))

WEB = {"key": "workload", "value": "web"}


def column(page: Response, number: int) -> list[str]:
    """What a column of the list says, from above."""
    rows = re.findall(r'<tr id="row-\d+">(.*?)</tr>', page.text, re.DOTALL)
    return [text_of(re.findall(r"<t[hd].*?</t[hd]>", each, re.DOTALL)[number]) for each in rows]


# ---- the list ----


def test_the_list_begins_with_what_wants_a_person(browser: TestClient, desk: Desk) -> None:
    desk.edit("workload=web", role="web", owner="team-web")
    desk.edit("workload=bad", role="no-such")
    desk.put("app=new", role="db")
    assert column(browser.get("/mappings"), 1) == ["workload=bad", "app=new", "workload=web"]
    assert column(browser.get("/mappings?status=Rejected"), 1) == ["workload=bad"]
    assert "1 of 3 mappings" in text(browser.get("/mappings?text=TEAM-WEB"))
    assert "No mapping matches There are 3 in all." in text(browser.get("/mappings?text=nothing like it"))


def test_the_instances_that_a_mapping_governs_are_counted_now(browser: TestClient, desk: Desk) -> None:
    for value in ("web", "db"):
        desk.edit(f"workload={value}", role=value)
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


def test_the_list_is_sorted_by_any_column_and_stays_so_while_it_is_filtered(
    browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.edit("app=a", role="web", priority=7, owner="y", edited_by="zoe")
    desk.edit("app=b", role="db", owner="x", edited_by="arn:aws:iam::123456789012:user/amy")
    desk.edit("app=c", role="db", priority=200, owner="z", edited_by="bob", expires_at="2030-01-01T00:00:00Z")
    for _ in range(2):
        desk.world.running(app="b")
    orders = {"": "abc", "status": "abc", "-mapping": "cba", "role": "bca", "-number": "bac", "-drift": "bac"}
    orders |= {"-at": "cba", "by": "bca", "priority": "abc", "owner": "bac", "-expires_at": "cab", "no-such": "abc"}
    with monkeypatch.context() as few:
        few.setattr("rolekeeper_cli.console.page.PAGE", 2)
        for sort, wanted in orders.items():
            pages = [browser.get("/mappings", params={"sort": sort, "page": number}) for number in (1, 2)]
            assert [column(each, 1) for each in pages] == [[f"app={each}" for each in wanted[:2]], [f"app={wanted[2]}"]]
    page = browser.get("/mappings")
    assert (column(page, 7), column(page, 8)) == (["zoe", "amy", "bob"], ["7", "100", "200"])
    page = browser.get("/mappings?sort=-priority&status=Published")
    assert ('aria-sort="descending"' in page.text, hidden(page, "sort")) == (True, "-priority")
    addresses = re.findall(r'href="/mappings\?([^"]*)"', unescape(page.text))
    links = {"&".join(sorted(each.split("&"))) for each in addresses}
    assert {"sort=-priority", "sort=owner&status=Published", "sort=-priority&status=Published"} <= links


def test_who_edited_a_row_last_and_when_is_listed_also_of_edits_that_arent_in_effect(
    browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.edit("app=a", role="web", edited_by="amy")
    desk.world.wait(600)
    desk.edit("app=b", role="no-such", edited_by="bob")
    with monkeypatch.context() as few:
        few.setattr("rolekeeper_cli.console.page.PAGE", 1)
        desk.world.calls.clear()
        assert column(browser.get("/mappings?page=2"), 7) == ["amy"]
        assert "Query" not in desk.world.calls.made, "of the other page's edits nothing is read"
        assert column(browser.get("/mappings?page=2&text=bob"), 1) == ["app=b"]
    page = browser.get("/mappings")
    assert [column(page, each) for each in (1, 7, 6)] == [["app=b", "app=a"], ["bob", "amy"], ["0 s ago", "10 min ago"]]
    desk.world.calls.clear()
    desk.world.wait(10)
    browser.get("/mappings")
    assert "Query" not in desk.world.calls.made, "what is stored of an edit isn't asked for again"
    desk.edit("app=b", role="db", edited_by="cid")
    desk.world.wait(10)
    assert "cid" in column(browser.get("/mappings"), 7)


def test_what_waits_is_said_in_a_line_with_all_of_it_on_hover(browser: TestClient, held: Desk) -> None:
    held.edit("app=bad", role="no-such")
    held.put("app=new", role="db")
    page = browser.get("/mappings")
    rejected, *others = column(page, 3)
    assert rejected.startswith("→ no-such Role 'no-such' doesn't exist")
    assert others == ["→ db revision 2 Review Approve … Discard … Edit", "→ db Edit"]
    title = unescape(re.findall(r'class="line" title="(.*?)"', page.text)[1])
    assert ("replace 2" in title, "mapping approve" in title) == (True, False), "its button says that"
    counts = re.findall(r'<a id="status-.*?</a>', page.text)
    assert [text_of(each) for each in counts] == ["Rejected 1", "Held 1", "Not judged yet 1"]


# ---- one ----


def test_a_mapping_that_isnt_there_is_said(browser: TestClient) -> None:
    answer = browser.get("/mapping", params=WEB)
    assert (answer.status_code, "There is no mapping workload=web" in text(answer)) == (404, True)
    assert browser.get("/mapping").status_code == 400


@pytest.mark.parametrize(
    ("status", "says", "said"),
    [
        ("Rolling out", {"wave": 2, "counts": "1, 3, 6"}, "Wave 2 of 3: 2 of 6 instances moved"),
        ("Halted", {"wave": 1, "counts": "1, 3, 6"}, "Wave 1 of 3: 2 of 6 instances moved"),
        ("Halted", {"wave": "x", "counts": "1"}, ""),
    ],
)
def test_a_rollout_shows_how_far_it_has_come_with_its_waves_as_marks(
    browser: TestClient, desk: Desk, status: str, says: dict[str, Any], said: str
) -> None:
    desk.edit("workload=web", role="web", rollout="1, 50%, 100% every 15m")
    details = [{"code": "rolling-out", "waves": 3, "may": 3, "total": 6, **says}]
    desk.set("workload=web", status=status, status_reason="in waves", status_details=details, moved=2)
    page = browser.get("/mapping", params=WEB).text
    assert re.findall(r'<line x1="(\d+)"', page) == (["16", "50", "100"] if said else [])
    assert said in text_of(page)


def test_a_rows_edits_are_shown_column_by_column_with_what_they_did(browser: TestClient, held: Desk) -> None:
    held.limits = Limits(25, 20)
    held.edit("workload=web", role="db", priority=5, edited_by="arn:aws:sts::123456789012:assumed-role/Ops/bo")
    held.edit("workload=web", role="no-such", edited_by="cy")
    held.edit("workload=web", role="db")
    held.remove("workload=web")
    held.edit("workload=web", role="web")
    edits = browser.get("/mapping", params=WEB).text.partition('class="steps edits"')[2]
    steps = [text_of(each).partition(" · ")[::2] for each in re.split(r"<li>\s*<p>", edits)[1:]]
    said = [(what, rest.partition("UTC) ")[2]) for what, rest in steps]
    wanted = [
        ("Published revision 6", "role web"),
        ("Removed revision 5", "role was db Instances: 2 detached"),
        ("Published revision 4", "priority was 5 Roll back to this"),
        ("Rejected", "· by cy (claimed) Role 'no-such' doesn't exist"),
        ("Published revision 3", "· by bo (claimed) role was web then db priority 5 Instances: 2 replaced"),
        ("Held revision 2", "· by al (claimed) role was web then db Would change: 2 replaced"),
        ("Published revision 1", "role web Roll back to this"),
    ]
    assert [(what, rest[: len(begins)]) for (what, rest), (_, begins) in zip(said, wanted, strict=True)] == wanted


def test_an_edit_shows_what_it_changes_later_and_when(browser: TestClient, held: Desk) -> None:
    held.edit("workload=web", role="web", expires_at="2030-01-01T00:00:00Z")
    page = text(browser.get("/mapping", params=WEB))
    assert "At 2030-01-01T00:00:00Z: 0 attached, 0 replaced, 2 detached" in page


def test_a_damaged_revision_hides_no_other(browser: TestClient, held: Desk) -> None:
    item = held.revisions("workload=web")[0]
    held.world.store.write(held.world.store.put({**item, "spec": "damaged"}))
    page = browser.get("/mapping", params=WEB)
    assert (page.status_code, "a new row role: web" in text(page)) == (200, True), "as it was written down"


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


@pytest.mark.usefixtures("shared")
def test_which_mappings_meet_and_who_wins_is_drawn(browser: TestClient) -> None:
    page = browser.get("/mappings/overlaps")
    assert ladders(page) == [
        "db 100 tier=gold db wins 200 team=a web overridden 3",
        "web 50 app=web web wins 100 tier=gold db overridden 2",
    ]
    assert 'href="/?tag=app%3Dweb&tag=tier%3Dgold" aria-label="2 instances' in unescape(page.text)
    assert "Overlaps 2" in text(browser.get("/mappings"))
    assert len(ladders(browser.get("/mappings/overlaps?key=team&value=a"))) == 1
    assert "3 shared with other mappings" in text(browser.get("/mapping?key=team&value=a"))


def test_a_tie_is_drawn_with_no_winner(browser: TestClient, shared: Desk) -> None:
    """Each was in effect before an instance carried both tags."""
    shared.edit("size=xl", role="web")
    instance = shared.world.running(tier="gold", size="xl")
    step, own = "Give it priority 90 …", browser.get(f"/instance/{instance}")
    tie = f"100 size=xl web tie {step} 100 tier=gold db tie {step}"
    assert ladders(browser.get("/mappings/overlaps"))[0] == f"Tie {tie} 1"
    assert tie in text(own), "and on the page of each"
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
    page = text(browser.get("/mappings/overlaps"))
    assert "size=xl in effect: conflicts with tier=gold" in page
    assert "tier=gold in effect: conflicts with" in page


@pytest.mark.desk(usable=("web", "db"), rows={"workload=web": "web"}, carriers=1)
def test_where_nothing_meets_it_says_so(browser: TestClient) -> None:
    assert "No instance matches two mappings." in text(browser.get("/mappings/overlaps"))
    said = "No instance matches workload=web and another mapping."
    assert said in text(browser.get("/mappings/overlaps", params=WEB))
    assert "Overlaps" not in text(browser.get("/mappings"))
