"""A page is shared as the command that opens it elsewhere; its own address is this console's alone."""

import shlex
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from fixtures import console
from fixtures.console import words
from fixtures.mappings import Desk
from rolekeeper_cli.console.addresses import page_at


def shares(browser: TestClient, path: str) -> str:
    """The address to which the head of a page leads for sharing."""
    [link] = [each for each in browser.get(path).text.split('"') if each.startswith("/share?")]
    return unescape(link)


def options(text: str) -> dict[str, str]:
    """The options of the command that a page says."""
    [line] = [each for each in unescape(text).split('"') if each.startswith("rolekeeper console ")]
    _, _, *given = shlex.split(line)
    return dict(zip(given[::2], given[1::2], strict=True))


def test_every_page_leads_to_the_command_that_opens_it_in_another_console(browser: TestClient, desk: Desk) -> None:
    instance = desk.world.running(Name="web")
    for path in (f"/instance/{instance}", "/?q=status%3Aok&sort=-name", "/mapping?key=a%20b&value=%26%3Cx%3E"):
        link = shares(browser, path)
        assert parse_qs(urlsplit(link).query) == {"path": [path]}
        given = options(browser.get(link).text)
        assert given == {"--region": "us-east-1", "--stack": "rolekeeper", "--open": path}
        assert page_at(given["--open"]) == path


def test_the_profile_is_named_if_it_isnt_the_default(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text('[profile "my prod"]\n')
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "my prod")
    assert options(browser.get("/share?path=/").text)["--profile"] == "my prod"


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "", "/" * 3_000]
)
def test_what_is_no_path_of_the_console_is_not_passed_on(browser: TestClient, path: str) -> None:
    text = browser.get("/share", params={"path": path}).text
    assert options(text)["--open"] == "/"
    assert "evil" not in text.partition("<main")[2]


def test_the_address_that_lasts_is_said_where_there_is_one(browser: TestClient) -> None:
    assert "Bookmark" not in words(browser.get("/share?path=/roles"))
    kept = console.site()
    kept.lasting = "http://rolekeeper.localhost:4321"
    assert "http://rolekeeper.localhost:4321/roles" in words(console.browser(kept).get("/share?path=/roles"))


def test_a_plan_is_shared_with_nobody(browser: TestClient, desk: Desk) -> None:
    """It is of this console alone, and gone with it."""
    desk.usable("web")
    instance = desk.world.running(Name="web")
    plan = browser.post(f"/instance/{instance}/pin", data={"verb": "attach", "role": "web"})
    assert plan.status_code == 200
    assert "/share?" not in plan.text
