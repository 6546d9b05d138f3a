"""`rolekeeper doctor`: is the deployment healthy, and what is to be fixed?"""

from __future__ import annotations

from rolekeeper_cli import checks, findings
from rolekeeper_cli.command import command, doctor_deployment
from rolekeeper_cli.errors import ExitCode


@command("doctor", "rolekeeper doctor", "rolekeeper doctor --query \"findings[?level=='fail'].[what, remedy]\"")
def doctor() -> ExitCode:
    """Check the deployment, and say what to fix.

    It looks from outside, with your permissions, and changes nothing. Exits with 1 if a check failed; warnings and
    unknowns are no failures.
    """
    deployment = doctor_deployment()
    _ = deployment.stack  # without one there is nothing to check
    return findings.show(checks.run.findings(deployment), checks.run.CHECKS)
