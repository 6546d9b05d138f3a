"""When roles were last used, and for which services: `RoleLastUsed`, last-accessed jobs, the account's quotas.

A use is a call by a role's session, allowed or denied (AWS_FACTS.md, "When a role was last used"); none is late.
`iam:PassRole` is not a call. Tests set older uses by the control door.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, request_scope
from ministack.services import iam

from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Response

type Handler = Callable[[dict[str, Any]], Response]

#: A job takes this long, so a caller has to wait for it.
_JOB_SECONDS = 0.5
#: IAM user guide, "IAM and AWS STS quotas": by default.
_PROFILES = 1_000


@dataclass(frozen=True, slots=True)
class _Use:
    at: float
    region: str


@dataclass(frozen=True, slots=True)
class _Job:
    """A report as of the time when it was asked for; `services` is sorted by namespace."""

    arn: str
    asked_at: float
    services: tuple[tuple[str, _Use | None], ...]


class LastUsed:
    """The last attempt of each role on each service, by the role's id: a recreated role was never used."""

    def __init__(self) -> None:
        self._uses: dict[str, dict[str, _Use]] = {}
        self._jobs: dict[tuple[str, str], _Job] = {}

    def put_into_past(self, document: dict[str, Any]) -> None:
        """Set when a `role` was `created`, and when it last called `services`, as times by namespace."""
        region = str(document.get("region", "us-east-1"))
        with request_scope(str(document.get("account", "000000000000")), region):
            role = iam._roles[str(document["role"])]
            if "created" in document:
                role["CreateDate"] = _shown(_read(document["created"]))
            for service, at in document.get("services", {}).items():
                self._uses.setdefault(role["RoleId"], {})[str(service)] = _Use(_read(at), region)

    def enforce(self, original: Callable[..., Any], *request: str, **named: Any) -> object:
        """Note each call of a role's session before IAM judges it."""
        caller = str(iam_evaluator.caller_arn())
        name = iam_evaluator._role_name_from_assumed_arn(caller) if ":assumed-role/" in caller else ""
        if role := iam._roles.get(name):
            namespace, region = request[1].partition(":")[0], request[3]
            self._uses.setdefault(role["RoleId"], {})[namespace] = _Use(time.time(), region)
        return original(*request, **named)

    def get_role(self, original: Handler, params: dict[str, Any]) -> Response:
        """GetRole with `RoleLastUsed`, which ListRoles doesn't have."""
        status, headers, body = original(params)
        role = iam._roles.get(iam._p(params, "RoleName"))
        uses = self._uses.get(role["RoleId"], {}) if role else {}
        last = max(uses.values(), key=lambda each: each.at, default=None)
        shown = f"<LastUsedDate>{_shown(last.at)}</LastUsedDate><Region>{last.region}</Region>" if last else ""
        element = f"<RoleLastUsed>{shown}</RoleLastUsed></Role>".encode()
        return status, headers, body.replace(b"</Role>", element, 1)

    def generate(self, original: Handler, params: dict[str, Any]) -> Response:
        """Begin a job about a role; one about a user, a group or a policy is ministack's, and empty."""
        arn = iam._p(params, "Arn")
        if ":role/" not in arn:
            return original(params)
        if iam._p(params, "Granularity") == "ACTION_LEVEL":
            return _refusal(400, "InvalidInput", "Actions aren't kept here: ask for SERVICE_LEVEL.")
        role = next((each for each in iam._roles.values() if each["Arn"] == arn), None)
        if role is None:
            return _refusal(404, "NoSuchEntity", f"The role with ARN {arn} cannot be found.")
        job, uses = str(uuid.uuid4()), self._uses.get(role["RoleId"], {})
        services = tuple((each, uses.get(each)) for each in sorted(_allowed(role["RoleName"])))
        self._jobs[get_account_id(), job] = _Job(arn, time.time(), services)
        return _answer("GenerateServiceLastAccessedDetails", f"<JobId>{job}</JobId>")

    def get(self, original: Handler, params: dict[str, Any]) -> Response:
        """A job's state, and its report in one page once it is completed."""
        if (job := self._jobs.get((get_account_id(), iam._p(params, "JobId")))) is None:
            return original(params)
        ends = job.asked_at + _JOB_SECONDS
        shown = f"<JobType>SERVICE_LEVEL</JobType><JobCreationDate>{_shown(job.asked_at)}</JobCreationDate>"
        if time.time() < ends:
            shown += "<JobStatus>IN_PROGRESS</JobStatus><ServicesLastAccessed/><IsTruncated>false</IsTruncated>"
            return _answer("GetServiceLastAccessedDetails", shown)
        members = "".join(_member(each, use, job.arn) for each, use in job.services)
        shown += f"<JobStatus>COMPLETED</JobStatus><JobCompletionDate>{_shown(ends)}</JobCompletionDate>"
        shown += f"<ServicesLastAccessed>{members}</ServicesLastAccessed><IsTruncated>false</IsTruncated>"
        return _answer("GetServiceLastAccessedDetails", shown)


def install() -> LastUsed:
    """Correct this process, after the other checks of IAM."""
    last_used = LastUsed()
    correct(last_used.enforce, "enforce", iam_evaluator)
    handlers = iam._IAM_HANDLERS
    correct(last_used.get_role, "GetRole", handlers)
    correct(last_used.generate, "GenerateServiceLastAccessedDetails", handlers)
    correct(last_used.get, "GetServiceLastAccessedDetails", handlers)
    correct(_get_account_summary, "GetAccountSummary", handlers)
    return last_used


def _get_account_summary(original: Handler, params: dict[str, Any]) -> Response:
    """The counts of instance profiles, which ministack leaves out."""
    status, headers, body = original(params)
    counts = {"InstanceProfiles": len(iam._instance_profiles), "InstanceProfilesQuota": _PROFILES}
    entries = "".join(f"<entry><key>{key}</key><value>{value}</value></entry>" for key, value in counts.items())
    return status, headers, body.replace(b"</SummaryMap>", f"{entries}</SummaryMap>".encode(), 1)


def _allowed(role: str) -> set[str]:
    """The services that a role's policies allow; with a wildcard all that ministack knows."""
    found: set[str] = set()
    for statement in chain.from_iterable(iam_evaluator._gather_role_policies(role, get_account_id())):
        if statement.effect == "Allow":
            named = {each.partition(":")[0].lower() for each in statement.actions}
            wild = bool(statement.not_actions) or any("*" in each or "?" in each for each in named)
            found |= set(iam_actions.SERVICE_TO_IAM_NAMESPACE.values()) if wild else named
    return found


def _member(service: str, use: _Use | None, arn: str) -> str:
    accessed = ""
    if use:
        accessed = f"<LastAuthenticated>{_shown(use.at)}</LastAuthenticated><LastAuthenticatedEntity>{arn}"
        accessed += f"</LastAuthenticatedEntity><LastAuthenticatedRegion>{use.region}</LastAuthenticatedRegion>"
    # AWS gives a service's name in words, and its namespace beside it; here they are the same.
    return (
        f"<member><ServiceName>{service}</ServiceName><ServiceNamespace>{service}</ServiceNamespace>{accessed}"
        f"<TotalAuthenticatedEntities>{int(bool(use))}</TotalAuthenticatedEntities></member>"
    )


def _answer(operation: str, inner: str) -> Response:
    result = f"<{operation}Result>{inner}</{operation}Result>"
    answer: Response = iam._xml(200, f"{operation}Response", result, ns="iam")
    return answer


def _refusal(status: int, code: str, message: str) -> Response:
    refused: Response = iam._error(status, code, message, ns="iam")
    return refused


def _read(text: object) -> float:
    return datetime.fromisoformat(str(text)).timestamp()


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
