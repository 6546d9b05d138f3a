"""IAM's last-accessed reports: which services each role called, and when.

A report is a job of IAM's (docs/AWS_FACTS.md, "When a role was last used"): all are begun first, and run while other
things are read; then they are waited for, not for ever.
"""

import json
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError
from rolekeeper.aws.iam import Document, Policies
from rolekeeper.model.text import escaped
from rolekeeper.permissions.policies import listed, patterns_meet, statements
from rolekeeper_cli.aws.deployment import Deployment, Patience
from rolekeeper_cli.aws.explained import refusal
from rolekeeper_cli.role.view import SmallerPolicyView

GENERATE, GET = "iam:GenerateServiceLastAccessedDetails", "iam:GetServiceLastAccessedDetails"
# A job takes seconds; IAM throttles who asks more often.
_POLL_SECONDS = 1.0
_LONGEST_SECONDS = 120.0
# The most items of a page (IAM API reference).
_ITEMS = 1_000


@dataclass(frozen=True, slots=True)
class Report:
    """When a role last called each service that its policies allow, by namespace; or why that isn't known.

    None means never within the tracking period. A denied attempt counts as a call.
    """

    services: Mapping[str, datetime | None] = field(default_factory=dict)
    because: str = ""


class Reports:
    """The reports about some roles, by ARN: `begin` them, then `collect` them."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._waiting: list[str] = []
        self._jobs: dict[str, str] = {}
        self._found: dict[str, Report] = {}

    def begin(self, arns: Sequence[str]) -> None:
        self._waiting = list(arns)
        with self._deployment.progress(len(arns), "reports of last use begun") as progress:
            self._begin(progress.over(arns))

    def collect(self) -> Mapping[str, Report]:
        """Wait for what was begun: each of them, found or with the reason why not."""
        total = len(self._waiting) + len(self._jobs) + len(self._found)
        left = Patience(self._deployment.now, _LONGEST_SECONDS)
        with self._deployment.progress(total, "reports of last use") as progress:
            while True:
                for arn, job in list(self._jobs.items()):
                    progress.at(len(self._found))
                    # If IAM doesn't answer, each look takes as long as the SDK tries.
                    if not left.is_over:
                        self._look(arn, job)
                if not (self._jobs or self._waiting) or left.is_over:
                    break
                self._deployment.sleep(_POLL_SECONDS)
                self._begin(self._waiting.copy())
        late = f"IAM didn't finish its report in {_LONGEST_SECONDS:.0f} seconds; try again"
        return self._found | dict.fromkeys([*self._jobs, *self._waiting], Report(because=late))

    def _begin(self, arns: Iterable[str]) -> None:
        """Begin reports until IAM throttles. If the caller may not begin one, the others aren't tried."""
        for arn in arns:
            try:
                self._jobs[arn] = self._deployment.ask(GENERATE, arn, Arn=arn)["JobId"]
            except RetryableError:
                return
            except AccessDeniedError as error:
                self._found |= dict.fromkeys(self._waiting, Report(because=why(error)))
                self._waiting.clear()
                return
            except AwsRefusalError as error:
                self._found[arn] = Report(because=why(error))
            self._waiting.remove(arn)

    def _look(self, arn: str, job: str) -> None:
        """Look at one job. It is asked again where it still runs, or IAM gave no answer."""
        try:
            answer = self._page(job)
            if answer["JobStatus"] == "IN_PROGRESS":
                return
            if answer["JobStatus"] == "FAILED":
                message = escaped(str(answer.get("Error", {}).get("Message", "")))
                report = Report(because=f"IAM's report failed: {message}")
            else:
                services = list(answer["ServicesLastAccessed"])
                while answer.get("IsTruncated"):
                    answer = self._page(job, Marker=answer["Marker"])
                    services += answer["ServicesLastAccessed"]
                report = Report({each["ServiceNamespace"]: each.get("LastAuthenticated") for each in services})
        except RetryableError:
            return
        except AwsRefusalError as error:
            report = Report(because=why(error))
        del self._jobs[arn]
        self._found[arn] = report

    def _page(self, job: str, **marker: str) -> Any:
        return self._deployment.ask(GET, "*", JobId=job, MaxItems=_ITEMS, **marker)


def why(error: AwsRefusalError) -> str:
    return escaped(refusal(error).what)


# Checked when another service is called, and no call itself, so no report shows that it is used (docs/AWS_FACTS.md).
_UNTRACKED = "iam:passrole"
# Other services call it in the role's name; no source says whether such a call counts.
_KEPT = frozenset({"kms"})


def _command(role: str, policy: str, document: Document | None) -> str:
    """Return the AWS CLI's command that makes a policy smaller, or takes it from the role."""
    managed, gone = ":" in policy, document is None
    named = f"--policy-arn {policy}" if managed else f"--policy-name {shlex.quote(policy)}"
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    given = "" if gone else f" --policy-document {shlex.quote(text)}"
    if managed and not gone:
        return f"aws iam create-policy-version {named} --set-as-default{given}"
    does = ("detach" if managed else "delete") if gone else "put"
    return f"aws iam {does}-role-policy --role-name {role} {named}{given}"


def smaller(
    role: str, policies: Policies, never: Collection[str], *, editable: Collection[str]
) -> list[SmallerPolicyView]:
    """Return a role's policies without the services that it never called.

    A policy that isn't `editable`, because other roles have it too, stays whole or is detached.
    """
    drops = {each.lower() for each in never} - _KEPT
    named = list(zip(policies.names, policies.documents, strict=True))
    while True:
        edits = {name: _edit(document, drops, editable=name in editable) for name, document in named}
        left = [pattern for document, _ in edits.values() for pattern in _allowed(document)]
        still = {each for each in drops if any(patterns_meet(pattern, f"{each}:*") for pattern in left)}
        if not still:
            return [
                SmallerPolicyView(policy=name, drops=gone, document=document, command=_command(role, name, document))
                for name, (document, gone) in edits.items()
                if gone
            ]
        drops -= still


def _edit(document: Document, drops: Collection[str], *, editable: bool) -> tuple[Document | None, list[str]]:
    """Return what is left of a policy without some services, None for nothing, and which of them it loses.

    It stays as it is if it has none of them, or if it isn't `editable` and would keep a part.
    """
    kept: list[Any] = []
    dropped: set[str] = set()
    for each in listed(document.get("Statement")):
        may_go = (action for action in _actions(each) if not patterns_meet(action.lower(), _UNTRACKED))
        gone = [action for action in may_go if _service(action) in drops]
        dropped |= {_service(action) for action in gone}
        if rest := [action for action in listed(_get(each, "Action")) if action not in gone]:
            kept.append({**each, "Action": rest} if gone else each)
        elif not gone:
            kept.append(each)
    if not dropped or (kept and not editable):
        return document, []
    return {**document, "Statement": kept} if kept else None, sorted(dropped)


def _actions(statement: Any) -> list[str]:
    """The actions that can be dropped from a statement: only an Allow that lists its actions and resources has any."""
    if _get(statement, "Effect") != "Allow" or {"NotAction", "NotResource"} & {*statement}:
        return []
    return [each for each in listed(statement.get("Action")) if isinstance(each, str)]


def _allowed(document: Document | None) -> Iterable[str]:
    for each in statements(document or {}):
        if each.get("Effect") == "Allow":
            yield from ["*"] if "NotAction" in each else [str(one).lower() for one in listed(each.get("Action"))]


def _service(action: str) -> str:
    """The namespace of an action; one with a wildcard is never dropped."""
    return action.lower().partition(":")[0]


def _get(statement: Any, element: str) -> Any:
    return statement.get(element) if isinstance(statement, Mapping) else None
