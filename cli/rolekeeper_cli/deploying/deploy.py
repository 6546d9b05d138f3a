"""`rolekeeper deploy` and `upgrade`: the stack as this version of the package has it, with AWS's SDK alone.

What is deployed stays: each parameter keeps its value until another is given. Before anything changes, the command
shows what would change, and asks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from botocore.config import Config

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, classified
from rolekeeper_cli import installed, render, terminal
from rolekeeper_cli.deploying.artifacts import Bucket, Place, built, upload
from rolekeeper_cli.deploying.change_set import Template
from rolekeeper_cli.deploying.parameters import option_of
from rolekeeper_cli.deploying.rollout import Rollout, document
from rolekeeper_cli.deploying.stack import (
    NEVER_WORKED,
    Parameters,
    Present,
    declared,
    is_allowed,
    merged,
    refuse_downgrade,
    versions,
)
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import ConfigurationError, ExitCode, UsageError
from rolekeeper_cli.suggest import near

# ---- the organization of an account ----


_ACTION = "organizations:DescribeOrganization"


def organization_of(client: Any) -> str:
    """The id of the organization that the caller's account is in; empty: none.

    Raises:
        AwsRefusalError: it isn't known, as the caller may not ask, or gets no answer.
    """
    try:
        with classified(_ACTION, "*"):
            return str(client.describe_organization()["Organization"]["Id"])
    except AwsRefusalError as error:
        if error.code != "AWSOrganizationsNotInUseException":
            raise
        return ""


def check_hub(client: Callable[[], Any], wanted: str, former: str, *, dry_run: bool) -> None:
    """Refuse to make a hub of an organization that its account isn't in.

    If that can't be asked, a new hub is made with a warning. A live hub would shut out its spokes: a person has to type
    the id of the other organization, --yes or not.

    Args:
        client: makes a client of AWS Organizations in the hub's account.
        wanted: the organization's id; empty for none.
        former: the same, as it is deployed.
        dry_run: nothing is changed.

    Raises:
        CommandError: the account is in another organization; or nobody can say that it isn't.
    """
    if wanted in {"", former}:
        return
    try:
        own = organization_of(client())
    except AwsRefusalError as error:
        _unchecked(wanted, former, error, dry_run=dry_run)
        return
    if own != wanted:
        there = f"in the organization {own}" if own else "in no organization"
        remedy = f"its own: --organization-id {own}" if own else f"have it join {wanted} first"
        raise ConfigurationError(f"this account is {there}, and can't be the hub of {wanted}", remedy)


def _unchecked(wanted: str, former: str, error: AwsRefusalError, *, dry_run: bool) -> None:
    why = "you aren't allowed" if isinstance(error, AccessDeniedError) else f"{error.code} is the answer to"
    terminal.warn(f"whether this account is in {wanted} isn't checked: {why} {_ACTION}")
    if not former or dry_run:
        return
    what = f"this hub looks after {former}, and its spokes would be shut out"
    if not terminal.is_terminal():
        raise ConfigurationError(what, f"deploy as someone who is allowed {_ACTION}, or at a terminal")
    terminal.confirm_word(wanted, f"{what}.", None)


# ---- `rolekeeper deploy` and `upgrade` ----


# The layer is megabytes; and CloudFormation takes its time to answer.
PATIENT = Config(connect_timeout=5, read_timeout=60)

# The template's parameters, by name.
type Known = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for.

    Attributes:
        parameters: as given; all others stay as they are deployed.
        bucket: one that is there already, else the deployment's own.
        guided: ask for each parameter.
        yes: don't ask whether to do it.
        dry_run: only show it.
        upgrade: there has to be a deployment.
        allow_downgrade: an older version may replace a newer one.
    """

    parameters: Parameters = field(default_factory=dict)
    bucket: str | None = None
    guided: bool = False
    yes: bool = False
    dry_run: bool = False
    upgrade: bool = False
    allow_downgrade: bool = False


def deploy(deployment: Deployment, wanted: Wanted) -> ExitCode:
    """Show what would change, ask, and change it.

    Raises:
        CommandError: it can't be done, or it failed; the message says why.
    """
    known, stack = declared(installed.file("template.yaml")), deployment.stack_name
    _check(known, wanted.parameters)
    present = Present.read(deployment.client("cloudformation", PATIENT), stack)
    _check_version(present, wanted, stack)
    _check_organization(deployment, present, wanted.parameters, dry_run=wanted.dry_run)
    where = f"Stack {stack} in {deployment.session.region_name}, account {deployment.caller.account}"
    terminal.say(f"{where}: {versions(present)}")
    with built() as folder:
        return _deploy(deployment, wanted, present, known=known, folder=folder)


def _deploy(deployment: Deployment, wanted: Wanted, present: Present, *, known: Known, folder: Path) -> ExitCode:
    given = dict(wanted.parameters)
    if wanted.guided:
        answers = _ask(known, {**present.parameters, **given})
        _check_organization(deployment, present, answers, dry_run=wanted.dry_run)
        given |= answers
    parameters = merged(known, present.parameters, given)
    _check(known, parameters)
    client = deployment.client("cloudformation", PATIENT)
    rollout = Rollout(client, deployment.stack_name, deployment.sleep, yes=wanted.yes, dry_run=wanted.dry_run)
    if present.status == NEVER_WORKED:
        rollout.remove_what_failed(present)
        present = Present()
    place = Place(deployment.caller.account, str(deployment.session.region_name), deployment.caller.partition)
    url = upload(folder, Bucket(deployment.client("s3", PATIENT), place, wanted.bucket))
    changed = rollout.change(Template({"TemplateURL": url}), present, parameters, given=given)
    render.show(document(present, changed), lambda: None)
    if changed.outcome == "deployed":
        terminal.say(f"Version {installed.version()} is deployed. {_next_step(present, parameters)}")
    return ExitCode.DONE


# ---- what is checked first ----


def _check(known: Known, parameters: Mapping[str, str]) -> None:
    wrong = {name: value for name, value in parameters.items() if not is_allowed(value, known[name])}
    if not wrong:
        return
    reasons = "; ".join(
        f"{option_of(name)} {value or repr('')} {known[name].get('ConstraintDescription', 'is not allowed')}"
        for name, value in wrong.items()
    )
    hints = [f"did you mean {meant}?" for name, value in wrong.items() if (meant := _meant(value, known[name]))]
    raise UsageError(reasons, " ".join(hints) or "see: rolekeeper deploy --help")


def _meant(value: str, parameter: Mapping[str, Any]) -> str | None:
    """What is allowed and near to what was given."""
    allowed = [str(each) for each in parameter.get("AllowedValues", ())]
    tried = [
        *near(value, allowed),
        f"/{value.strip('/')}/",
        f"rate({value})",
        value.lower(),
        value.upper(),
        value.strip(),
    ]
    return next((each for each in tried if is_allowed(each, parameter)), None)


def _check_version(present: Present, wanted: Wanted, stack: str) -> None:
    if wanted.upgrade and not present.is_deployed:
        raise ConfigurationError(f"there is no deployment '{stack}' to upgrade", "make one: rolekeeper deploy")
    refuse_downgrade(present, allowed=wanted.allow_downgrade)


def _check_organization(deployment: Deployment, present: Present, given: Parameters, *, dry_run: bool) -> None:
    former = present.parameters.get("OrganizationId", "")
    wanted = given.get("OrganizationId", former)
    check_hub(lambda: deployment.client("organizations"), wanted, former, dry_run=dry_run)


# ---- parameters ----


def _ask(known: Known, present: Mapping[str, str]) -> Parameters:
    """Ask for each parameter until it is allowed; returns the answers that differ from what is in brackets."""
    terminal.say("Enter keeps what is in brackets, and a space empties it.")
    answers: Parameters = {}
    for name, parameter in known.items():
        default = present.get(name, str(parameter["Default"]))
        terminal.say(f"\n{name}: {' '.join(str(parameter['Description']).split())}")
        while True:
            answer = click.prompt(f"{name} [{default}]", default="", show_default=False, err=True)
            value = answer.strip() if answer else default
            if is_allowed(value, parameter):
                break
            terminal.bad([parameter.get("ConstraintDescription", "is not allowed")])
        if value != default:
            answers[name] = value
    return answers


def _next_step(present: Present, parameters: Mapping[str, str]) -> str:
    if present.is_deployed:
        return "See: rolekeeper doctor"
    if parameters["Mode"] == "observe":
        return "It only observes; write mappings, see: rolekeeper plan; then: rolekeeper mode enforce"
    return "Write mappings: rolekeeper mapping set"
