"""`rolekeeper roles`: the roles as a table, what to look at below it, and each role that is named by itself."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rolekeeper_cli import output, render, tables
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.left_out import warn_of_unseen
from rolekeeper_cli.views import roles as views
from rolekeeper_cli.views.places import Places
from rolekeeper_cli.views.role_document import DAYS
from rolekeeper_cli.views.roles import Asked

HEAD = ("role", "instances", "maps", "last used", "broad", "may use")
_OF_SEVERAL = (HEAD[0], "account", *HEAD[1:])
_WIDTH = 79
# So that a line of the table has its place on a terminal of 80 columns, beside a role's name of 20 characters.
_SERVICES, _BESIDE_ACCOUNT = 22, 10
_NAMED = 5
_UNKNOWN = "?"

type Document = Mapping[str, Any]


def show(deployment: DoctorDeployment, asked: Asked, targets: Sequence[str] = ()) -> ExitCode:
    """Show the roles under the path, in all accounts or in those of the targets that are named.

    Raises:
        UsageError: there is no role of a name under the path, or no such target.
    """
    places = Places.chosen(deployment, targets)
    rest = views.document(deployment, places, asked)
    documents = rest.pop("roles")
    several = len({each["account"] for each in documents if "account" in each}) > 1

    def draw(rows: Iterable[Document]) -> None:
        listed = list(rows)
        if asked.names:
            for each in listed:
                tables.show_table(("", ""), _details(each))
                # Not in the table, which folds them: they are to be copied.
                for smaller in each["smaller"]:
                    output.line(f"without {', '.join(smaller['drops'])}, of policy {smaller['policy']}:")
                    output.line(f"  {smaller['command']}")
        elif listed:
            if several:
                tables.show_table(_OF_SEVERAL, map(_cells_of_several, listed), whole=2)
            else:
                tables.show_table(HEAD, map(_cells, listed))
            for line in _notes(listed, several=several):
                output.line(line)
        for line in _totals(deployment, rest, shown=not asked.names, several=several):
            output.line(line)

    render.show_with_rows("roles", documents, lambda: rest, draw=draw)
    for each in rest["unknown"]:
        output.warn(f"not everything is shown: {each}")
    warn_of_unseen(places)
    return ExitCode.DONE


# ---- for people ----


def _cells(row: Document, room: int = _SERVICES) -> list[object]:
    return [
        row["role"],
        _count(row["instances"]),
        _count(row["mappings"]),
        _day(row["last_used"]) or ("never" if row["created"] else _UNKNOWN),
        _UNKNOWN if row["broad"] is None else "yes" if row["broad"] else "no",
        _UNKNOWN if row["services"] is None else fitting(row["services"], room) or "nothing",
    ]


def _cells_of_several(row: Document) -> list[object]:
    """The same of roles of several accounts."""
    role, *others = _cells(row, _BESIDE_ACCOUNT)
    return [role, row["account"], *others]


def _notes(rows: Sequence[Document], *, several: bool) -> Iterator[str]:
    """What is to be looked at, role by role; where there are `several` accounts, in which."""

    def name(row: Document) -> str:
        return f"{row['role']} in {row['account']}" if several else row["role"]

    for each in rows:
        if each["unused"]:
            yield from _wrapped(f"Nothing uses {name(each)}: {_unused(each)}.")
    for each in rows:
        if each["broad"]:
            yield from _wrapped(f"{name(each)} is broad: {each['broad_because']}.")
    for each in rows:
        if (services := each["unused_services"]) and not each["unused"]:
            yield from _wrapped(f"{name(each)} didn't use in {DAYS} days: {_several(services)}.")
    for each in rows:
        if each["smaller"]:
            drops = sorted({service for one in each["smaller"] for service in one["drops"]})
            there = f" --target {each['account']}" if several else ""
            yield from _wrapped(
                f"{name(each)} can do without {_several(drops)}: see rolekeeper roles --role {each['role']}{there}"
            )


def _totals(deployment: DoctorDeployment, rest: Document, *, shown: bool, several: bool) -> Iterator[str]:
    summary, account = rest["summary"], rest["account"]
    if shown and not summary["roles"]:
        yield f"No role under {deployment.settings.role_path} to show."
    elif shown:
        yield (
            f"{summary['roles']:,} roles: {summary['broad']:,} broad, {summary['unused']:,} that nothing uses, "
            f"{summary['could_be_smaller']:,} that could be smaller."
        )
    if account:
        whose = f"Account {deployment.home.account}" if several else "The account"
        yield (
            f"{whose} has {account['instance_profiles']:,} of {account['instance_profiles_quota']:,} instance "
            f"profiles, {account['roles']:,} of {account['roles_quota']:,} roles."
        )


def _details(row: Document) -> Iterator[tuple[str, str]]:
    yield "role", row["arn"]
    yield "created", _day(row["created"]) or _UNKNOWN
    yield "last used", _day(row["last_used"]) or ("never in 400 days" if row["created"] else _UNKNOWN)
    for name in ("instances", "mappings", "profiles"):
        yield name, _UNKNOWN if row[name] is None else ", ".join(row[name]) or "none"
    if row["unused"]:
        yield "unused", f"nothing uses it: {_unused(row)}"
    for each in [_UNKNOWN] if row["may"] is None else row["may"] or ["nothing"]:
        yield "may", each
    yield "broad", _UNKNOWN if row["broad"] is None else row["broad_because"] or "no"
    if row["unused_services"] is None:
        yield "unused services", f"unknown: {row['unknown_because']}"
    else:
        yield f"unused {DAYS} days", ", ".join(_services(row)) or "no service"


def _services(row: Document) -> Iterator[str]:
    for each in row["unused_services"]:
        at = row["services_last_used"][each]
        yield f"{each} ({f'last {_day(at)}' if at else 'never'})"


def _unused(row: Document) -> str:
    last = f"last used {_day(row['last_used'])}" if row["last_used"] else "not used in 400 days"
    return f"no mapping gives it, no instance here carries it, {last}"


def fitting(names: Sequence[str], room: int) -> str:
    """As many names as there is room for, at least one, and the number of the others."""
    for count in range(len(names), 0, -1):
        rest = f" and {len(names) - count} more" if count < len(names) else ""
        text = ", ".join(names[:count]) + rest
        if len(text) <= room or count == 1:
            return text
    return ""


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _count(values: Sequence[str] | None) -> str:
    return _UNKNOWN if values is None else f"{len(values):,}"


def _day(at: Any) -> str:
    return f"{at:%Y-%m-%d}" if at else ""
