"""`make deploy`: build with the SAM CLI, and deploy over what is deployed already, which stays as it is.

The SAM CLI writes the answers of `--guided` into samconfig.toml and reads them from there at every later deployment, so
an old answer would undo what was deployed since. So this asks itself, writes no answer down, and hands the SAM CLI
every parameter as the stack has it now, but for those that are given.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import click
import yaml
from botocore.exceptions import BotoCoreError, ClientError

from rolekeeper_cli.deploying.organization import check_hub
from rolekeeper_cli.deploying.stack_parameters import Parameters, ask, declared, deployed, merged, refused
from rolekeeper_cli.errors import CommandError

STACK = "rolekeeper"


def overrides(texts: Sequence[str], known: Mapping[str, Any]) -> Parameters:
    """What `--parameter-overrides` says: `Mode=enforce`, or as CloudFormation writes it.

    Raises:
        ValueError: a text is no parameter of the template.
    """
    given: Parameters = {}
    for text in texts:
        plain = text.removeprefix("ParameterKey=").replace(",ParameterValue=", "=", 1)
        name, equals, value = plain.partition("=")
        if not equals or name not in known:
            raise ValueError(f"{text!r} is no parameter; write NAME=VALUE with one of {', '.join(known)}")
        given[name] = value.strip("\"'")
    return given


def told(present: Mapping[str, str] | None, parameters: Mapping[str, str]) -> str:
    """What becomes of the parameters, a line each."""
    width = max(map(len, parameters))
    lines = []
    for name, value in parameters.items():
        was = present.get(name) if present else None
        change = "" if present is None or was == value else f"   (was {was})" if was is not None else "   (new)"
        lines.append(f"  {name:{width}}  {value or '(empty)'}{change}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Build and deploy; returns the SAM CLI's exit code."""
    parser = argparse.ArgumentParser(prog="make deploy", description="Build Rolekeeper and deploy it to AWS.")
    parser.add_argument("--guided", action="store_true", help="ask for each parameter")
    parser.add_argument("--parameter-overrides", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--stack-name", default=STACK)
    parser.add_argument("--region")
    parser.add_argument("--profile")
    options, rest = parser.parse_known_args(arguments)
    known = declared()
    try:
        given = overrides(options.parameter_overrides, known)
        session = boto3.Session(profile_name=options.profile, region_name=options.region)
        present = deployed(session.client("cloudformation"), options.stack_name)
    except (ValueError, BotoCoreError, ClientError) as error:
        click.echo(f"make deploy: {error}", err=True)
        return 2
    if options.guided:
        given = {**ask(known, {**(present or {}), **given}, _prompt), **given}
    parameters = merged(known, present or {}, given)
    if wrong := refused(known, parameters):
        click.echo("\n".join(f"make deploy: {each}" for each in wrong), err=True)
        return 2
    former = (present or {}).get("OrganizationId", "")
    try:
        check_hub(lambda: session.client("organizations"), parameters["OrganizationId"], former, dry_run=False)
    except CommandError as error:
        click.echo(f"make deploy: {error.what}\n  {error.remedy}", err=True)
        return int(error.exit_code)
    what = "a new stack" if present is None else "the stack"
    click.echo(f"\nParameters of {what} {options.stack_name} in {session.region_name}:\n{told(present, parameters)}\n")
    account = [*_named("--region", options.region), *_named("--profile", options.profile)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(parameters, file)
        file.flush()
        answers = ["--parameter-overrides", f"file://{file.name}"]
        return _sam("build") or _sam("deploy", "--stack-name", options.stack_name, *account, *answers, *rest)


def _prompt(text: str) -> str:
    return str(click.prompt(text, default="", show_default=False, prompt_suffix=""))


def _named(option: str, value: str | None) -> list[str]:
    return [option, value] if value else []


def _sam(*arguments: str) -> int:
    # `sam build` runs the pip of the Python 3.13 that it finds; the SAM CLI's own is one.
    folder = Path(".envs/sam/bin").resolve()
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    return subprocess.run([str(folder / "sam"), *arguments], env=environment, check=False).returncode  # noqa: S603  # our own SAM CLI


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
