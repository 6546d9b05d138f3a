"""The deployment that the command line names: who waits sees how far it is, and `--debug` says what AWS is asked."""

from rolekeeper_cli import debug, output
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.options import Options
from rolekeeper_cli.progress import Progress


def deployment(options: Options | None = None) -> Deployment:
    """As most commands take it; with other options, another one."""
    return Deployment(options or output.options(), Progress, debug.report)


def doctor_deployment() -> DoctorDeployment:
    """As the doctor takes it."""
    return DoctorDeployment(output.options(), Progress, debug.report)


def silent_deployment() -> DoctorDeployment:
    """The same for a command that shows nothing on its terminal while it works."""
    return DoctorDeployment(output.options(), debug=debug.report)
