"""`rolekeeper revoke`: end what an instance may do with credentials that it got of a role before now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from rolekeeper_cli.errors import CommandError, ExitCode
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.role.view import CleanedView, RevokedRoleView, RevokedView
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import INSTANCE, completes, dry_runs, yes_to_all
from rolekeeper_cli.shell.command import command, deployment, prints
from rolekeeper_cli.shell.layout import second, several

with lazily():
    from rolekeeper_cli.guard import use as guard_use
    from rolekeeper_cli.instance import revoked_policy
    from rolekeeper_cli.instance import use as instances
    from rolekeeper_cli.role import revocation as role_revocation

if TYPE_CHECKING:
    from rolekeeper_cli.aws.deployment import Deployment

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
    plan = role_revocation.planned(there, instance, role=role, current=current)
    if plan.unknown:
        terminal.warn(f"roles that another actor attached aren't known: {plan.unknown}")
    fails = not (plan.revocations if terminal.options().dry_run else plan.writable)
    for each in plan.problems[fails:]:
        terminal.warn(str(each))
    if fails:
        raise CommandError(plan.problems[0].what, plan.problems[0].remedy)
    terminal.agree(lambda: _question(there, plan), yes=yes)
    done, failed = collected(role_revocation.write_all(there, plan))
    if failed and not done:
        terminal.bad(f"{error.what}: {error.remedy}" for error in failed[1:])
        raise failed[0]
    terminal.bad(f"{each.what}: {each.remedy}" for each in failed)
    revoked = _view(plan, done, failed)
    render.show(revoked, lambda: _show(plan, done))
    return ExitCode.NO if revoked.left else ExitCode.DONE


def _view(
    plan: role_revocation.Plan, roles: Sequence[RevokedRoleView], failed: Sequence[CommandError] = ()
) -> RevokedView:
    return RevokedView(
        **instances.where(plan.key),
        revoked=roles,
        left=[*map(str, plan.problems), *(f"{error.what}; {error.remedy}" for error in failed)],
        unknown_because=plan.unknown or None,
    )


def _question(there: Deployment, plan: role_revocation.Plan) -> terminal.Question:
    """Ask whether to revoke; a dry run shows the same document as what is written, also of what a person has to."""
    planned = plan.revocations if terminal.options().dry_run else plan.writable
    return terminal.Question(
        f"Revoke these credentials of {plan.title}?",
        _expected(there, planned),
        show=lambda: render.show(_view(plan, [each.view() for each in planned])),
        code=lambda: ExitCode.NO if plan.problems else ExitCode.DONE,
    )


def _expected(there: Deployment, planned: Sequence[role_revocation.Revocation]) -> Iterator[str]:
    for each in planned:
        yield f"{revoked_policy.POLICY} of role {each.role.name}:"
        yield guard_use.readable(each.policy)
        # A spoke's viewer may not ask, and a refusal may raise an alarm.
        if not each.problem:
            yield _others(there, each)
        if each.carried:
            yield _CUTS_OFF.format(each.role.name)


def _others(there: Deployment, revocation: role_revocation.Revocation) -> str:
    role, region = revocation.role.name, there.settings.region
    found, lacks = role_revocation.others(there, revocation)
    if lacks:
        return f"Other instances that carry {role} keep their access; you aren't allowed {lacks} to see which."
    if not found:
        return f"No other instance carries {role} in {region}."
    return f"Other instances that carry {role} in {region}, and keep their access: {len(found):,} ({several(found)})."


def _show(plan: role_revocation.Plan, done: Sequence[RevokedRoleView]) -> None:
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
