"""The command `rolekeeper`: the table of its commands. The module of a command is imported when it is called."""

import os
from typing import Never

import click

from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell.command import Root, prints

with lazily():
    from rolekeeper_cli.shell import completion

# By section of the help, then by name: where the command is, and its short help, which the help of all shows without an
# import.
COMMANDS = {
    "Look": {
        "fleet": (".fleet.command:fleet", "List instances with their role and the one they should carry."),
        "explain": (".instance.command:explain", "Explain why an instance has its role."),
        "uptake": (".instance.command:uptake", "Show whether software on instances uses their roles."),
        "history": (".fleet.history_command:history", "Show what Rolekeeper did, to an instance or the fleet."),
        "plan": (".plan.command:plan", "Show what would change in the fleet, and why."),
        "launches": (".launch.command:group", "Show which role instances will get before they are launched."),
        "wait": (".fleet.wait_command:wait", "Wait until instances carry the role that they should."),
        "roles": (".role.command:group", "Show the roles under the role path."),
        "doctor": (".doctor.command:doctor", "Check the deployment, and say what to fix."),
        "console": (".local:console", "Show fleet, mappings and roles as web pages, on this machine."),
    },
    "Change": {
        "apply": (".plan.command:apply", "Apply a plan, exactly as it is."),
        "attach": (".act.command:attach", "Give a role to an instance without one."),
        "replace": (".act.command:replace", "Give an instance another role."),
        "detach": (".act.command:detach", "Take the role from an instance."),
        "release": (".act.command:release", "Take the pin from an instance."),
        "revoke": (".role.command:revoke", "Cut off the credentials that an instance has of a former role."),
        "pause": (".control.command:pause", "Stop all changes at once."),
        "resume": (".control.command:resume", "Resume changes after a pause."),
        "mode": (".control.command:mode", "Show or set the mode."),
        "sweep": (".control.command:sweep", "Sweep the whole fleet and every mapping now."),
        "redrive": (".control.command:redrive", "Send dead letters to the work queue again."),
    },
    "Mappings": {
        "mapping": (".mapping.command:group", "Manage mappings: this tag means this role."),
        "schema": (".mapping.schema_command:schema", "Show the fields of -o json, or explain a column."),
    },
    "Deploy": {
        "deploy": (".deploy.command:deploy", "Deploy Rolekeeper, upgrade it, or change its parameters."),
        "destroy": (".deploy.command:destroy", "Delete the deployment."),
        "verify": ("rolekeeper_verify.command:verify", "Prove this version in your own account, then clean up."),
        "guard": (".guard.command:group", "Print what to put around the deployment."),
        "local": (".local:local", "Run an AWS on this machine, with Rolekeeper deployed to it."),
        "demo": (".local:demo", "Watch the whole story on an AWS on this machine."),
    },
    "Organization": {
        "targets": (".target.command:group", "List the accounts and Regions that the deployment looks after."),
        "spoke": (".deploy.spoke_command:group", "Register this account with a hub."),
    },
}


@prints(*ExitCode)
@click.group(
    cls=Root,
    lazy=COMMANDS,
    markdown=True,
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


def main() -> Never:
    if "_ROLEKEEPER_COMPLETE" in os.environ:
        completion.use_bash_words()
    cli.main(prog_name="rolekeeper")
