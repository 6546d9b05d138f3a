"""`rolekeeper roles`: what the roles under the path are, and which of them lack a baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import click

from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.fleet.command import warn_of_unseen
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.role.view import CleanedView, InclusionView, QuotasView, RolesView, RoleView
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import takes_targets
from rolekeeper_cli.shell.command import Group, deployment, lists, prints
from rolekeeper_cli.shell.layout import Column, Layout, amount, day, several

with lazily():
    from rolekeeper_cli.role import revocation, revoke_command, use
    from rolekeeper_cli.shell import tables
    from rolekeeper_cli.target import use as target_use


@lists()
@prints(roles=RolesView)
@click.group(
    "roles",
    cls=Group,
    invoke_without_command=True,
    examples=[
        "rolekeeper roles",
        "rolekeeper roles --role web",
        "rolekeeper roles --target 111111111111",
        "rolekeeper roles --unused --query 'roles[].role'",
        "rolekeeper roles must-include AmazonSSMManagedInstanceCore",
    ],
)
@click.option("--role", "names", metavar="NAME", multiple=True, help="Only this one, whole; may be given again.")
@click.option(
    "--unused", is_flag=True, help="Only those unused for 90 days, which no mapping gives and no instance carries."
)
@click.option(
    "--last-accessed/--no-last-accessed",
    "ask_last_accessed",
    default=True,
    help="Whether to ask IAM which services each one called. It is asked by default.",
)
@takes_targets
@click.pass_context
def group(
    context: click.Context, names: tuple[str, ...], targets: tuple[str, ...], *, unused: bool, ask_last_accessed: bool
) -> None:
    """Show the roles under the role path.

    For each role: its instances, the mappings that give it, when it was last used, what it may do, whether it is broad,
    which services it didn't use in 90 days, and a smaller policy if that is certain. Then how many instance profiles
    and roles the account has, and may have.

    A hub shows those of all its accounts into which you may look; of another account than its own, the roles that a
    mapping gives or an instance carries, without what they don't use.
    """
    if context.invoked_subcommand is not None:
        return

    there = deployment()
    places = target_use.Places.chosen(there, targets)
    found = use.view(there, places, names=names, unused=unused, last_accessed=ask_last_accessed)
    by_account = len({role.account for role in found.roles}) > 1
    layout = _layout(by_account=by_account)
    arranged = render.Arranged(layout, found.roles, RoleView)
    found = found.but(roles=list(arranged))

    def draw() -> None:
        if names:
            _draw_whole(found.roles)
        else:
            if found.roles:
                tables.stream_list(layout, found.roles)
            terminal.line(_total(found, there.settings.role_path))
            arranged.say_rest()
        if found.account:
            terminal.line(_quotas(found.account, there.home.account if by_account else ""))

    render.show(found, draw)
    for each in found.unknown:
        terminal.warn(f"not everything is shown: {each}")
    warn_of_unseen(places)


@lists()
@prints(included=list[InclusionView])
@group.command(
    "must-include",
    examples=[
        "rolekeeper roles must-include AmazonSSMManagedInstanceCore",
        "rolekeeper roles must-include baseline.json --query '[?!includes].[role, lacks]'",
    ],
)
@click.argument("policy", help="A managed policy by name or ARN, or a file with a policy document; - is stdin.")
def must_include(policy: str) -> ExitCode:
    """Find the mapped roles that lack a baseline.

    Whatever the policy allows, each role that a mapping gives has to be allowed by its own policies, on the same
    resources, and not denied. Exits with 1 when a role lacks something, or that can't be known.
    """
    there = deployment()
    wanted = use.wanted(there, policy)
    with there.progress(None, "roles read") as progress:
        found = list(progress.over(use.inclusions(there, wanted)))
    count = Counter(each.includes for each in found)
    total = (
        f"{count[True]:,} of {len(found):,} mapped roles include {policy}; "
        f"{count[False]:,} lack some of it{f', {count[None]:,} unknown' if count[None] else ''}."
    )
    render.show_list(_INCLUSIONS, found, empty=lambda: "No mapping gives a role.", total=lambda: total)
    return ExitCode.DONE if count[True] == len(found) else ExitCode.NO


@prints(cleaned=list[CleanedView])
@group.command("clean-revoked", examples=["rolekeeper roles clean-revoked"])
def clean_revoked() -> ExitCode:
    """Remove what `rolekeeper revoke` wrote and is over.

    Of every role of the account under the path. A policy without any other statement is deleted.
    """
    done, bad = revoke_command.collected(revocation.clean(deployment()))
    terminal.bad(f"{each.what}: {each.remedy}" for each in bad)
    render.show(done, lambda: _show_cleaned(done))
    return ExitCode.NO if bad else ExitCode.DONE


def _show_cleaned(done: Sequence[CleanedView]) -> None:
    for each in done:
        rest = f"{amount(each.left, 'statement')} left" if each.left else "the policy is deleted"
        terminal.line(f"{each.role}: removed {several(each.removed)}; {rest}.")
    if not done:
        terminal.line("No entry is over.")


# So that a line of the table has its place on a terminal of 80 columns, beside a role's name of 20 characters.
_SERVICES, _BESIDE_ACCOUNT = 22, 10
_UNKNOWN = "?"


def _layout(*, by_account: bool) -> Layout:
    room = _BESIDE_ACCOUNT if by_account else _SERVICES
    return Layout(
        (
            Column("role", kind="key"),
            *([Column("account")] if by_account else []),
            Column("instances", lambda row: _count(row.instances)),
            Column("maps", lambda row: _count(row.mappings)),
            Column("last used", lambda row: _last_used(row, "never")),
            Column("broad", lambda row: _yes_or_no(row.broad, _UNKNOWN)),
            Column("may use", lambda row: _may_use(row, room), kind="text"),
        ),
        note=_note,
        note_name="note",
    )


def _draw_whole(rows: Iterable[RoleView]) -> None:
    for each in rows:
        tables.show_table(("", ""), _details(each))
        # Not in the table, which folds them: they are to be copied.
        for smaller in each.smaller:
            terminal.line(f"without {', '.join(smaller.drops)}, of policy {smaller.policy}:")
            terminal.line(f"  {smaller.command}")


def _note(row: RoleView) -> str:
    drops = sorted({service for smaller in row.smaller for service in smaller.drops})
    idle = [service for service in row.unused_services or () if service not in drops]
    there = f" --target {row.account}" if row.account else ""
    notes = {
        f"unused: {_unused(row)}": row.unused,
        f"broad: {row.broad_because}": row.broad,
        f"not used in {use.DAYS} days: {several(idle)}": idle and not row.unused,
        f"can do without {several(drops)}: see rolekeeper roles --role {row.role}{there}": drops,
    }
    return "; ".join(note for note, applies in notes.items() if applies)


def _total(found: RolesView, path: str) -> str:
    summary = found.summary
    if not found.roles:
        return f"No role under {path} to show."
    return (
        f"{amount(summary.roles, 'role')}: {summary.broad:,} broad, {summary.unused:,} unused for {use.DAYS} days, "
        f"{summary.could_be_smaller:,} that could be smaller."
    )


def _quotas(account: QuotasView, id_: str) -> str:
    return (
        f"{f'Account {id_}' if id_ else 'The account'} has {account.instance_profiles:,} of "
        f"{account.instance_profiles_quota:,} instance profiles, {account.roles:,} of "
        f"{account.roles_quota:,} roles."
    )


def _details(row: RoleView) -> Iterator[tuple[str, str]]:
    yield "role", row.arn
    yield "created", day(row.created) if row.created else _UNKNOWN
    yield "last used", _last_used(row, "never in 400 days")
    for name in ("instances", "mappings", "profiles"):
        held = getattr(row, name)
        yield name, _UNKNOWN if held is None else ", ".join(held) or "none"
    if row.unused:
        yield "unused", _unused(row)
    for each in [_UNKNOWN] if row.may is None else row.may or ["nothing"]:
        yield "may", each
    yield "broad", _UNKNOWN if row.broad is None else row.broad_because or "no"
    if row.unused_services is None:
        yield "unused services", f"unknown: {row.unknown_because}"
    else:
        yield f"unused {use.DAYS} days", ", ".join(_services(row)) or "no service"


def _services(row: RoleView) -> Iterator[str]:
    used = row.services_last_used or {}
    for service in row.unused_services or ():
        at = used[service]
        yield f"{service} ({f'last {day(at)}' if at else 'never'})"


def _unused(row: RoleView) -> str:
    last = f"last used {day(row.last_used)}" if row.last_used else "not used in 400 days"
    return f"no mapping gives it, no instance here carries it, {last}"


def _may_use(row: RoleView, room: int) -> str:
    """As many services as there is room for, at least one, and the number of the others."""
    services = row.services
    if not services:
        return _UNKNOWN if services is None else "nothing"
    texts = (several(services, count) for count in range(len(services), 1, -1))
    return next((each for each in texts if len(each) <= room), several(services, 1))


def _last_used(row: RoleView, never: str) -> str:
    if row.last_used:
        return day(row.last_used)
    return never if row.created else _UNKNOWN


def _yes_or_no(value: bool | None, unknown: str) -> str:  # noqa: FBT001  # what a document says, or None
    return unknown if value is None else "yes" if value else "no"


def _count(values: Sequence[str] | None) -> str:
    return _UNKNOWN if values is None else f"{len(values):,}"


# What a table says of what a role lacks, and of the mappings that give it, in characters and by number.
_WORDS, _MAPPINGS = 200, 2

_INCLUSIONS = Layout(
    (
        Column("role", kind="key"),
        Column("mappings", lambda row: several(row.mappings, _MAPPINGS)),
        Column("includes it", lambda row: _yes_or_no(row.includes, "unknown")),
    ),
    note=lambda row: use.lacks_in_words(row, _WORDS),
    note_name="lacks",
)
