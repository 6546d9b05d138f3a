"""Reading the fleet for the console: all of it page by page, or some instances; and who was decided about."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from rolekeeper.aws.ec2 import Ec2
from rolekeeper.instances.observe import observe, observe_page
from rolekeeper.model.instance import InstanceKey, InstanceState
from rolekeeper_cli.console.ec2_calls import Calls, CountedEc2
from rolekeeper_cli.console.fleet_rows import FleetRow, row_of
from rolekeeper_cli.decision_log import DecisionLog, level_missing
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.views.looking import Enforced, withheld

# FilterLogEvents: 5 calls a second in an account and Region (CloudWatch Logs quotas). We make at most 2.
_LOG_PAUSE = 0.5
_LATE = timedelta(seconds=20)


class FleetReader:
    """One look at the deployment: its stack, its settings and what policies say are asked for once."""

    def __init__(self, deployment: Deployment, calls: Calls) -> None:
        self._deployment = deployment
        self._began = deployment.now()
        self._ec2: Ec2 = replace(deployment.app.ec2, client=CountedEc2(deployment.app.ec2.client, calls))  # type: ignore[arg-type]  # the part of it that reads
        self._log: DecisionLog | None = None

    def now(self) -> datetime:
        """The time."""
        return self._deployment.now()

    def pages(self) -> Iterator[list[FleetRow]]:
        """The whole fleet, each mapping read once."""
        state = Enforced.of(self._deployment, {})
        for page in self._ec2.fleet():
            living = [each for each in page if each.state is not InstanceState.TERMINATED]
            found = (
                row_of(each, self._deployment)
                for each in observe_page(living, self._ec2, state, self._deployment.now())
            )
            yield [each for each in found if each]

    def look(self, ids: Iterable[str]) -> Mapping[str, FleetRow | None]:
        """These instances; None for one that is gone. Two calls to EC2."""
        settings = self._deployment.settings
        keys = [InstanceKey(settings.account, settings.region, each) for each in ids]
        observed = observe(keys, self._ec2, Enforced.of(self._deployment), self._deployment.now())
        return {key.id: row_of(each, self._deployment) for key, each in observed.items()}

    def withheld(self) -> str:
        """Why nothing may be changed now; empty when it may."""
        return withheld(self._deployment)

    def decided(self) -> list[str]:
        """The instances that were decided about since the last time, first since this was made."""
        if self._log is None:
            self._log = DecisionLog(self._deployment, self._began - _LATE, late=_LATE, pause=_LOG_PAUSE)
        return [each["instance"] for each in self._log.news()]

    def log_missing(self) -> str:
        """Why no decisions are logged; empty where they are."""
        return level_missing(self._deployment)
