"""CloudTrail's event history: the calls that changed an instance, and who made them.

It is on in every account without a trail, and keeps management events for 90 days (docs/AWS_FACTS.md, "CloudTrail's
event history"). All of it is text from outside: what is shown of it is cut, and what can't be printed is escaped.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.config import Config

from rolekeeper.aws.errors import classified
from rolekeeper.model import escaped
from rolekeeper_cli.deployment import Deployment

ACTION = "cloudtrail:LookupEvents"
LAUNCH = "RunInstances"
ASSOCIATE, REPLACE = "AssociateIamInstanceProfile", "ReplaceIamInstanceProfileAssociation"
DISASSOCIATE = "DisassociateIamInstanceProfile"
# 2 calls a second in an account and Region, which others want too, and 50 events a page.
_PAUSE_SECONDS = 0.5
_PAGES = 10
_KEPT = timedelta(days=90)
_SECONDS = 15.0
_CONFIG = Config(read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
# A role's ARN is the longest of what is shown: a path of 512 characters, a name of 64 (IAM user guide, "IAM and AWS STS
# quotas").
_LONGEST = 640


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a call: a user by ARN, a role with its session, or the AWS service that made it, for a role maybe."""

    arn: str = ""
    role: str = ""
    session: str = ""
    invoked_by: str = ""

    @classmethod
    def read(cls, identity: Any) -> "Caller":
        """Read a record's `userIdentity`: every member may be missing, by its type."""
        arn = _text(_get(identity, "arn") or _get(identity, "userName") or _get(identity, "principalId"))
        service = _text(_get(identity, "invokedBy"))
        if _get(identity, "type") != "AssumedRole":
            return cls(arn=arn, invoked_by=service)
        role = _text(_get(identity, "sessionContext", "sessionIssuer", "arn"))
        return cls(arn, role, arn.rpartition("/")[2], service)

    def words(self, account: str) -> str:
        """Who it is; what is of this account goes without the account."""
        who = _short(self.role or self.arn, account) + (f", session {self.session}" if self.session else "")
        if not who:
            return self.invoked_by or "nobody that CloudTrail names"
        return f"{who}, for {self.invoked_by}" if self.invoked_by else who


@dataclass(frozen=True, slots=True)
class Event:
    """One call that succeeded. What it asked and answered is for comparing, never for showing."""

    id: str
    name: str
    at: datetime
    by: Caller
    request: Any
    response: Any

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> "Event | None":
        """Read an event of LookupEvents; None of a call that was refused."""
        try:
            record = json.loads(found.get("CloudTrailEvent", "{}"))
        except ValueError:
            record = {}
        if _get(record, "errorCode"):
            return None
        return cls(
            _text(found.get("EventId")),
            _text(found.get("EventName")),
            found["EventTime"].astimezone(UTC),
            Caller.read(_get(record, "userIdentity")),
            _get(record, "requestParameters"),
            _get(record, "responseElements"),
        )

    def launched(self, instance: str) -> bool:
        """Whether it launched this instance."""
        return self.name == LAUNCH and bool(self._launched(instance))

    def sets(self, instance: str, key: str, value: str) -> bool:
        """Whether it gave an instance this tag, at launch or later."""
        if self.name == LAUNCH:
            # The answer has a launch template's tags too; it is left out of a record that would be too large.
            tags = _items(_get(self._launched(instance), "tagSet"))
            for each in _items(_get(self.request, "tagSpecificationSet")):
                tags += _list(_get(each, "tags")) if _get(each, "resourceType") == "instance" else []
            return self.launched(instance) and _has(tags, key, value)
        return self.name == "CreateTags" and self._tags(instance, key, value)

    def removes(self, instance: str, key: str) -> bool:
        """Whether it took a tag from an instance: by its key, or all of them."""
        everything = not _items(_get(self.request, "tagSet")) and self._names(instance)
        return self.name == "DeleteTags" and (everything or self._tags(instance, key, None))

    def makes(self, association: str) -> bool:
        """Whether it made an association."""
        made = _get(self.response, f"{self.name}Response", "iamInstanceProfileAssociation", "associationId")
        return self.name in {ASSOCIATE, REPLACE} and made == association

    def ends(self, association: str) -> bool:
        """Whether it ended an association."""
        ended = _get(self.request, f"{self.name}Request", "AssociationId")
        return self.name in {REPLACE, DISASSOCIATE} and ended == association

    def launches_with(self, instance: str, profile_arn: str) -> bool:
        """Whether it launched an instance with this profile."""
        return self.name == LAUNCH and _get(self._launched(instance), "iamInstanceProfile", "arn") == profile_arn

    def _launched(self, instance: str) -> Any:
        each = _items(_get(self.response, "instancesSet"))
        return next((one for one in each if _get(one, "instanceId") == instance), None)

    def _names(self, instance: str) -> bool:
        return any(_get(each, "resourceId") == instance for each in _items(_get(self.request, "resourcesSet")))

    def _tags(self, instance: str, key: str, value: str | None) -> bool:
        return self._names(instance) and _has(_items(_get(self.request, "tagSet")), key, value)


class EventHistory:
    """Looks events up, within bounds. `looked_at` counts them; `cut` says that there were more."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._client = deployment.client("cloudtrail", _CONFIG)
        self._deadline = deployment.now() + timedelta(seconds=_SECONDS)
        self._asked = False
        self.looked_at = 0
        self.cut = False

    def lookup(
        self, attribute: str, value: str, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[Event]:
        """Events with an attribute, newest first.

        Raises:
            AwsRefusalError: CloudTrail doesn't answer.
        """
        now = self._deployment.now()
        if until and until < now - _KEPT:
            return
        # It refuses times that it has nothing of (CloudTrail API reference, `InvalidTimeRangeException`).
        since, until = since if since and since > now - _KEPT else None, until if until and until < now else None
        asked: dict[str, Any] = {"LookupAttributes": [{"AttributeKey": attribute, "AttributeValue": value}]}
        asked |= {name: at for name, at in (("StartTime", since), ("EndTime", until)) if at}
        for _ in range(_PAGES):
            if self._asked:
                self._deployment.sleep(_PAUSE_SECONDS)
            if self._deployment.now() >= self._deadline:
                break
            self._asked = True
            with classified(ACTION, "*"):
                answer = self._client.lookup_events(**asked)
            for each in answer["Events"]:
                self.looked_at += 1
                if event := Event.read(each):
                    yield event
            if "NextToken" not in answer:
                return
            asked["NextToken"] = answer["NextToken"]
        self.cut = True


# ---- records from outside: any member may be missing, or be something else ----


def _get(document: Any, *names: str) -> Any:
    for name in names:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def _items(document: Any) -> list[Any]:
    return _list(_get(document, "items"))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _has(tags: list[Any], key: str, value: str | None) -> bool:
    """Whether a tag is among them; with no value, whatever its value."""
    return any(_get(each, "key") == key and value in (None, _get(each, "value") or "") for each in tags)


def _text(value: Any) -> str:
    text = escaped("" if value is None else str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _short(arn: str, account: str) -> str:
    parts = arn.split(":", 5)
    return parts[5] if len(parts) == 6 and parts[4] == account else arn  # noqa: PLR2004 - of an ARN
