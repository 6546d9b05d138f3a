"""The web application: all pages over one deployment."""

from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from rolekeeper_cli import installed
from rolekeeper_cli.console.pages import fleet
from rolekeeper_cli.doctor_deployment import DoctorDeployment


@dataclass
class Site:
    """What all pages share, as `request.app.state.site`.

    Attributes:
        deployment: the session and the clients; what a page asks, it asks of `look()`.
        writes: whether pages may change anything (`--write`).
    """

    deployment: DoctorDeployment
    writes: bool = False

    def look(self) -> DoctorDeployment:
        """The deployment as it is now."""
        return self.deployment.anew()


def application(site: Site) -> Starlette:
    """The pages. Who may ask is the guard's to say."""
    made = Starlette(routes=[*fleet.ROUTES, Mount("/static", StaticFiles(directory=installed.STATIC))])
    made.state.site = site
    return made
