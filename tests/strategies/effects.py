"""The situations of a row: what of it isn't in effect, which each surface has to name, and the exit code of the row.

The row is `app=web`, and one instance carries its tag.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fixtures.mappings import Desk
from rolekeeper.settings import Limits

WEB = "app=web"


@dataclass(frozen=True)
class Case:
    """How a row comes to its situation; what of it each surface has to name; and the exit code of what is about it."""

    arrange: Callable[[Desk, str], object]
    named: str
    code: int = 0
    status: str = "ok"  # of the instance
    in_effect: int = 0  # the revision


def held(desk: Desk) -> None:
    """An edit that may change no instance without approval."""
    desk.limits = Limits(0, 0)


def held_new(desk: Desk, _: str) -> None:
    held(desk)
    desk.edit(WEB, role="web")


def published(desk: Desk, instance: str) -> None:
    desk.edit(WEB, role="web")
    desk.world.reconcile(instance)


def held_over_published(desk: Desk, instance: str) -> None:
    published(desk, instance)
    held(desk)
    desk.edit(WEB, role="db")


def held_deletion(desk: Desk, instance: str) -> None:
    published(desk, instance)
    held(desk)
    desk.remove(WEB)


def rejected_over_published(desk: Desk, instance: str) -> None:
    published(desk, instance)
    desk.edit(WEB, role="wbe")


def in_conflict(desk: Desk, _: str) -> None:
    desk.edit("env=prod", role="db")
    desk.edit(WEB, role="web")


def waiting(desk: Desk, _: str) -> None:
    desk.put(WEB, role="web", status="Waiting", status_reason="AWS gave no answer", status_revision=0)


CASES = {
    "published": Case(published, "", in_effect=1),
    "held, the first revision": Case(held_new, "revision 1 of app=web is held", 4, "waiting"),
    "held, over what is published": Case(held_over_published, "revision 2 of app=web is held", 4, in_effect=1),
    "held, a deletion": Case(held_deletion, "the deletion of app=web (revision 2) is held", 4, in_effect=1),
    "rejected, a new row": Case(lambda desk, _: desk.edit(WEB, role="wbe"), "app=web is rejected", 3, "blocked"),
    "rejected, over what is published": Case(
        rejected_over_published, "the last edit of app=web is rejected", 3, in_effect=1
    ),
    "in conflict": Case(in_conflict, "app=web is in conflict", 3, "drift"),
    "waits for AWS": Case(waiting, "app=web waits for AWS: AWS gave no answer", 1, "waiting"),
    "not judged yet": Case(lambda desk, _: desk.put(WEB, role="web"), "app=web isn't judged yet", 1, "waiting"),
    "expired": Case(
        lambda desk, _: desk.edit(WEB, role="web", expires_at="2026-02-01T00:00:00Z"),
        "app=web: it expired at 2026-02-01T00:00:00Z",
        in_effect=1,
    ),
    "disabled": Case(lambda desk, _: desk.edit(WEB, role="web", enabled=False), "app=web: it is disabled", in_effect=1),
    "out of scope": Case(
        lambda desk, _: desk.edit(WEB, role="web", accounts={"111111111111"}),
        "app=web: it is not for account 123456789012",
        in_effect=1,
    ),
}
