"""CloudTrail's event history: calls to AWS of the past 90 days, and who made them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jmespath
from botocore.config import Config

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError, classified
from rolekeeper.model.text import escaped
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import BAD_CREDENTIALS
from rolekeeper_cli.instance.view import CallerView
from rolekeeper_cli.shell.layout import arn_name

ACTION = "cloudtrail:LookupEvents"
LAUNCH = "RunInstances"
ASSOCIATE, REPLACE = "AssociateIamInstanceProfile", "ReplaceIamInstanceProfileAssociation"
DISASSOCIATE = "DisassociateIamInstanceProfile"
# An account and Region has 2 calls a second, which others want too, and 50 events a page.
_PAUSE_SECONDS = 0.5
PAGES = 10
_KEPT = timedelta(days=90)
_SECONDS = 15.0
_CONFIG = Config(read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
# A role's ARN is the longest of what is shown: a path of 512 characters, a name of 64 (IAM user guide, "IAM and AWS STS
# quotas").
_LONGEST = 640


def caller_of(identity: Any) -> CallerView:
    """Read a record's `userIdentity`: every member may be missing, by its type."""
    arn = _text(found_in(identity, "arn || userName || principalId"))
    service = _text(found_in(identity, "invokedBy"))
    if found_in(identity, "type") != "AssumedRole":
        return CallerView(arn=arn, role="", session="", invoked_by=service)
    role = _text(found_in(identity, "sessionContext.sessionIssuer.arn"))
    return CallerView(arn=arn, role=role, session=arn_name(arn), invoked_by=service)


@dataclass(frozen=True, slots=True)
class Event:
    """One call. What it asked and answered, and the whole identity, are for comparing, never for showing."""

    id: str
    name: str
    at: datetime
    by: CallerView
    service: str  # as its actions name it, for example `sts`
    agent: str  # the program that called, as it names itself: an SDK and its version
    refused: str  # the error code; empty of a call that succeeded
    request: Any
    response: Any
    identity: Any

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> "Event":
        try:
            record = json.loads(found.get("CloudTrailEvent", "{}"))
        except ValueError:
            record = {}
        return cls(
            _text(found.get("EventId")),
            _text(found.get("EventName")),
            found["EventTime"].astimezone(UTC),
            caller_of(found_in(record, "userIdentity")),
            service=_text(found_in(record, "eventSource")).partition(".")[0],
            agent=_text(found_in(record, "userAgent")),
            refused=_text(found_in(record, "errorCode")),
            request=found_in(record, "requestParameters"),
            response=found_in(record, "responseElements"),
            identity=found_in(record, "userIdentity"),
        )

    def launched(self, instance: str) -> bool:
        return self.name == LAUNCH and self._launched(instance) is not None

    def sets(self, instance: str, key: str, value: str) -> bool:
        """Whether it gave an instance this tag, at launch or later."""
        if self.name == LAUNCH:
            # The answer has a launch template's tags too; it is left out of a record that would be too large.
            tags = _list(self._launched(instance), "tagSet.items[]")
            tags += _list(self.request, "tagSpecificationSet.items[?resourceType=='instance'].tags[]")
            return self.launched(instance) and _has(tags, key, value)
        return self.name == "CreateTags" and self._tags(instance, key, value)

    def removes(self, instance: str, key: str) -> bool:
        """Whether it took a tag from an instance: by its key, or all of them."""
        everything = not _list(self.request, "tagSet.items[]") and self._names(instance)
        return self.name == "DeleteTags" and (everything or self._tags(instance, key, None))

    def makes(self, association: str) -> bool:
        path = f"{self.name}Response.iamInstanceProfileAssociation.associationId"
        return self.name in {ASSOCIATE, REPLACE} and found_in(self.response, path) == association

    def ends(self, association: str) -> bool:
        path = f"{self.name}Request.AssociationId"
        return self.name in {REPLACE, DISASSOCIATE} and found_in(self.request, path) == association

    def launches_with(self, instance: str, profile_arn: str) -> bool:
        return self.name == LAUNCH and found_in(self._launched(instance), "iamInstanceProfile.arn") == profile_arn

    def _launched(self, instance: str) -> Any:
        launched = _list(self.response, "instancesSet.items[]")
        return next((each for each in launched if found_in(each, "instanceId") == instance), None)

    def _names(self, instance: str) -> bool:
        return instance in _list(self.request, "resourcesSet.items[].resourceId")

    def _tags(self, instance: str, key: str, value: str | None) -> bool:
        return self._names(instance) and _has(_list(self.request, "tagSet.items[]"), key, value)


class EventHistory:
    """Looks events up, within bounds. `looked_at` counts them; `cut` says whether there were more."""

    def __init__(
        self, deployment: Deployment, *, pages: int = PAGES, seconds: float = _SECONDS, pauses: Sequence[float] = ()
    ) -> None:
        """Raises an AwsRefusalError where the caller may not look into another target.

        Args:
            pauses: seconds after which a page without an answer is asked for again, where many would be lost.
        """
        self._deployment = deployment
        self._pauses = pauses
        self._client = _client(deployment)
        self._pages = pages
        self._deadline = deployment.now() + timedelta(seconds=seconds)
        self.looked_at = 0
        self.cut = False

    def lookup(
        self, attribute: str, value: str, since: datetime | None, until: datetime | None = None
    ) -> Iterator[Event]:
        """Events with an attribute, newest first."""
        now = self._deployment.now()
        if until and until < now - _KEPT:
            return
        # It refuses times that it has nothing of (CloudTrail API reference, `InvalidTimeRangeException`).
        since, until = since if since and since > now - _KEPT else None, until if until and until < now else None
        asked: dict[str, Any] = {"LookupAttributes": [{"AttributeKey": attribute, "AttributeValue": value}]}
        # An event's time is in whole seconds, so a start with a fraction leaves out what happened in the same second.
        asked |= {name: at.replace(microsecond=0) for name, at in (("StartTime", since), ("EndTime", until)) if at}
        for _ in range(self._pages):
            self._deployment.keep_rate(ACTION, _PAUSE_SECONDS)
            if self._deployment.now() >= self._deadline:
                break
            answer = self._page(asked)
            for each in answer["Events"]:
                self.looked_at += 1
                yield Event.read(each)
            if "NextToken" not in answer:
                return
            asked["NextToken"] = answer["NextToken"]
        self.cut = True

    def _page(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        for pause in self._pauses:
            with suppress(RetryableError):
                return self._ask(asked)
            self._deployment.sleep(pause)
        return self._ask(asked)

    def _ask(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        with classified(ACTION, "*"):
            answer: Mapping[str, Any] = self._client.lookup_events(**asked)
        return answer


def _client(deployment: Deployment) -> Any:
    if deployment.elsewhere:
        return deployment.client_in(deployment.settings, "cloudtrail")
    return deployment.client("cloudtrail", _CONFIG)


def no_answer(deployment: Deployment, error: AwsRefusalError) -> str:
    if error.code in BAD_CREDENTIALS:
        return f"AWS doesn't take these credentials ({escaped(error.code)})"
    if isinstance(error, AccessDeniedError):
        is_viewer = deployment.elsewhere and error.action == ACTION
        who = f"the viewer of account {deployment.settings.account} isn't" if is_viewer else "you aren't"
        return f"{who} allowed {error.action}"
    if isinstance(error, RetryableError):
        return f"CloudTrail gave no answer ({escaped(error.code)})"
    return f"CloudTrail refused: {escaped(str(error))}"


# ---- records from outside: any member may be missing, or of another type, which JMESPath takes for missing ----


def found_in(document: Any, path: str) -> Any:
    return jmespath.search(path, document)


def _list(document: Any, path: str) -> list[Any]:
    return found_in(document, path) or []


def _has(tags: list[Any], key: str, value: str | None) -> bool:
    """Whether a tag is among them; with no value, whatever its value."""
    return any(found_in(each, "key") == key and value in (None, found_in(each, "value") or "") for each in tags)


def _text(value: Any) -> str:
    text = escaped("" if value is None else str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
