"""The command that a page names does what the page does: its own parser reads the page's values out of it."""

import os
import re
import shlex
from html import unescape
from typing import Any

import pytest
from awscli.clidriver import create_clidriver  # type: ignore[import-untyped]  # it has no types
from httpx2 import Response
from starlette.testclient import TestClient

from fixtures.command import parsed
from fixtures.console import hidden
from fixtures.mappings import Desk
from fixtures.terminal import CALLER, Terminal
from rolekeeper.settings import Limits

# awscli sets it for the whole process, and other sessions would look there too.
AWS_DATA = os.environ.pop("AWS_DATA_PATH")

pytestmark = pytest.mark.desk(usable=("web", "db"), rows={"app=web": "web"})


def command(page: Response) -> str:
    """The command that a page names, which its button copies."""
    [found] = re.findall(r'class="as-command">.*?<code>(.*?)</code> <button[^>]* value="(.*?)"', page.text)
    assert unescape(found[0]) == unescape(found[1])
    return unescape(found[0])


def given(page: Response) -> dict[str, Any]:
    """The arguments and options of that command that aren't left out."""
    return {name: value for name, value in parsed(command(page)).items() if value not in (None, False, (), "")}


# ---- the fleet ----


def test_a_filtered_list(browser: TestClient, desk: Desk) -> None:
    desk.converged("web", app="web")
    page = browser.get("/", params={"q": 'tag:app=web tag:"team=a b" role:web state:running mapping:app=web'})
    line = "--tag app=web --tag 'team=a b' --role web --state running --mapping app=web"
    assert command(page) == f"rolekeeper fleet {line}"
    assert given(page)["tags"] == ("app=web", "team=a b")
    assert command(browser.get("/")) == "rolekeeper fleet"


@pytest.mark.parametrize("text", ["web", "status:blocked", "role:web role:db", "region:us-east-1", "state:nonsense"])
def test_what_the_command_has_no_option_for(browser: TestClient, text: str) -> None:
    assert "as-command" not in browser.get("/", params={"q": text}).text.partition("</main>")[0]


# ---- an instance ----


@pytest.mark.parametrize(
    ("form", "line"),
    [
        (
            {"verb": "replace", "role": "db", "length": "8h", "reason": "it's $HOME"},
            "replace {} db --for 8h --reason 'it'\"'\"'s $HOME'",
        ),
        ({"verb": "detach"}, "detach {}"),
        ({"role": "db"}, "replace {} db"),
        ({"role": "NONE"}, "detach {}"),
    ],
)
def test_a_pin(browser: TestClient, desk: Desk, form: dict[str, str], line: str) -> None:
    one = desk.converged("web", app="web")
    page = browser.post(f"/instance/{one}/pin", data=form)
    assert command(page) == f"rolekeeper {line.format(one)}"
    assert given(page)["instance"] == one
    assert given(page).get("reason", "") == form.get("reason", "")


def test_a_release(browser: TestClient, desk: Desk) -> None:
    one = desk.world.running()
    pin = browser.post(f"/instance/{one}/pin", data={"verb": "attach", "role": "web", "instance_profile": "web"})
    assert command(pin) == f"rolekeeper attach {one} web --instance-profile web"
    assert given(pin)["instance_profile"] == "web"
    browser.post(pin.url.path)
    assert given(browser.post(f"/instance/{one}/release"))["instance"] == one


TEXTS = ("web", "a b", "a,b", '"q"', "it's", "[x]", "{x}", "=", "a\\,", " a ", "é", "\U0001d49c", "")


def test_a_tag_and_a_start_are_what_the_aws_command_line_reads(
    browser: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DATA_PATH", AWS_DATA)
    aws, asked = create_clidriver(), list[Any]()

    def instead_of_ec2(call_parameters: Any, **_: Any) -> int:
        asked.append(call_parameters)
        return 0

    aws.session.register("calling-command.ec2.*", instead_of_ec2)

    def asks(page: Response) -> Any:
        assert aws.main(shlex.split(command(page))[1:]) == 0
        return asked.pop()

    one = desk.world.stopped()
    for text in TEXTS:
        key = f"{text}k{text}"
        setting = browser.post(f"/instance/{one}/tag", data={"do": "set", "key": key, "value": text})
        assert asks(setting) == {"Resources": [one], "Tags": [{"Key": key, "Value": text}]}
        desk.world.tag(one, **{key: text})
        removing = browser.post(f"/instance/{one}/tag", data={"do": "remove", "key": key})
        assert asks(removing) == {"Resources": [one], "Tags": [{"Key": key}]}
    assert asks(browser.post(f"/instance/{one}/start")) == {"InstanceIds": [one]}


# ---- a mapping ----


def planned(browser: TestClient, **columns: str) -> Response:
    page = browser.get("/mapping/edit?key=app&value=web")
    names = {"key": "app", "value": "web", "version": hidden(page, "version")}
    return browser.post("/mapping/plan", data={"role": "web", **names, **columns})


def test_an_edit_is_the_same_change_of_the_row(browser: TestClient, desk: Desk, terminal: Terminal) -> None:
    desk.edit("app=web", role="web", owner="team-web", priority=50)
    line = command(planned(browser, role="db", priority="", owner="it's $HOME", require_tags=r"env=a\;b;c\=d=e"))
    assert shlex.split(line)[:4] == ["rolekeeper", "mapping", "set", "app=web"]
    parsed(line)
    typed = terminal(*shlex.split(line)[1:], "--yes", "--no-wait")
    assert typed.exit_code == 0, typed.stderr
    row = desk.row("app=web")
    assert (row["role"], row["owner"], row.get("priority")) == ("db", "it's $HOME", None)
    assert row["require_tags"] == {"env": "a;b", "c=d": "e"}


def test_a_new_row_is_named_with_its_columns_and_a_deletion_with_none(browser: TestClient) -> None:
    assert command(browser.get("/mapping?key=app&value=web")) == "rolekeeper mapping get app=web"
    gone = browser.post("/mapping/change", data={"key": "app", "value": "web", "what": "delete"})
    assert command(gone) == "rolekeeper mapping rm app=web"
    assert given(gone)["words"] == ("app=web",)
    new = {"key": "a=b", "value": "c d", "new": "yes", "role": "db", "owner": "me"}
    form = browser.get("/mapping/new")
    page = browser.post("/mapping/plan", data={**new, "version": hidden(form, "version")})
    assert shlex.split(command(page)) == ["rolekeeper", "mapping", "set", "a\\=b=c d", "role=db", "owner=me"]
    assert parsed(command(page))


@pytest.mark.parametrize(("by", "verb"), [("al", "approve"), (CALLER, "discard")])
def test_a_held_edit_is_approved_or_ones_own_discarded(browser: TestClient, desk: Desk, by: str, verb: str) -> None:
    for _ in range(2):
        desk.converged("web", app="web")
    desk.limits = Limits(1, 0)
    desk.put("app=web", role="db", edited_by=by)
    desk.publish("app=web")
    page = browser.get("/mapping/held?key=app&value=web")
    assert command(page) == f"rolekeeper mapping {verb} app=web --revision 2"
    assert given(page)["revision"] == 2


# ---- the whole deployment ----


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/settings/switch?what=pause&reason=it%27s+bad", "pause --reason 'it'\"'\"'s bad'"),
        ("/settings/switch?what=resume", "resume"),
        ("/settings/switch?what=observe&reason=x", "mode observe --reason x"),
        ("/launches", "launches"),
        ("/roles", "roles --no-last-accessed"),
        ("/roles?only=unused&account=%24%28id%29", "roles --no-last-accessed --unused --target '$(id)'"),
    ],
)
def test_a_switch_and_a_list(browser: TestClient, path: str, line: str) -> None:
    page = browser.get(path)
    assert command(page) == f"rolekeeper {line}"
    given(page)
