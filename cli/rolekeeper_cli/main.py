"""The command `rolekeeper`: the table of its commands. The module of a command is imported when it is called."""

import os
from typing import Never

import click

import rolekeeper_cli
from rolekeeper_cli.command import Root

# By section of the help, then by name: where the command is, and its short help, which the help of all shows without an
# import.
COMMANDS = {
    "Look": {
        "fleet": ("fleet:fleet", "List instances with their role and the one they should carry."),
        "explain": ("explain:explain", "Explain why an instance has its role."),
        "uptake": ("uptake:uptake", "Show whether software on instances uses their roles."),
        "history": ("history:history", "Show what Rolekeeper did to an instance."),
        "plan": ("plan:plan", "Show what would change in the fleet, and why."),
        "launches": ("launches:launches", "Show which role instances will get before they are launched."),
        "watch": ("watch:watch", "Show decisions as they happen."),
        "wait": ("wait:wait", "Wait until instances carry the role that they should."),
        "roles": ("roles:group", "Show the roles under the role path."),
        "doctor": ("doctor:doctor", "Check the deployment, and say what to fix."),
        "console": ("local:console", "Show fleet, mappings and roles as web pages, on this machine."),
    },
    "Change": {
        "apply": ("plan:apply", "Apply a plan, exactly as it is."),
        "attach": ("pin:attach", "Give a role to an instance without one."),
        "replace": ("pin:replace", "Give an instance another role."),
        "detach": ("pin:detach", "Take the role from an instance."),
        "release": ("pin:release", "Take the pin from an instance."),
        "revoke": ("revoke:revoke", "Cut off the credentials that an instance has of a former role."),
        "pause": ("control:pause", "Stop all changes at once."),
        "resume": ("control:resume", "Go on after a pause."),
        "mode": ("control:mode", "Show or set the mode."),
        "sweep": ("control:sweep", "Look at the whole fleet and every mapping now."),
        "redrive": ("control:redrive", "Send dead letters to the work queue again."),
    },
    "Mappings": {
        "mapping": ("mapping:group", "Manage mappings: this tag means this role."),
        "schema": ("schema:schema", "Show the fields of -o json, or explain a column."),
    },
    "Deploy": {
        "deploy": ("deploy:deploy", "Deploy Rolekeeper, upgrade it, or change its parameters."),
        "destroy": ("deploy:destroy", "Delete the deployment."),
        "verify": ("verify:verify", "Prove this version in your own account, and remove all that it took."),
        "guard": ("guard:group", "Print what to put around the deployment."),
        "local": ("local:local", "Run an AWS on this machine, with Rolekeeper deployed to it."),
        "demo": ("local:demo", "Watch the whole story on an AWS on this machine."),
    },
    "Organization": {
        "targets": ("targets:group", "List the accounts and Regions that the deployment looks after."),
        "spoke": ("spoke:group", "Register this account with a hub."),
    },
}


@click.group(
    cls=Root,
    lazy=COMMANDS,
    markdown=True,
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


def main() -> Never:
    if "_ROLEKEEPER_COMPLETE" in os.environ:
        rolekeeper_cli.completion.use_bash_words()
    cli.main(prog_name="rolekeeper")
