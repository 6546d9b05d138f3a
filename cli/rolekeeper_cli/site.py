"""The console as a web application: its pages, and what they share of one deployment."""

from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.applications import Starlette
from starlette.routing import Match, Mount, Route
from starlette.staticfiles import StaticFiles

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper_cli import installed
from rolekeeper_cli.act import page as acts
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.console import share
from rolekeeper_cli.console.errors import HANDLERS
from rolekeeper_cli.console.jobs import soon
from rolekeeper_cli.console.page import STATIC
from rolekeeper_cli.console.site import Shared
from rolekeeper_cli.control import page as settings
from rolekeeper_cli.doctor import page as doctor
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.fleet import activity_page
from rolekeeper_cli.fleet import page as fleet
from rolekeeper_cli.fleet.cache import FleetCache
from rolekeeper_cli.instance import page as instance
from rolekeeper_cli.launch import page as launches
from rolekeeper_cli.mapping import edits_page
from rolekeeper_cli.mapping import page as mappings
from rolekeeper_cli.role import page as roles
from rolekeeper_cli.row import names as known_names
from rolekeeper_cli.row import use as rows
from rolekeeper_cli.row.view import MappingView
from rolekeeper_cli.search import page as search
from rolekeeper_cli.target import page as targets
from rolekeeper_cli.target import use as known_targets
from rolekeeper_cli.target.view import TargetView

# Tabs that show the mappings ask every two seconds.
_MAPPINGS_SECONDS = 1.5
# The functions write them down after a sweep, and an event at most once in some minutes.
_TARGETS_SECONDS = 4.0
# A role that was made a minute ago is typed.
_ROLES_SECONDS = 60.0
# The link waits no longer for what the first page shows.
_READY_SECONDS = 1.0


class Site(Shared):
    """What all pages share, as `request.app.state.site`: also the fleet, the rows, the targets and the roles' names."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fleet = FleetCache(self.look, self.clock)

    def look_at(self, instance: str) -> Deployment:
        """The same where an instance is, by id or name, as far as the fleet was read; otherwise the home target."""
        deployment, target = self.look(), self.fleet.target(instance)
        return deployment.at(target) if target else deployment

    def known(self, place: dict[str, Any]) -> dict[str, Any]:
        """Return the title of a page that AWS is asked for, and the facts of an instance as it was read last."""
        id_ = place.get("id")
        if row := next((row for row in self.fleet.known() if row.id == id_), None):
            facts = {"Status": row.standing, "Carries": row.roles[0], "Should carry": row.roles[1], "Id": row.id}
            return {"title": row.name or row.id, "facts": facts}
        return {"title": name} if (name := id_ or place.get("name")) else {}

    def get_ready(self) -> None:
        """Read also the head, the mappings and the fleet, whose first page is waited for."""
        super().get_ready()
        self.reads.begin("mappings", self._read_mappings, _MAPPINGS_SECONDS)
        self.here()
        self.fleet.ask(_READY_SECONDS)

    def _read_mappings(self) -> list[MappingView]:
        return rows.views(self.look())

    def mappings(self) -> list[MappingView]:
        return self.reads.get("mappings", self._read_mappings, _MAPPINGS_SECONDS, stale=True)

    def targets(self) -> list[TargetView]:
        return self.reads.get("targets", lambda: known_targets.views(self.look()), _TARGETS_SECONDS, stale=True)

    def role_names(self) -> list[str]:
        """The names of the roles under the role path, for suggestions; none if IAM gives no answer."""
        try:
            return self.reads.get("roles", lambda: known_names.path_roles(self.look()), _ROLES_SECONDS, stale=True)
        except (AwsRefusalError, CommandError):
            return []


PAGES = (
    fleet,
    activity_page,
    instance,
    acts,
    mappings,
    edits_page,
    roles,
    launches,
    doctor,
    targets,
    settings,
    search,
    share,
)


def has_page(address: str) -> bool:
    """Whether a page is opened at this path, which may have a query."""
    asked = {"type": "http", "method": "GET", "path": unquote(urlsplit(address).path)}
    return any(route.matches(asked)[0] is Match.FULL for each in PAGES for route in each.ROUTES)


def application(site: Site) -> Starlette:
    """The pages. The guard decides who may ask for them."""
    routes = [route for each in PAGES for route in each.ROUTES]
    # A page shows within a moment, even where it waits for AWS. A form's answer waits for what it does.
    pages = [Route(each.path, soon(each.endpoint)) if "GET" in (each.methods or ()) else each for each in routes]
    static = Mount(STATIC.rstrip("/"), StaticFiles(directory=installed.STATIC))
    made = Starlette(routes=[*pages, static], exception_handlers=HANDLERS)
    made.state.site = site
    return made
