"""Addresses from elsewhere lead to pages of the console, and to nothing else."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rolekeeper_cli.console.addresses import is_local, page_at
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.site import has_page

OURS = "http://0123456789abcdef.localhost:4321/go"


def as_browsers_read(address: str) -> str:
    """Before anything else they leave out line ends and tabs, and take a backslash for a slash (WHATWG URL)."""
    whole = address.strip("".join(map(chr, range(0x21)))).translate(dict.fromkeys(map(ord, "\t\r\n")))
    return urljoin(OURS, whole.replace("\\", "/"))


@given(st.text(st.sampled_from("/\\:?#@.%&=;'\"<>[]{}|^` \t\r\n\0\x7f\x85\u2028aé0")))
@example("//evil.example")
@example("/\t/evil.example")
@example("/\\evil.example")
@example("\\/evil.example")
@example("https:evil.example")
@example("javascript:alert(1)")
@example("/.//evil.example")
def test_what_is_local_leads_nowhere_else_in_any_browser(address: str) -> None:
    if is_local(address):
        assert urlsplit(as_browsers_read(address))[:2] == urlsplit(OURS)[:2]
        assert address.isascii()
        assert address.isprintable()
        assert " " not in address


@given(st.text(st.sampled_from("aZ0_é中/.~%-?=&+"), max_size=60))
def test_every_path_of_the_usual_characters_is_local_unless_it_names_a_host(rest: str) -> None:
    assert is_local(f"/{rest}") == (rest.isascii() and not rest.startswith("/"))


def test_an_address_is_no_longer_than_a_page_needs() -> None:
    assert is_local(f"/{'x' * 1_999}")
    assert not is_local(f"/{'x' * 2_000}")


@pytest.mark.parametrize(
    ("meant", "path"),
    [
        ("i-0123456789abcdef0", "/instance/i-0123456789abcdef0"),
        ("web 1", "/instance/web%201"),
        ("//evil.example", None),
        ("/mapping?key=app&value=web", "/mapping?key=app&value=web"),
        ("http://0123456789abcdef.localhost:1/roles?sort=-name#top", "/roles?sort=-name"),
        ("https://evil.example", "/"),
        ("https://evil.example//other.example", None),
        ("/a b", None),
        ("/a\nb", None),
        ("", None),
        ("http://[", "/"),
        ("HTTP://x", "/instance/HTTP%3A%2F%2Fx"),
        ("http://x?status=ok", "/?status=ok"),
    ],
)
def test_a_page_is_named_by_an_instance_a_path_or_a_whole_address(meant: str, path: str | None) -> None:
    if path:
        assert page_at(meant) == path
        return
    with pytest.raises(UsageError, match="is no page of the console"):
        page_at(meant)


def test_a_page_is_one_that_a_browser_can_open() -> None:
    shown = ("/", "/instance/i-1", "/instance/web%201?said=x", "/mapping?key=app&value=web", "/share?path=/roles")
    assert all(map(has_page, shown))
    others = ("/enter/x", "/go?to=/", "/static/console.css", "/mapping/plan", "/nothing", "/instance")
    assert not any(map(has_page, others))
