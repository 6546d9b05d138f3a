"""Many instances changed at once: one plan of all, what it leaves out and why, and the result of each."""

from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from fixtures.account import refusing
from fixtures.console import main as words
from fixtures.console import news
from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import CALLER, Terminal
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import IGNORE_TAG, Pin
from rolekeeper.storage import layout
from rolekeeper_cli.act.page import MOST

THERE = Target("111111111111", "eu-west-1")
PIN = {"act": "pin", "role": "db"}
TAG = {"act": "tag", "do": "set", "key": "app", "value": "db"}

pytestmark = pytest.mark.desk(
    usable=("web", "db"), grants={"db": "dynamodb:GetItem"}, rows={"app=web": "web", "app=db": "db"}
)


def planned(browser: TestClient, *instances: str, **form: str) -> Response:
    body = urlencode([("instance", each) for each in instances] + list(form.items()))
    return browser.post("/fleet/many", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})


def done(browser: TestClient, plan: Response, **form: str) -> Response:
    return browser.post(plan.url.path, data=form)


def pins(desk: Desk, *instances: str) -> list[str]:
    """The role that each is pinned to; empty for none."""
    found = desk.world.state.read([desk.world.key(each) for each in instances]).pins
    return [found[key].role if (key := desk.world.key(each)) in found else "" for each in instances]


def tags(desk: Desk, instance: str) -> dict[str, str]:
    return dict(desk.world.truth.instance(instance).tags)


def running(desk: Desk, number: int) -> list[str]:
    return [desk.world.launch(Name=f"many-{each}") for each in range(number)]


# ---- the acts ----


def test_instances_are_pinned_with_one_plan_that_says_what_each_gets(browser: TestClient, desk: Desk) -> None:
    bare, web = desk.world.running(Name="bare"), desk.converged("web", app="web", Name="web-1")
    db = desk.converged("db", app="db", Name="db-1")
    browser.get("/")
    plan = planned(browser, bare, web, db, **PIN, length="8h", reason="incident 42")
    assert "Pin 3 instances to db" in words(plan)
    assert "db on 2 of 3 instances; gains dynamodb:GetItem on *" in words(plan)
    moves = f"1 no role → db bare {bare} 1 web → db web-1 {web} 1 keeps db db-1 {db}"
    assert moves in words(plan), "those that change first, and no other sentence for each"
    assert pins(desk, bare, web, db) == ["", "", ""], "a plan writes nothing"
    assert "1 done: web → db" in words(done(browser, plan))
    assert pins(desk, bare, web, db) == ["db", "db", "db"]
    pin = desk.world.state.read([desk.world.key(web)]).pins[desk.world.key(web)]
    assert (pin.by, pin.reason, pin.expires_at is None) == (CALLER, "incident 42", False)
    desk.world.reconcile(web)
    assert desk.world.carries(web) == "db"


def test_pins_are_released_and_the_others_left_out(browser: TestClient, desk: Desk) -> None:
    pinned, free = desk.converged("web", app="web", Name="pinned"), desk.converged("web", app="web", Name="free")
    done(browser, planned(browser, pinned, **PIN))
    desk.world.reconcile(pinned)
    plan = planned(browser, pinned, free, act="release", reason="over")
    assert f"1 left out It has no pin. free {free} 1 db → web pinned" in words(plan), "exceptions first"
    assert "1 done: db → web" in words(done(browser, plan))
    desk.world.wait(1)
    desk.world.reconcile(pinned)
    assert desk.world.carries(pinned) == "web"


def test_instances_are_ignored_until_a_time(browser: TestClient, desk: Desk) -> None:
    one, two = (desk.world.running(app="web") for _ in range(2))
    plan = planned(browser, one, two, act="ignore", until="8h")
    until = f"{desk.world.clock.now():%Y-%m-%d}T17:"
    assert f"Set tag {IGNORE_TAG}={until}" in words(plan)
    assert words(plan).count(f"Its tag {IGNORE_TAG} says until {until}") == 2
    assert "2 done" in words(done(browser, plan))
    assert tags(desk, two)[IGNORE_TAG].startswith(until)
    assert not desk.world.reconcile(one).decision.action.mutates  # type: ignore[union-attr]  # it decides


def test_a_tag_is_set_and_removed(browser: TestClient, desk: Desk) -> None:
    web, had = desk.converged("web", app="web"), desk.converged("db", app="db", Name="had")
    plan = planned(browser, web, had, **TAG)
    assert "1 left out It has the tag app with this value already. had" in words(plan)
    assert "1 done: web → db" in words(done(browser, plan))
    assert tags(desk, web)["app"] == "db"
    plan = planned(browser, web, had, act="tag", do="remove", key="app", value="left over")
    assert "no role on 2 instances" in words(plan)
    assert "Software may use the former role's credentials until" in words(plan)
    assert "the word to type is Detach" in words(done(browser, plan))
    assert "app" in tags(desk, web)
    assert "1 done: web → no role" in words(done(browser, plan, confirm="Detach"))
    assert "app" not in tags(desk, web)


def test_stopped_ones_are_started_by_one_call_and_the_others_left_out(browser: TestClient, desk: Desk) -> None:
    stopped, runs = [desk.world.stopped() for _ in range(2)], desk.world.running(Name="runs")
    plan = planned(browser, *stopped, runs, act="start")
    assert "Start 2 instances" in words(plan)
    assert "What it runs, and what it costs, begin with its start." in words(plan)
    assert "1 left out It is running. runs" in words(plan)
    assert "2 done" in words(done(browser, plan))
    desk.world.wait(2)
    assert {desk.world.truth.instance(each).state for each in stopped} == {"running"}
    assert desk.world.calls["StartInstances"] == 1


# ---- its cost ----


def test_two_hundred_are_planned_and_tagged_by_pages(browser: TestClient, desk: Desk) -> None:
    some = running(desk, 200)
    desk.world.large_pages()
    browser.get("/")
    desk.world.calls.clear()
    plan = planned(browser, *some, **TAG)
    calls = desk.world.calls.counted()
    assert calls["DescribeInstances"] == 1
    assert calls["DescribeIamInstanceProfileAssociations"] == 2, "as they are, and as they would be"
    assert calls["BatchGetItem"] < 20
    desk.world.calls.clear()
    assert "200 done" in words(done(browser, plan))
    assert desk.world.calls["CreateTags"] == 1
    assert desk.world.calls["DescribeInstances"] <= 2, "the list looks again too"
    assert {tags(desk, each)["app"] for each in some} == {"db"}


def test_a_pin_is_one_write(browser: TestClient, desk: Desk) -> None:
    some = running(desk, 12)
    desk.world.large_pages()
    plan = planned(browser, *some, **PIN)
    desk.world.calls.clear()
    done(browser, plan)
    assert desk.world.writes == 12 * ["PutItem"]
    assert desk.world.calls["BatchGetItem"] < 10


# ---- who can't take part ----


def test_those_that_cant_take_part_are_named_with_why(browser: TestClient, desk: Desk) -> None:
    fine, foreign = desk.world.running(Name="fine"), desk.world.running(profile="theirs", Name="foreign")
    gone = desk.world.running(Name="gone")
    desk.world.truth.terminate(gone)
    desk.world.wait(60)
    plan = planned(browser, fine, foreign, gone, "i-0123456789abcdef0", "web-1", "<script>", "", **PIN)
    assert "Pin 1 instance to db" in words(plan)
    assert "1 left out It is terminated. gone" in words(plan)
    assert "4 left out There is no such instance." in words(plan)
    assert "which Rolekeeper may not take away. foreign" in words(plan)
    assert "<script>" not in plan.text
    assert "1 done" in words(done(browser, plan))


def test_where_nobody_can_take_part_there_is_nothing_to_do(browser: TestClient, desk: Desk) -> None:
    plan = planned(browser, desk.world.running(), desk.world.running(), act="release")
    assert "There is nothing to do." in words(plan)
    assert "Do it" not in words(plan)
    assert "nothing was changed: there is nothing to do" in words(done(browser, plan)).lower()


def test_a_hubs_other_account_is_pinned_here_and_tagged_with_its_own_credentials(
    browser: TestClient, terminal: Terminal, desk: Desk
) -> None:
    spoke = SpokeFixture(terminal, desk, THERE)
    spoke.registered()
    spoke.copied("app=web", "web")
    spoke.role("db")
    there, here = spoke.world.running(app="web", Name="there"), desk.world.running(Name="here")
    browser.get("/")
    plan = planned(browser, there, here, **TAG)
    assert (
        f"1 left out Only account {THERE.account}'s own credentials can tag and start its instances. {there}"
        in words(plan)
    )
    assert "Set tag app=db on 1 instance" in words(plan)
    plan = planned(browser, there, here, **PIN)
    assert "2 no role → db" in words(plan)
    assert "2 done" in words(done(browser, plan))
    spoke.reconcile(there)
    assert spoke.carries(there) == "db"
    spoke.refuse()
    assert f"1 left out You may not look there. {there}" in words(planned(browser, there, here, act="release"))


# ---- which are chosen ----


def test_all_that_pass_the_filters_are_chosen_by_the_address(browser: TestClient, desk: Desk) -> None:
    for name in ("web-1", "web-2", "db-1"):
        desk.world.running(Name=name)
    browser.get("/")
    assert '<input type="checkbox" name="all" value="q=web"> all 2 that pass the filters' in browser.get("/?q=web").text
    assert "Pin 2 instances to db" in words(planned(browser, all="q=web", **PIN))
    assert "Pin 3 instances to db" in words(planned(browser, all="", **PIN))
    refused = planned(browser, all="q=web+status%3Awrong", **PIN)
    assert (refused.status_code, "isn't known" in words(refused)) == (400, True), "a wrong filter filters nothing"


def test_the_list_offers_that_only_to_who_may_write(browser: TestClient, onlooker: TestClient, desk: Desk) -> None:
    one = desk.world.running(Name="web-1")
    box = f'type="checkbox" id="choose-{one}" name="instance" value="{one}" form="many" aria-label="Choose web-1"'
    assert box in browser.get("/").text
    assert box in browser.get("/fleet/rows").text, "and while it is open"
    assert 'action="/fleet/many"' in browser.get("/").text
    assert [each for each in ("fleet/many", 'name="instance"') if each in onlooker.get("/").text] == []


def test_none_and_too_many_are_refused(browser: TestClient, desk: Desk) -> None:
    none = planned(browser, **PIN)
    assert (none.status_code, "No instance is chosen" in words(none)) == (400, True)
    unknown = browser.post("/fleet/many", data={"of": "nonsense", **PIN})
    assert (unknown.status_code, "No instance is chosen" in words(unknown)) == (400, True)
    desk.world.calls.clear()
    many = planned(browser, *(f"i-{each:017x}" for each in range(MOST + 1)), **PIN)
    assert (many.status_code, "1,001 instances are chosen; at most 1,000" in words(many)) == (400, True)
    assert not desk.world.calls["DescribeInstances"]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"act": "pin"}, "No role is named."),
        ({"act": "pin", "role": "dbb"}, "Did you mean db?"),
        ({"act": "ignore", "until": ""}, "No time is given"),
        ({"act": "conjure"}, "The form doesn't say what to do."),
        *(
            ({"act": "ignore", "until": until}, "is no time to come")
            for until in ("soon", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00", "false")
        ),
    ],
)
def test_a_form_that_cant_be_meant_comes_back_with_the_same_choice(
    browser: TestClient, desk: Desk, form: dict[str, str], says: str
) -> None:
    one, two = desk.world.running(), desk.world.running()
    back = planned(browser, one, two, **form, reason="incident 42")
    assert says in words(back)
    assert "Do it" not in words(back)
    assert 'value="incident 42"' in back.text, "as it was typed"
    plan = browser.post("/fleet/many", data={"of": back.url.path.rpartition("/")[2], **PIN})
    assert "Pin 2 instances to db" in words(plan)


# ---- doing it ----


def test_one_that_changed_after_the_plan_is_refused_and_the_others_are_done(browser: TestClient, desk: Desk) -> None:
    one, moved, three = (desk.converged("web", app="web", Name=name) for name in ("one", "moved", "three"))
    plan = planned(browser, one, moved, three, **TAG)
    desk.world.tag(moved, app="none")
    result = done(browser, plan)
    said = words(result)
    assert '<span class="state bad">refused</span>' in result.text
    assert f"1 refused It isn't as it was when this was planned. moved {moved} 2 done: web → db" in said
    assert tags(desk, moved)["app"] == "none"
    assert tags(desk, three)["app"] == "db"


@pytest.mark.parametrize("form", [PIN, {"act": "release"}], ids=["pin", "release"])
def test_a_pin_that_another_person_wrote_meanwhile_stays(browser: TestClient, desk: Desk, form: dict[str, str]) -> None:
    some = [desk.world.running() for _ in range(3)]
    if form is not PIN:
        done(browser, planned(browser, *some, **PIN))
    plan = planned(browser, *some, **form)
    theirs = Pin("web", desk.world.profiles["web"].arn, at=layout.timestamp(desk.world.clock.now()), by="grace")
    # Once all were looked at again, while the first one is written.
    desk.world.calls.before("PutItem", lambda: desk.world.pin(some[1], theirs))
    said = words(done(browser, plan))
    assert "2 done" in said
    assert f"1 refused Another person pinned or released {some[1]} meanwhile" in said
    assert pins(desk, some[1]) == ["web"]


def test_a_pin_whose_answer_was_lost_is_done(browser: TestClient, desk: Desk) -> None:
    """The SDK writes it again by itself, and then it isn't as it was."""
    one = desk.world.running()
    plan = planned(browser, one, **PIN)
    desk.world.calls.after("PutItem", refusing("ConditionalCheckFailedException", retries=1))
    assert "1 done" in words(done(browser, plan))
    assert pins(desk, one) == ["db"]


def test_of_a_tag_only_those_are_left_that_aws_refuses(browser: TestClient, desk: Desk) -> None:
    some = running(desk, 8)
    plan = planned(browser, *some, **TAG)
    # All, the first half, its first quarter, the first one.
    for _ in range(4):
        desk.world.calls.before("CreateTags", refusing("UnauthorizedOperation", status=403))
    said = words(done(browser, plan))
    assert "7 done" in said
    assert "1 refused You aren't allowed ec2:CreateTags" in said
    assert ["app" in tags(desk, each) for each in some] == [False] + 7 * [True]


@pytest.mark.parametrize(("answers", "says"), [("--------", ["3 not tried", "5"]), ("----+----", ["1 done", "8"])])
def test_the_others_arent_tried_where_aws_refuses_five_in_a_row(
    browser: TestClient, desk: Desk, answers: str, says: list[str]
) -> None:
    plan = planned(browser, *running(desk, len(answers)), **PIN)
    for answer in answers:
        desk.world.calls.before("PutItem", refusing("AccessDeniedException") if answer == "-" else lambda: None)
    said = words(done(browser, plan))
    others, refused = says
    assert [others in said, f"{refused} refused You aren't allowed dynamodb:PutItem" in said] == [True, True]


def test_those_that_cant_be_looked_at_again_arent_tried(browser: TestClient, desk: Desk) -> None:
    one = desk.world.running()
    plan = planned(browser, one, **PIN)
    desk.world.calls.before("DescribeInstances", refusing("UnauthorizedOperation", status=403))
    assert "1 not tried" in words(done(browser, plan))
    assert pins(desk, one) == [""]


def test_the_plan_says_what_the_window_holds_back(browser: TestClient, desk: Desk, terminal: Terminal) -> None:
    web = [desk.converged("web", app="web") for _ in range(3)]
    terminal.changes_pass(1)
    browser.get("/")
    assert "3 roles are taken away (app=db 3), 1 of them in 10 minutes; the others wait their turn." in words(
        planned(browser, *web, **TAG)
    )
    assert "wait their turn" not in words(planned(browser, *web, **PIN)), "a pin is a person's own act"


# ---- as a job ----


def test_its_page_is_there_at_once_and_it_goes_on_when_that_is_closed(
    browser: TestClient, desk: Desk, later: list[Callable[[], None]]
) -> None:
    some = running(desk, 3)
    plan = planned(browser, *some, **PIN)
    assert "Finding out what it would do: it begins." in words(plan)
    assert "this plan wasn't shown yet" in words(done(browser, plan))
    part = news(plan, plan.url.path)
    assert browser.get(part).status_code == 204
    assert "page=2&version=" in news(browser.get(f"{plan.url.path}?page=2"), plan.url.path), "it stays on its page"
    later.pop()()
    news_of_it = browser.get(part)
    assert "Do it" in words(news_of_it), "now it is shown"
    assert '<h1 id="what" hx-swap-oob="true">Pin 3 instances to db</h1>' in news_of_it.text
    begun = done(browser, plan)
    assert "It goes on if you leave this page. 3 to come" in words(begun)
    assert "3 to come" in words(done(browser, plan)), "a second click begins nothing"
    [work] = later
    work()
    assert pins(desk, *some) == ["db", "db", "db"]
    ended = words(browser.get(news(begun, plan.url.path)))
    assert ("3 done" in ended, "Do it" in ended) == (True, False)
