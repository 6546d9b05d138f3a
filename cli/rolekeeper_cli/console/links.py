"""Addresses of pages, and what a write has to say on the page that it leads to."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from rolekeeper.mappings.verdict import Status
from rolekeeper.model.mapping import ANY_VALUE, MappingKey

if TYPE_CHECKING:
    from rolekeeper_cli.console.site import Site
    from rolekeeper_cli.writes.verdicts import RowVerdict, Written

_KINDS = {Status.HELD: "warn", Status.WAITING: "warn"}


def mapping_url(key: MappingKey, path: str = "/mapping", **more: str) -> str:
    """The page of one mapping, or another one about it."""
    return f"{path}?{urlencode({'key': key.tag_key, 'value': key.tag_value, **more})}"


def mapping_key(mapping: MappingKey | Mapping[str, Any]) -> MappingKey:
    """The key of a mapping in a template, which may have its document."""
    if isinstance(mapping, MappingKey):
        return mapping
    return MappingKey(mapping["columns"]["tag_key"], mapping["columns"]["tag_value"])


def mapping_filter(mapping: MappingKey | Mapping[str, Any], path: str = "/mapping", **more: str) -> str:
    """The same as `mapping_url` for a template."""
    return mapping_url(mapping_key(mapping), path, **more)


def mapping_named(text: str, tags: Iterable[tuple[str, str]] = ()) -> str:
    """The page of the mapping that a document names, by the tags of the instance that it is about.

    A key may hold a `=` itself: then it is the tag that tells where the key ends.
    """
    for key, value in tags:
        if text in {f"{key}={value}", f"{key}={ANY_VALUE}"}:
            return mapping_url(MappingKey(key, text.removeprefix(f"{key}=")))
    key, _, value = text.partition("=")
    return mapping_url(MappingKey(key, value))


def query(values: Mapping[str, object]) -> str:
    """Names and values as an address has them behind its `?`; empty ones are left out."""
    return urlencode({name: value for name, value in values.items() if value not in ("", None)})


def said(site: "Site", target: str, done: "Written", well: str = "") -> str:
    """The address of a page that says what a write did; `well` is said where it is in effect as written."""
    kind, text, lines = _told(done, well)
    return f"{target}{'&' if '?' in target else '?'}said={site.say(kind, text, lines)}"


def _told(done: "Written", well: str) -> tuple[str, str, list[str]]:
    if done.moved:
        names = ", ".join(map(str, done.moved))
        return (
            "bad",
            f"Nothing was written: another actor changed {names} since the plan",
            ["look at it, and plan anew"],
        )
    if done.unjudged:
        return "info", "Written. Rolekeeper has not judged it yet; this page follows", []
    [verdict] = done.rows
    if verdict.good:
        return "good", well or _well(verdict), []
    return (
        _KINDS.get(Status(verdict.status), "bad"),
        _badly(verdict),
        _hints(verdict),
    )


def _well(verdict: "RowVerdict") -> str:
    if verdict.gone:
        return f"{verdict.key} is deleted"
    return f"{verdict.status} as written: revision {verdict.revision} is in effect; its instances follow"


def _badly(verdict: "RowVerdict") -> str:
    if verdict.status == Status.HELD:
        return f"Written. It changes much, so revision {verdict.held} waits until another person approves it"
    return f"{verdict.key} is {verdict.status}: {verdict.reason}"


def _hints(verdict: "RowVerdict") -> list[str]:
    return [f"did you mean the role {verdict.meant}?"] if verdict.meant else []
