"""`rolekeeper roles`: what the roles under the path are, and which of them lack a baseline."""

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from rolekeeper.aws.errors import AwsRefusalError, NotFoundError, classified
from rolekeeper.aws.iam import Document, Policies
from rolekeeper.model.mapping import NO_ROLE
from rolekeeper.permissions.compare import as_many, lacking
from rolekeeper.permissions.policies import Permissions, TooManyRulesError, permissions
from rolekeeper_cli import render, terminal
from rolekeeper_cli import render as tables
from rolekeeper_cli.arguments import takes_targets
from rolekeeper_cli.checks.deployment import DoctorDeployment
from rolekeeper_cli.command import Group, command
from rolekeeper_cli.errors import CommandError, ExitCode, UsageError
from rolekeeper_cli.fleet import warn_of_unseen
from rolekeeper_cli.render import Column, Layout
from rolekeeper_cli.uses import roles as views
from rolekeeper_cli.uses.roles import DAYS, Asked
from rolekeeper_cli.uses.targets import Places
from rolekeeper_cli.uses.usage import why


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
@click.option("--unused", is_flag=True, help="Only those that nothing uses.")
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
) -> ExitCode:
    """Show the roles under the role path.

    Of each: the instances that carry it, the mappings that give it, when it was last used, what it may do, whether it
    is broad, which services it didn't use in 90 days, and a smaller policy where that is certain. Then how many
    instance profiles and roles the account has, and may have.

    A hub shows those of all its accounts into which you may look; of another account than its own, the roles that a
    mapping gives or an instance carries, without what they don't use.
    """
    if context.invoked_subcommand is not None:
        if names or unused or targets:
            raise UsageError("--role, --unused and --target are about the list", "leave them out")
        return ExitCode.DONE
    from rolekeeper_cli.command import doctor_deployment
    from rolekeeper_cli.uses.roles import Asked

    asked = Asked(names, unused=unused, last_accessed=ask_last_accessed)
    return show(doctor_deployment(), asked, targets)


@command(
    "must-include",
    "rolekeeper roles must-include AmazonSSMManagedInstanceCore",
    "rolekeeper roles must-include baseline.json --query '[?!includes].[role, lacks]'",
)
@click.argument("policy", help="A managed policy by name or ARN, or a file with a policy document; - is stdin.")
def must_include(policy: str) -> ExitCode:
    """Find the mapped roles that lack a baseline.

    Whatever the policy allows, each role that a mapping gives has to be allowed by its own policies, on the same
    resources, and not denied. Exits with 1 when a role lacks something, or that can't be known.
    """
    from rolekeeper_cli.command import doctor_deployment

    return show_lacking(doctor_deployment(), policy)


# ---- the table, and each role that is named ----


HEAD = ("role", "instances", "maps", "last used", "broad", "may use")
_OF_SEVERAL = (HEAD[0], "account", *HEAD[1:])
_WIDTH = 79
# So that a line of the table has its place on a terminal of 80 columns, beside a role's name of 20 characters.
_SERVICES, _BESIDE_ACCOUNT = 22, 10
_NAMED = 5
_UNKNOWN = "?"

type RoleDocument = Mapping[str, Any]


def show(deployment: DoctorDeployment, asked: Asked, targets: Sequence[str] = ()) -> ExitCode:
    """Show the roles under the path, in all accounts or in those of the targets that are named.

    Raises:
        UsageError: there is no role of a name under the path, or no such target.
    """
    places = Places.chosen(deployment, targets)
    rest = views.document(deployment, places, asked)
    documents = rest.pop("roles")
    several = len({each["account"] for each in documents if "account" in each}) > 1

    def draw(rows: Iterable[RoleDocument]) -> None:
        listed = list(rows)
        if asked.names:
            for each in listed:
                tables.show_table(("", ""), _details(each))
                # Not in the table, which folds them: they are to be copied.
                for smaller in each["smaller"]:
                    terminal.line(f"without {', '.join(smaller['drops'])}, of policy {smaller['policy']}:")
                    terminal.line(f"  {smaller['command']}")
        elif listed:
            if several:
                tables.show_table(_OF_SEVERAL, map(_cells_of_several, listed), whole=2)
            else:
                tables.show_table(HEAD, map(_cells, listed))
            for line in _notes(listed, several=several):
                terminal.line(line)
        for line in _totals(deployment, rest, shown=not asked.names, several=several):
            terminal.line(line)

    render.show_with_rows("roles", documents, lambda: rest, draw=draw)
    for each in rest["unknown"]:
        terminal.warn(f"not everything is shown: {each}")
    warn_of_unseen(places)
    return ExitCode.DONE


# ---- for people ----


def _cells(row: RoleDocument, room: int = _SERVICES) -> list[object]:
    return [
        row["role"],
        _count(row["instances"]),
        _count(row["mappings"]),
        _day(row["last_used"]) or ("never" if row["created"] else _UNKNOWN),
        _UNKNOWN if row["broad"] is None else "yes" if row["broad"] else "no",
        _UNKNOWN if row["services"] is None else fitting(row["services"], room) or "nothing",
    ]


def _cells_of_several(row: RoleDocument) -> list[object]:
    """The same of roles of several accounts."""
    role, *others = _cells(row, _BESIDE_ACCOUNT)
    return [role, row["account"], *others]


def _notes(rows: Sequence[RoleDocument], *, several: bool) -> Iterator[str]:
    """What is to be looked at, role by role; where there are `several` accounts, in which."""

    def name(row: RoleDocument) -> str:
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


def _totals(deployment: DoctorDeployment, rest: RoleDocument, *, shown: bool, several: bool) -> Iterator[str]:
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


def _details(row: RoleDocument) -> Iterator[tuple[str, str]]:
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


def _services(row: RoleDocument) -> Iterator[str]:
    for each in row["unused_services"]:
        at = row["services_last_used"][each]
        yield f"{each} ({f'last {_day(at)}' if at else 'never'})"


def _unused(row: RoleDocument) -> str:
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


# ---- a baseline ----


# What a table says of what a role lacks, and of the mappings that give it, in characters and by number.
_WORDS, _NAMED = 200, 2


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a role that mappings give includes a baseline: what it lacks of it, or why that isn't known."""

    role: str
    mappings: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    because: str = ""

    def document(self) -> dict[str, Any]:
        """For programs. Where it isn't known, it isn't said that it includes it."""
        return {
            "role": self.role,
            "mappings": list(self.mappings),
            "includes": None if self.because else not self.lacks,
            "lacks": list(self.lacks),
            "unknown_because": self.because or None,
        }


def show_lacking(deployment: DoctorDeployment, policy: str) -> ExitCode:
    """Show which mapped roles include a policy; the answer is no if one lacks something, or it isn't known.

    Raises:
        CommandError: there is no such policy, or it says nothing that could be asked.
    """
    wanted = _permissions(document(deployment, policy), policy)
    with deployment.progress(None, "roles read") as progress:
        found = list(progress.over(answers(deployment, wanted)))
    lacking_ = sum(bool(each.lacks) for each in found)
    unknown = sum(bool(each.because) for each in found)
    told = (
        f"{len(found) - lacking_ - unknown:,} of {len(found):,} mapped roles include {policy}; "
        f"{lacking_:,} lack some of it{f', {unknown:,} unknown' if unknown else ''}."
    )
    documents = [each.document() for each in found]
    render.show_list(LAYOUT, documents, empty=lambda: "No mapping gives a role.", total=lambda: told)
    return ExitCode.NO if lacking_ or unknown else ExitCode.DONE


def answers(deployment: DoctorDeployment, wanted: Permissions) -> Iterator[Answer]:
    """Each role that a mapping gives, as its row says or as it is published, by name."""
    reader = deployment.app.roles.policies
    for role, mappings in sorted(deployment.role_users.items()):
        if role == NO_ROLE:
            continue
        answer = Answer(role, tuple(mappings))
        try:
            if reader.role(role) is None:
                answer = replace(answer, because="the role doesn't exist")
            else:
                answer = replace(answer, lacks=lacking(reader.permissions(role), wanted))
        except AwsRefusalError as error:
            answer = replace(answer, because=why(error))
        except TooManyRulesError as error:
            answer = replace(answer, because=str(error))
        yield answer


def document(deployment: DoctorDeployment, policy: str) -> Document:
    """The policy that is meant: by an ARN, by a file (`-` is stdin), or by the name of a managed policy.

    Raises:
        CommandError: there is none.
    """
    if policy.startswith("arn:"):
        found = _managed(deployment, policy)
        if found is None:
            raise CommandError(f"there is no policy {policy}", "see: aws iam list-policies")
        return found
    if policy == "-" or policy.endswith(".json") or "/" in policy or Path(policy).is_file():
        return _read(policy)
    caller, path = deployment.caller, deployment.settings.role_path
    places = (("aws", "/"), ("aws", "/service-role/"), (caller.account, "/"), (caller.account, path))
    for account, place in places:
        arn = f"arn:{caller.partition}:iam::{account}:policy{place}{policy}"
        if (found := _managed(deployment, arn)) is not None:
            return found
    raise CommandError(f"there is no managed policy {policy}", "give its ARN, or a file that ends with .json")


def _managed(deployment: DoctorDeployment, arn: str) -> Document | None:
    """What a managed policy says; None if there is none."""
    iam = deployment.client("iam")
    try:
        with classified("iam:GetPolicy", arn):
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        with classified("iam:GetPolicyVersion", arn):
            found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    except NotFoundError:
        return None
    return found if isinstance(found, Mapping) else {}


def _read(name: str) -> Document:
    try:
        found = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{name} can't be read: {error.strerror}", "give a file, or a policy's name or ARN") from error
    except ValueError as error:
        raise CommandError(f"{name} is no JSON: {error}", "give a policy document, as IAM takes it") from error
    if not isinstance(found, Mapping) or "Statement" not in found:
        raise CommandError(f"{name} is no policy: it has no Statement", "give a policy document, as IAM takes it")
    return found


def _permissions(document: Document, policy: str) -> Permissions:
    """What a policy allows; its denials are asked of nobody."""
    try:
        wanted = permissions(Policies((document,)))
    except TooManyRulesError as error:
        raise CommandError(f"{policy} can't be compared: {error}", "split it, and ask about each part") from error
    if not wanted.allowed:
        raise CommandError(f"{policy} allows nothing, so every role includes it", "name a policy that allows something")
    return wanted


def _mappings(row: Mapping[str, Any]) -> str:
    more = f" and {len(row['mappings']) - _NAMED} more" if len(row["mappings"]) > _NAMED else ""
    return ", ".join(row["mappings"][:_NAMED]) + more


def _includes(row: Mapping[str, Any]) -> str:
    return "unknown" if row["includes"] is None else "yes" if row["includes"] else "no"


def _lacks(row: Mapping[str, Any]) -> str:
    return row["unknown_because"] or as_many("", row["lacks"], _WORDS).strip()


LAYOUT = Layout(
    (Column("role"), Column("mappings", _mappings, folds=True), Column("includes it", _includes)),
    note=_lacks,
    note_name="lacks",
)


for each in (must_include,):
    group.add_command(each)
