"""`rolekeeper roles`: those under the path, and which lack a baseline; and `revoke`: what an instance got of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from rolekeeper_cli.errors import CommandError, ExitCode
from rolekeeper_cli.fleet.command import warn_of_unseen
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.role.view import (
    CleanedView,
    InclusionView,
    QuotasView,
    RevokedRoleView,
    RevokedView,
    RolesView,
    RoleView,
)
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import INSTANCE, completes, dry_runs, takes_targets, yes_to_all
from rolekeeper_cli.shell.command import Group, command, deployment, lists, prints
from rolekeeper_cli.shell.layout import Column, Layout, amount, day, second, several

with lazily():
    from rolekeeper_cli.guard import use as guard_use
    from rolekeeper_cli.instance import revoked_policy
    from rolekeeper_cli.instance import use as instances
    from rolekeeper_cli.role import revocation, use
    from rolekeeper_cli.shell import tables
    from rolekeeper_cli.target import use as target_use

if TYPE_CHECKING:
    from rolekeeper_cli.aws.deployment import Deployment


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
    done, bad = collected(revocation.clean(deployment()))
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


# ---- `rolekeeper revoke`: end what an instance may do with credentials that it got of a role before now ----

_CUTS_OFF = (
    "The instance itself loses its access as {}, until IMDS hands out new credentials, up to an hour later; software "
    "that keeps its credentials needs a restart. Anyone who is on the instance gets the new ones."
)


@prints(revoked=RevokedView)
@command("revoke", "rolekeeper revoke web-1", "rolekeeper revoke i-0123456789abcdef0 --role web --dry-run")
@click.argument(
    "instance", help=f"{INSTANCE} One that has ended is named by its id.", shell_complete=completes("instances")
)
@click.option(
    "--role",
    metavar="NAME",
    default="",
    shell_complete=completes("roles"),
    help="Only this role. Default: each that it no longer carries, and whose credentials may be valid.",
)
@click.option("--current", is_flag=True, help="For incidents: also the role that the instance still carries.")
@yes_to_all
@dry_runs
def revoke(instance: str, role: str, *, current: bool, yes: bool) -> ExitCode:
    """Cut off the credentials that an instance has of a former role.

    EC2 hands out credentials that are valid for more than six hours, and taking the role away doesn't end them. This
    writes a policy onto the role, rolekeeper-revoked, which denies all that the instance got of it before now, and
    reads it back. Other instances with that role aren't touched. On a terminal it shows the policy first, and asks.

    A dry run shows the policy of any role, also of one that Rolekeeper can't write to.
    """
    there, instance = instances.located(deployment(), instance)
    plan = revocation.planned(there, instance, role=role, current=current)
    if plan.unknown:
        terminal.warn(f"roles that another actor attached aren't known: {plan.unknown}")
    fails = not (plan.revocations if terminal.options().dry_run else plan.writable)
    for each in plan.problems[fails:]:
        terminal.warn(str(each))
    if fails:
        raise CommandError(plan.problems[0].what, plan.problems[0].remedy)
    terminal.agree(lambda: _question(there, plan), yes=yes)
    done, failed = collected(revocation.write_all(there, plan))
    if failed and not done:
        terminal.bad(f"{error.what}: {error.remedy}" for error in failed[1:])
        raise failed[0]
    terminal.bad(f"{each.what}: {each.remedy}" for each in failed)
    revoked = _view(plan, done, failed)
    render.show(revoked, lambda: _show(plan, done))
    return ExitCode.NO if revoked.left else ExitCode.DONE


def _view(plan: revocation.Plan, roles: Sequence[RevokedRoleView], failed: Sequence[CommandError] = ()) -> RevokedView:
    return RevokedView(
        **instances.where(plan.key),
        revoked=roles,
        left=[*map(str, plan.problems), *(f"{error.what}; {error.remedy}" for error in failed)],
        unknown_because=plan.unknown or None,
    )


def _question(there: Deployment, plan: revocation.Plan) -> terminal.Question:
    """Ask whether to revoke; a dry run shows the same document as what is written, also of what a person has to."""
    planned = plan.revocations if terminal.options().dry_run else plan.writable
    return terminal.Question(
        f"Revoke these credentials of {plan.title}?",
        _expected(there, planned),
        show=lambda: render.show(_view(plan, [each.view() for each in planned])),
        code=lambda: ExitCode.NO if plan.problems else ExitCode.DONE,
    )


def _expected(there: Deployment, planned: Sequence[revocation.Revocation]) -> Iterator[str]:
    for each in planned:
        yield f"{revoked_policy.POLICY} of role {each.role.name}:"
        yield guard_use.readable(each.policy)
        # A spoke's viewer may not ask, and a refusal may raise an alarm.
        if not each.problem:
            yield _others(there, each)
        if each.carried:
            yield _CUTS_OFF.format(each.role.name)


def _others(there: Deployment, planned: revocation.Revocation) -> str:
    role, region = planned.role.name, there.settings.region
    found, lacks = revocation.others(there, planned)
    if lacks:
        return f"Other instances that carry {role} keep their access; you aren't allowed {lacks} to see which."
    if not found:
        return f"No other instance carries {role} in {region}."
    return f"Other instances that carry {role} in {region}, and keep their access: {len(found):,} ({several(found)})."


def _show(plan: revocation.Plan, done: Sequence[RevokedRoleView]) -> None:
    for each in done:
        terminal.line(f"Revoked: the credentials of {each.role} that {plan.title} got before {second(each.before)}.")
    terminal.say("IAM shows the policy; it may take a few minutes until all of AWS follows it.")


def collected[Found: (RevokedRoleView, CleanedView)](
    outcomes: Iterable[Found | CommandError],
) -> tuple[list[Found], list[CommandError]]:
    """What was done, and the errors. Ctrl-C in between shows which roles are done by then."""
    done, failed = list[Found](), list[CommandError]()
    try:
        for outcome in outcomes:
            if isinstance(outcome, CommandError):
                failed.append(outcome)
            else:
                done.append(outcome)
    except KeyboardInterrupt:
        names = several([found.role for found in done]) or "none"
        terminal.warn(f"stopped in between; done by then: {names}. One more may be written; to go on, run it again.")
        raise
    return done, failed
