"""`rolekeeper mapping export`, `import`, `diff`, `validate`: the table as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rolekeeper_cli.errors import CommandError, ExitCode, UsageError
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.mapping.command import ask_and_write, patience, show_intended, show_plan, tell_written
from rolekeeper_cli.options import OUTPUTS
from rolekeeper_cli.row.view import RowPlanView, ValidatedView
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import detailed_exitcode, dry_run, mappings_file, waits, yes
from rolekeeper_cli.shell.command import command, deployment, prints

with lazily():
    from rolekeeper_cli.mapping import rehearsal
    from rolekeeper_cli.row import edits, files
    from rolekeeper_cli.row import use as mappings

if TYPE_CHECKING:
    from rolekeeper_cli.aws.deployment import Deployment


@command("export", "rolekeeper mapping export -o mappings.yaml", "rolekeeper mapping export > mappings.yaml")
@click.option(
    "-o", "--output-file", "target", metavar="FILE", type=click.Path(), help="Write there instead of to stdout."
)
def export(target: str | None) -> None:
    """Write all mappings to a YAML file.

    Sorted, without defaults, and without what Rolekeeper wrote into the rows. To import it again changes nothing.
    """
    if target in {*OUTPUTS, "yaml"}:
        # In other commands -o is --output: nobody wants a file of that name.
        raise UsageError(f"-o names a file here, and {target!r} is a format", "name the file, as -o mappings.yaml")
    if target:
        files.refuse_csv(target)
    text, count = exported(deployment())
    _write(text, target)
    terminal.say(f"Mappings exported: {count:,}.")


@prints(row_plan=RowPlanView)
@command(
    "import",
    "rolekeeper mapping import mappings.yaml --dry-run",
    "rolekeeper mapping import mappings.yaml --prune --yes",
    "rolekeeper mapping import - < mappings.yaml",
)
@mappings_file
@click.option("--prune", is_flag=True, help="Also delete the rows that aren't in the file.")
@dry_run
@yes
@waits
def import_(file: str, *, prune: bool, dry_run: bool, yes: bool, wait: bool | None) -> ExitCode:
    """Write a file's mappings into the table.

    First it shows what changes, and what that would do to instances, and asks. Nothing is written when any row of the
    file is bad. A row that another actor changes meanwhile is left alone.
    """
    if not dry_run:
        # Stdin can't be both the file and the answer.
        terminal.require_answer(yes=yes)
        if file == files.STDIN and not yes:
            raise UsageError(
                "the file comes from stdin, so there is nowhere to ask", "give --yes, or look first: --dry-run"
            )
    # The file is read before AWS is asked anything but who we are.
    there = deployment()
    intended = rehearsal.written_again(there, _intended(there, file, prune=prune, wait=wait))
    show_intended(intended)
    if intended.changes:
        terminal.say(f"{intended.counts()}.")
    if dry_run:
        return tell_written(there, edits.Written(others=intended.not_in_effect), wait=wait)
    return ask_and_write(there, intended, "Write these changes", yes=yes, wait=wait)


@prints(row_plan=RowPlanView)
@command(
    "diff", "rolekeeper mapping diff mappings.yaml", "rolekeeper mapping diff mappings.yaml --prune --detailed-exitcode"
)
@mappings_file
@click.option("--prune", is_flag=True, help="Also show the rows that aren't in the file, as deleted.")
@detailed_exitcode
def diff(file: str, *, prune: bool, detailed_exitcode: bool) -> ExitCode:
    """Compare a file's mappings with the table's rows.

    What an import would write. What that would do to instances: rolekeeper plan -f FILE.
    """
    there = deployment()
    intended = _intended(there, file, prune=prune)
    render.show(intended.document(), lambda: show_plan(intended))
    same = edits.Written(others=intended.not_in_effect)
    tell_written(there, same, wait=None)
    return same.exit_code(changes=detailed_exitcode and bool(intended.changes))


@prints(validated=ValidatedView)
@command("validate", "rolekeeper mapping validate mappings.yaml", "rolekeeper mapping validate mappings.yaml --strict")
@mappings_file
@click.option("--strict", is_flag=True, help="Fail on a warning too.")
def validate(file: str, *, strict: bool) -> None:
    """Check a file without AWS, as import does.

    Whether a role exists and may be used is seen only when its row is written.
    """
    reading = read_mappings(file, None)
    # For people, the message says it.
    render.show(ValidatedView(mappings=len(reading.specs), warnings=reading.warnings))
    if strict and reading.warnings:
        many = f"{len(reading.warnings):,} warnings" if len(reading.warnings) > 1 else "one warning"
        raise CommandError(f"{many} with --strict", "fix what is shown above")
    terminal.say(f"Valid mappings: {len(reading.specs):,}.")


def _intended(there: Deployment, file: str, *, prune: bool, wait: bool | None = None) -> edits.RowPlan:
    reading = read_mappings(file, there)
    plan = edits.planned(reading.specs, there.app.table.all_rows(), there.app.home, prune=prune)
    return edits.with_verdicts(there, plan, patience=patience(wait))


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
