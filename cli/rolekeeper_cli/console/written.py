"""What a write has to say on the page that it leads to."""

from rolekeeper.mappings.verdict import Status
from rolekeeper_cli.console.site import Site
from rolekeeper_cli.writes.verdicts import RowVerdict, Written

_KINDS = {Status.HELD: "warn", Status.WAITING: "warn"}


def said(site: Site, target: str, done: Written, well: str = "") -> str:
    """The address of a page that says what a write did; `well` is said where it is in effect as written."""
    kind, text, lines = _told(done, well)
    return f"{target}{'&' if '?' in target else '?'}said={site.say(kind, text, lines)}"


def _told(done: Written, well: str) -> tuple[str, str, list[str]]:
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


def _well(verdict: RowVerdict) -> str:
    if verdict.gone:
        return f"{verdict.key} is deleted"
    return f"{verdict.status} as written: revision {verdict.revision} is in effect; its instances follow"


def _badly(verdict: RowVerdict) -> str:
    if verdict.status == Status.HELD:
        return f"Written. It changes much, so revision {verdict.held} waits until another person approves it"
    return f"{verdict.key} is {verdict.status}: {verdict.reason}"


def _hints(verdict: RowVerdict) -> list[str]:
    return [f"did you mean the role {verdict.meant}?"] if verdict.meant else []
