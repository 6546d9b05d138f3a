"""`rolekeeper revoke`: end what an instance may do with credentials that it got of a role before now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from rolekeeper_cli.errors import CommandError, ExitCode
from rolekeeper_cli.guard import command as guard
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.role.revoke_view import CleanedView, RevokedRoleView, RevokedView
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


@prints(revoked=RevokedView, revoked_policy=Mapping[str, Any])  # as IAM takes it, with --print
@command(
    "revoke",
    "rolekeeper revoke web-1",
    "rolekeeper revoke i-0123456789abcdef0 --role web --print > revoked.json",
)
@click.argument(
    "instance",
    help=f"{INSTANCE} One that has ended is named by its id.",
    shell_complete=completes("instances"),
)
@click.option(
    "--role",
    metavar="NAME",
    default="",
    shell_complete=completes("roles"),
    help="Only this role. Default: each that it no longer carries, and whose credentials may be valid.",
)
@click.option("--current", is_flag=True, help="For incidents: also the role that the instance still carries.")
@click.option("--print", "prints", is_flag=True, help="Only print the role's policy, and write nothing.")
@yes_to_all
@dry_runs
def revoke(instance: str, role: str, *, current: bool, prints: bool, yes: bool) -> ExitCode:
    """Cut off the credentials that an instance has of a former role.

    EC2 hands out credentials that are valid for more than six hours, and taking the role away doesn't end them. This
    writes a policy onto the role, rolekeeper-revoked, which denies all that the instance got of it before now, and
    reads it back. Other instances with that role aren't touched. On a terminal it shows the policy first, and asks.
    """
    there, instance = instances.located(deployment(), instance)
    plan = role_revocation.planned(there, instance, role=role, current=current)
    if prints:
        _print(there, plan)
        return ExitCode.DONE
    if plan.unknown:
        terminal.warn(f"roles that another actor attached aren't known: {plan.unknown}")
    for each in plan.problems[0 if plan.writable else 1 :]:
        terminal.warn(str(each))
    if not plan.writable:
        raise CommandError(plan.problems[0].what, plan.problems[0].remedy)
    terminal.agree(lambda: _question(there, plan), yes=yes)
    done, failed = _collected(role_revocation.write_all(there, plan))
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
    """Ask whether to revoke; a dry run shows the same document as what was written."""
    planned = [each.view() for each in plan.writable]
    return terminal.Question(
        f"Revoke these credentials of {plan.title}?",
        _expected(there, plan),
        show=lambda: render.show(_view(plan, planned), lambda: None),
        code=lambda: ExitCode.NO if plan.problems else ExitCode.DONE,
    )


def _expected(there: Deployment, plan: role_revocation.Plan) -> Iterator[str]:
    for each in plan.writable:
        yield f"{revoked_policy.POLICY} of role {each.role.name}:"
        yield guard_use.readable(each.policy)
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


def _print(there: Deployment, plan: role_revocation.Plan) -> None:
    """Print the one role's policy, as `aws iam put-role-policy` takes it."""
    if len(plan.revocations) != 1:
        named = [each.role.name for each in plan.revocations]
        what = f"{plan.title} carried {several(named)}, and each has a policy of its own" if named else ""
        raise CommandError(what or str(plan.left[0]), "name one role: --role NAME")
    [found] = plan.revocations
    about = [f"To write it: {role_revocation.put(there, found.role.name)}"]
    guard.show(found.policy, [*about, *([_CUTS_OFF.format(found.role.name)] if found.carried else [])])


def _collected[Found: (RevokedRoleView, CleanedView)](
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


@prints(cleaned=list[CleanedView])
@command("clean-revoked", "rolekeeper roles clean-revoked")
def clean_revoked() -> ExitCode:
    """Remove what `rolekeeper revoke` wrote and is over.

    Of every role of the account under the path. A policy without any other statement is deleted.
    """
    done, bad = _collected(role_revocation.clean(deployment()))
    terminal.bad(f"{each.what}: {each.remedy}" for each in bad)
    render.show(done, lambda: _show_cleaned(done), of=list[CleanedView])
    return ExitCode.NO if bad else ExitCode.DONE


def _show_cleaned(done: Sequence[CleanedView]) -> None:
    for each in done:
        rest = f"{each.left:,} statements stay" if each.left else "the policy is deleted"
        terminal.line(f"{each.role}: removed {several(each.removed)}; {rest}.")
    if not done:
        terminal.line("No entry is over.")
