"""`rolekeeper deploy`: the stack as this version of the package has it, with AWS's SDK alone.

What is deployed stays: each parameter keeps its value until another is given. Before anything changes, the command
shows what would change, and asks.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import click
from botocore.config import Config

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.model.instance import Target
from rolekeeper_cli import installed
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import refusal
from rolekeeper_cli.deploy.artifacts import Bucket, built, upload
from rolekeeper_cli.deploy.parameters import given_parameters, option_of
from rolekeeper_cli.deploy.rollout import Rollout, Template
from rolekeeper_cli.deploy.stack import (
    Parameters,
    Present,
    declared,
    is_allowed,
    merged,
    refuse_downgrade,
    refused,
    versions,
)
from rolekeeper_cli.deploy.tables import Tables, import_tables
from rolekeeper_cli.errors import ConfigurationError, UsageError
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.suggest import near


def _check_organization(deployment: Deployment, present: Present, given: Parameters) -> None:
    """Refuse to make a hub of an organization that its account isn't in.

    If that can't be asked, a new hub is made with a warning. A live hub would shut out its spokes: a person has to type
    the id of the other organization, --yes or not.
    """
    former = present.parameters.get("OrganizationId", "")
    wanted = given.get("OrganizationId", former)
    if wanted in {"", former}:
        return
    try:
        own = deployment.organization().get("Id", "")
    except AwsRefusalError as error:
        _unchecked(wanted, former, error)
        return
    if own != wanted:
        there = f"in the organization {own}" if own else "in no organization"
        remedy = f"its own: --organization-id {own}" if own else f"have it join {wanted} first"
        raise ConfigurationError(f"this account is {there}, and can't be the hub of {wanted}", remedy)


def _unchecked(wanted: str, former: str, error: AwsRefusalError) -> None:
    terminal.warn(f"whether this account is in {wanted} isn't checked: {refusal(error).what}")
    if not former or terminal.options().dry_run:
        return
    what = f"this hub looks after {former}, and its spokes would be shut out"
    if not terminal.is_terminal():
        raise ConfigurationError(what, f"deploy as someone who is allowed {error.action}, or at a terminal")
    terminal.confirm_word(wanted, f"{what}.", None)


# The layer is megabytes; and CloudFormation takes its time to answer.
PATIENT = Config(connect_timeout=5, read_timeout=60)

# The template's parameters, by name.
type Known = Mapping[str, Mapping[str, Any]]


def deploy(
    deployment: Deployment,
    *,
    bucket: str | None,
    tables: Tables | None,
    guided: bool,
    yes: bool,
    allow_downgrade: bool,
    revert_drift: bool,
    **asked: str | None,
) -> None:
    """Parameters that aren't `asked` for stay as they are. A named `bucket` must exist; a new stack takes `tables`."""
    known, stack, given = declared(installed.file("template.yaml")), deployment.stack_name, given_parameters(asked)
    _check(known, given)
    client = deployment.client("cloudformation", PATIENT)
    present = Present.read(client, stack)
    refuse_downgrade(present, allowed=allow_downgrade)
    if tables:
        _check_import(present, stack)
    _check_organization(deployment, present, given)
    target = Target(deployment.caller.account, deployment.region)
    terminal.say(f"Stack {stack} in {target.region}, account {target.account}: {versions(present)}")
    with built() as folder:
        if guided:
            answers = _ask(known, {**present.parameters, **given})
            _check_organization(deployment, present, answers)
            given = {**given, **answers}
        parameters = merged(known, present.parameters, given)
        _check(known, parameters)
        rollout = Rollout(client, stack, deployment.sleep, yes=yes)
        present = rollout.without_what_failed(present)
        if tables:
            import_tables(deployment, tables, rollout)
            present = Present.read(client, stack)
        source = {"TemplateURL": upload(folder, Bucket(deployment.client("s3", PATIENT), target, bucket))}
        if revert_drift and present.is_deployed:
            source["DeploymentMode"] = "REVERT_DRIFT"
        done = rollout.change(Template(source), present, parameters, given=given)
    render.show(done)
    if done.outcome == "deployed":
        terminal.say(f"Version {installed.version()} is deployed. Next:")
        is_new = not present.is_deployed
        steps = next_steps(parameters["Mode"], mapped=bool(tables) or not is_new)
        for words in steps if guided or is_new else steps[:1]:
            terminal.say(f"  {_typed(words)}  # {_DOES[words]}")


def _check_import(present: Present, stack: str) -> None:
    if terminal.options().dry_run:
        raise UsageError("--import-tables can't be shown without importing", "leave out --dry-run")
    if present.is_deployed:
        raise ConfigurationError(f"stack '{stack}' has tables", "deploy without --import-tables, or another --stack")


def _check(known: Known, parameters: Mapping[str, str]) -> None:
    if wrong := refused(known, parameters, option_of):
        hints = [f"did you mean {meant}?" for name in wrong if (meant := _meant(parameters[name], known[name]))]
        raise UsageError("; ".join(wrong.values()), " ".join(hints) or "see: rolekeeper deploy --help-all")


def _meant(value: str, parameter: Mapping[str, Any]) -> str | None:
    allowed = [str(each) for each in parameter.get("AllowedValues", ())]
    spelled = (f"/{value.strip('/')}/", f"rate({value})", value.lower(), value.upper(), value.strip())
    tried = [*near(value, allowed), *spelled]
    return next((each for each in tried if is_allowed(each, parameter)), None)


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


_MAP = "mapping set app=web role=web"
_DOES = {
    "doctor": "what is left to set up",
    _MAP: "which tag means which role",
    "plan": "what it would do",
    "mode enforce": "have it done",
    "fleet": "what each instance carries",
}


def next_steps(mode: str, *, mapped: bool) -> Sequence[str]:
    """Return the commands that come next, if there may be mappings, or if there are none."""
    if mapped:
        return ("doctor", "plan", "mode enforce" if mode == "observe" else "fleet")
    return ("doctor", _MAP, "plan" if mode == "observe" else "fleet")


def _typed(words: str) -> str:
    """A command on this deployment, with the options by which a person says where it is."""
    options = terminal.options()
    given = {"stack": options.stack, "region": options.region, "profile": options.profile}
    return " ".join(["rolekeeper", words, *(f"--{name} {shlex.quote(text)}" for name, text in given.items() if text)])
