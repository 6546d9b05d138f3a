"""CloudWatch's alarms, metric and composite ones, as they are now."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING

from rolekeeper.aws.errors import AwsRefusalError, classified

if TYPE_CHECKING:
    from types_boto3_cloudwatch.client import CloudWatchClient

RINGS, MISSING = "ALARM", "NotFound"
# The most names of one call (AWS_FACTS.md "CloudWatch").
AT_ONCE = 100
_NAMED = ":alarm:"


@dataclass(frozen=True, slots=True)
class Alarms:
    """Reads alarms of the deployment's own account and Region; `client` is asked for when there is one to read."""

    client: "Callable[[], CloudWatchClient]"

    def states(self, names: Collection[str]) -> dict[str, str]:
        """Return the state of each of these names and ARNs, or the code of why it can't be read."""
        found: dict[str, str] = {}
        for some in batched(sorted(names), AT_ONCE):
            try:
                found |= self._states(some)
            except AwsRefusalError as error:
                found |= dict.fromkeys(some, error.code)
        return found

    def _states(self, names: Collection[str]) -> dict[str, str]:
        plain = sorted({name.partition(_NAMED)[2] or name for name in names})
        with classified("cloudwatch:DescribeAlarms", "*"):
            # Without the types only metric alarms are returned.
            answer = self.client().describe_alarms(AlarmNames=plain, AlarmTypes=["MetricAlarm", "CompositeAlarm"])
        alarms = [*answer.get("MetricAlarms", ()), *answer.get("CompositeAlarms", ())]
        known = {alarm[name]: alarm["StateValue"] for alarm in alarms for name in ("AlarmName", "AlarmArn")}
        return {name: known.get(name, MISSING) for name in names}
