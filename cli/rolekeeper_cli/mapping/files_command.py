"""`rolekeeper mapping export` and `validate`: the table as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.options import OUTPUTS
from rolekeeper_cli.row.view import ValidatedView
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import mappings_file
from rolekeeper_cli.shell.command import command, deployment, prints

with lazily():
    from rolekeeper_cli.row import files
    from rolekeeper_cli.row import use as mappings

if TYPE_CHECKING:
    from rolekeeper_cli.aws.deployment import Deployment


@command("export", "rolekeeper mapping export -o mappings.yaml", "rolekeeper mapping export > mappings.yaml")
@click.option(
    "-o", "--output-file", "target", metavar="FILE", type=click.Path(), help="Write there instead of to stdout."
)
def export(target: str | None) -> None:
    """Write all mappings to a YAML file.

    Sorted, without defaults, and without what Rolekeeper wrote into the rows. Its plan (rolekeeper plan -f FILE)
    changes nothing.
    """
    if target in {*OUTPUTS, "yaml"}:
        # In other commands -o is --output: nobody wants a file of that name.
        raise UsageError(f"-o names a file here, and {target!r} is a format", "name the file, as -o mappings.yaml")
    if target:
        files.refuse_csv(target)
    text, count = exported(deployment())
    _write(text, target)
    terminal.say(f"Mappings exported: {count:,}.")


@prints(asks_aws=False, validated=ValidatedView)
@command("validate", "rolekeeper mapping validate mappings.yaml", "rolekeeper mapping validate mappings.yaml --strict")
@mappings_file
@click.option("--strict", is_flag=True, help="Fail on a warning too.")
def validate(file: str, *, strict: bool) -> None:
    """Check a file of mappings without AWS.

    Whether a role exists and may be used is seen only when its row is written.
    """
    reading = read_mappings(file, None)
    # For people, the message says it.
    render.show(ValidatedView(mappings=len(reading.specs), warnings=reading.warnings))
    if strict and reading.warnings:
        many = f"{len(reading.warnings):,} warnings" if len(reading.warnings) > 1 else "one warning"
        raise CommandError(f"{many} with --strict", "fix what is shown above")
    terminal.say(f"Valid mappings: {len(reading.specs):,}.")


def read_mappings(file: str, deployment: Deployment | None) -> files.Reading:
    """A file's mappings; its warnings are shown, and a bad row ends it."""
    files.refuse_csv(file)
    data = files.content(file, "name a file, or - for stdin")
    name = "stdin" if file == files.STDIN else file
    reading = files.read_file(data, name, deployment.app.home if deployment else None)
    for each in reading.warnings:
        terminal.warn(each)
    terminal.bad(reading.problems)
    if reading.problems:
        many = f"{len(reading.problems):,} things are" if len(reading.problems) > 1 else "one thing is"
        remedy = "nothing was written; fix what is shown above, then run it again"
        raise CommandError(f"{many} wrong with {name}", remedy)
    return reading


def _write(text: str, target: str | None) -> None:
    data = text.encode()
    if target is None:
        # As bytes: neither the terminal's encoding nor its line ends are a file's.
        click.echo(data, nl=False)
        return
    try:
        with click.open_file(target, "wb") as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{target} can't be written: {error.strerror}", "name another file with -o") from error


# Where `rolekeeper schema > mappings.schema.json` beside the file puts it.
SCHEMA_LINE = "# yaml-language-server: $schema=mappings.schema.json\n"


def exported(deployment: Deployment) -> tuple[str, int]:
    """All rows, sorted, without defaults and without what Rolekeeper wrote into them; and how many there are.

    A row that can't be read is reported, and is in the file as it is.
    """
    rows = []
    for key, row in deployment.app.table.all_rows().items():
        written, problems = mappings.file_row(row, deployment.app.home)
        rows.append(written)
        if problems:
            terminal.warn(f"{key} can't be read, and is in the file as it is: {'; '.join(map(str, problems))}")
    return SCHEMA_LINE + files.write(rows), len(rows)
