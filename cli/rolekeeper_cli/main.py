"""The command `rolekeeper`."""

from typing import Never

import click

from rolekeeper_cli.command import Root
from rolekeeper_cli.commands import (
    console,
    control,
    deploying,
    doctor,
    embedded,
    guard,
    instances,
    mapping,
    mapping_files,
    mapping_revisions,
    pins,
    plan,
    roles,
    schema,
    spoke,
    targets,
    upkeep,
)
from rolekeeper_cli.completion import use_bash_words


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples=[
        "rolekeeper plan",
        "rolekeeper explain web-1",
        "rolekeeper attach web-1 web --for 8h --reason 'incident 42'",
        "rolekeeper mapping ls",
    ],
)
@click.version_option(package_name="rolekeeper", message="%(version)s")
def cli() -> None:
    """Run Rolekeeper: tag an EC2 instance, and it gets the role."""


for each in guard.COMMANDS:
    guard.group.add_command(each)
for each in roles.COMMANDS:
    roles.group.add_command(each)
for each in spoke.COMMANDS:
    spoke.group.add_command(each)
for each in targets.COMMANDS:
    targets.group.add_command(each)
for each in (*mapping.COMMANDS, *mapping_files.COMMANDS, *mapping_revisions.COMMANDS):
    mapping.group.add_command(each)
for each in (
    *plan.COMMANDS,
    *instances.COMMANDS,
    *pins.COMMANDS,
    *control.COMMANDS,
    *upkeep.COMMANDS,
    *doctor.COMMANDS,
    *console.COMMANDS,
    *schema.COMMANDS,
    *deploying.COMMANDS,
    *embedded.COMMANDS,
):
    cli.add_command(each)
cli.add_command(mapping.group)
cli.add_command(guard.group)
cli.add_command(roles.group)
cli.add_command(spoke.group)
cli.add_command(targets.group)


def main() -> Never:
    """Run the command line of this process."""
    use_bash_words()
    cli.main(prog_name="rolekeeper")
