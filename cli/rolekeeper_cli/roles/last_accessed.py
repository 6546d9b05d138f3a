"""IAM's last-accessed reports: which services each role called, and when.

A report is a job of IAM's (docs/AWS_FACTS.md, "When a role was last used"): all are begun first, and run while other
things are read; then they are waited for, not for ever.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError, classified
from rolekeeper.model import escaped
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import explained
from rolekeeper_cli.reports import Silent

GENERATE, GET = "iam:GenerateServiceLastAccessedDetails", "iam:GetServiceLastAccessedDetails"
# A job takes seconds; IAM throttles who asks more often.
_POLL_SECONDS = 1.0
_LONGEST = timedelta(minutes=2)
# The most items of a page (IAM API reference), and the most pages: AWS has some hundred services.
_ITEMS, _PAGES = 1_000, 20


@dataclass(frozen=True, slots=True)
class Report:
    """When a role last called each service that its policies allow, by namespace; or why that isn't known.

    None stands for never within the tracking period. An attempt that was denied counts.
    """

    services: Mapping[str, datetime | None] = field(default_factory=dict)
    because: str = ""


class Reports:
    """The reports about some roles, by ARN: `begin` them, then `collect` them."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._client = deployment.client("iam")
        self._waiting: dict[str, None] = {}
        self._jobs: dict[str, str] = {}
        self._found: dict[str, Report] = {}

    def begin(self, arns: Iterable[str]) -> None:
        """Have IAM begin them; those that it throttles are begun later."""
        self._waiting = dict.fromkeys(arns)
        with self._deployment.progress(len(self._waiting), "reports of last use begun") as progress:
            self._begin(progress)

    def collect(self) -> Mapping[str, Report]:
        """Wait for what was begun: each of them, found or with the reason why not."""
        until = self._deployment.now() + _LONGEST
        with self._deployment.progress(
            len(self._waiting) + len(self._jobs) + len(self._found), "reports of last use"
        ) as progress:
            while True:
                for arn, job in list(self._jobs.items()):
                    progress.at(len(self._found))
                    # Where IAM doesn't answer, each look takes as long as the SDK tries.
                    if self._deployment.now() < until:
                        self._look(arn, job)
                if not (self._jobs or self._waiting) or self._deployment.now() >= until:
                    break
                self._deployment.sleep(_POLL_SECONDS)
                self._begin(progress)
        late = f"IAM didn't finish its report in {_LONGEST.total_seconds():.0f} seconds; try again"
        return self._found | dict.fromkeys([*self._jobs, *self._waiting], Report(because=late))

    def _begin(self, progress: Silent) -> None:
        """Begin what waits, until IAM throttles. Who may not for one role isn't asked about the others."""
        for arn in list(self._waiting):
            progress.at(len(self._jobs))
            try:
                with classified(GENERATE, arn):
                    self._jobs[arn] = self._client.generate_service_last_accessed_details(Arn=arn)["JobId"]
            except RetryableError:
                return
            except AccessDeniedError as error:
                self._found |= dict.fromkeys(self._waiting, Report(because=why(error)))
                self._waiting.clear()
                return
            except AwsRefusalError as error:
                self._found[arn] = Report(because=why(error))
            del self._waiting[arn]

    def _look(self, arn: str, job: str) -> None:
        """Look at one job. It is asked again where it still runs, or IAM gave no answer."""
        try:
            answer = self._page(job)
            if answer["JobStatus"] == "IN_PROGRESS":
                return
            report = _failed(answer) if answer["JobStatus"] == "FAILED" else Report(self._services(job, answer))
        except RetryableError:
            return
        except AwsRefusalError as error:
            report = Report(because=why(error))
        del self._jobs[arn]
        self._found[arn] = report

    def _services(self, job: str, answer: Any) -> dict[str, datetime | None]:
        found: dict[str, datetime | None] = {}
        for _ in range(_PAGES):
            for each in answer["ServicesLastAccessed"]:
                found[each["ServiceNamespace"]] = each.get("LastAuthenticated")
            if not answer.get("IsTruncated"):
                break
            answer = self._page(job, Marker=answer["Marker"])
        return found

    def _page(self, job: str, **marker: str) -> Any:
        with classified(GET, "*"):
            return self._client.get_service_last_accessed_details(JobId=job, MaxItems=_ITEMS, **marker)


def why(error: AwsRefusalError) -> str:
    """What keeps something from being known, in words."""
    told = explained(error)
    assert told is not None  # it is AWS's refusal
    return escaped(told.what)


def _failed(answer: Any) -> Report:
    return Report(because=f"IAM's report failed: {escaped(str(answer.get('Error', {}).get('Message', '')))}")
