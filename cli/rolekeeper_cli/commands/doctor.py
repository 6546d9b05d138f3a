"""`rolekeeper doctor`: is the deployment healthy, and what is to be fixed?"""

from rolekeeper_cli.command import command
from rolekeeper_cli.errors import ExitCode


@command("doctor", "rolekeeper doctor", "rolekeeper doctor --query \"findings[?level=='fail'].[what, remedy]\"")
def doctor() -> ExitCode:
    """Check the deployment, and say what to fix.

    It looks from outside, with your permissions, and changes nothing. Exits with 1 when a check failed; a warning is no
    failure, nor is what can't be seen.
    """
    from rolekeeper_cli.commands.deployment import doctor_deployment
    from rolekeeper_cli.doctor import examine

    return examine(doctor_deployment())


COMMANDS = (doctor,)
