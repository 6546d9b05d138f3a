"""What all pages share: one deployment, what was read of it, and what is being done."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.model.problem import Advice
from rolekeeper_cli import known
from rolekeeper_cli.console.edit_plans import EditPlans
from rolekeeper_cli.console.fleet_cache import FleetCache
from rolekeeper_cli.console.fleet_view import FleetViews
from rolekeeper_cli.console.here import HereCache
from rolekeeper_cli.console.instance_story import Stories, Story
from rolekeeper_cli.console.jobs import Jobs
from rolekeeper_cli.console.notices import Notice, Notices
from rolekeeper_cli.console.recent import Recent
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.views import mappings as mapping_views
from rolekeeper_cli.views import targets as target_views

# Tabs that show the mappings ask every two seconds.
_MAPPINGS_SECONDS = 1.5
# The functions write them down after a sweep, and an event at most once in some minutes.
_TARGETS_SECONDS = 4.0
# A role that was made a minute ago is typed.
_ROLES_SECONDS = 60.0


@dataclass
class Site:
    """What all pages share, as `request.app.state.site`.

    Attributes:
        deployment: the session and the clients; what a page asks, it asks of `look()`.
        writes: whether pages may change anything (`--write`).
        time: seconds on a clock that only goes forward.
        jobs: longer looks at AWS, which all tabs share.
        here: whom the console acts as, and where.
        mappings: the documents of all rows, read once for all tabs.
        targets: the documents of all accounts and Regions, read once for all tabs.
        plans: plans of edits that were shown, until they are written.
    """

    deployment: DoctorDeployment
    writes: bool = False
    time: Callable[[], float] = time.monotonic
    here: HereCache = field(init=False)
    jobs: Jobs = field(init=False)
    fleet: FleetCache = field(init=False)
    views: FleetViews = field(init=False, default_factory=FleetViews)
    stories: Stories[Story] = field(init=False, default_factory=Stories)
    answers: Stories[Mapping[str, Any]] = field(init=False, default_factory=Stories)
    asking_who: Lock = field(init=False, default_factory=Lock)
    mappings: Recent[list[dict[str, Any]]] = field(init=False)
    targets: Recent[list[dict[str, Any]]] = field(init=False)
    _roles: Recent[list[str]] = field(init=False)
    plans: EditPlans = field(init=False, default_factory=EditPlans)
    _notices: Notices = field(init=False, default_factory=Notices)

    def __post_init__(self) -> None:
        self.here = HereCache(self.look, self.time)
        # A check that something is repaired asks for all of it.
        self.jobs = Jobs(self.deployment.anew, self.now)
        self.fleet = FleetCache(self.look, self.time)
        self.mappings = Recent(lambda: mapping_views.rows(self.look()), _MAPPINGS_SECONDS, self.time)
        self.targets = Recent(lambda: target_views.documents(self.look()), _TARGETS_SECONDS, self.time)
        self._roles = Recent(lambda: known.path_roles(self.look()), _ROLES_SECONDS, self.time)

    def look(self) -> DoctorDeployment:
        """The deployment as it is now; its caller and its stack as they were some seconds ago."""
        return self.deployment.anew(lately=True)

    def look_at(self, instance: str) -> DoctorDeployment:
        """The same for an instance, by id or name: where it is, as far as the fleet was read; else at home."""
        there, target = self.look(), self.fleet.target(instance)
        return there.at(target) if target else there

    def now(self) -> datetime:
        """The time."""
        return self.deployment.now()

    def role_names(self) -> list[str]:
        """The names of the roles under the role path, for suggestions: where IAM gives no answer, there are none."""
        try:
            return self._roles.get()
        except (AwsRefusalError, CommandError):
            return []

    def say(self, kind: str, text: str, lines: Sequence[str | Advice] = ()) -> str:
        """Keep what a write did for the page that follows it; that page's address ends in `?said=` and this id.

        Args:
            kind: info, good, warn or bad.
            text: a sentence.
            lines: details, one a line.
        """
        self.here.forget()
        self.jobs.forget()
        return self._notices.keep(kind, text, lines)

    def said(self, id_: str) -> Notice | None:
        """The notice of this id; None where there is none."""
        return self._notices.get(id_)
