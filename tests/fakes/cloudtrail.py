"""CloudTrail's LookupEvents: what a story says that others did, in AWS's shapes (AWS_FACTS.md)."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from fakes.calls import Calls
from fakes.ec2 import client_error

ACCOUNT = "123456789012"


def user(name: str) -> dict[str, Any]:
    return {"type": "IAMUser", "arn": f"arn:aws:iam::{ACCOUNT}:user/{name}", "userName": name}


def role(name: str, session: str, account: str = ACCOUNT) -> dict[str, Any]:
    issuer = {"type": "Role", "arn": f"arn:aws:iam::{account}:role/{name}"}
    return {
        "type": "AssumedRole",
        "arn": f"arn:aws:sts::{account}:assumed-role/{name.rsplit('/', 1)[-1]}/{session}",
        "sessionContext": {"sessionIssuer": issuer},
    }


# AWS_FACTS.md, "CloudTrail's event history".
AUTO_SCALING = {
    **role("aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling", "AutoScaling"),
    "invokedBy": "autoscaling.amazonaws.com",
}


class FakeCloudTrail:
    """The events of one account and Region. `page` is how many of them a page has; `refuses` the code of a refusal."""

    def __init__(self, calls: Calls, now: Callable[[], datetime]) -> None:
        self._calls, self._now = calls, now
        self.events: list[dict[str, Any]] = []
        self.page = 2
        self.refuses = ""
        self.asked: list[Mapping[str, Any]] = []

    def happened(
        self,
        name: str,
        by: Any,
        request: Any = None,
        response: Any = None,
        *,
        resources: tuple[str, ...] = (),
        **rest: Any,
    ) -> None:
        record = {"userIdentity": by, "requestParameters": request, "responseElements": response, **rest}
        self.events.append(
            {
                "EventId": f"event-{len(self.events)}",
                "EventName": name,
                "EventTime": self._now(),
                "Resources": [{"ResourceName": each} for each in resources],
                "CloudTrailEvent": json.dumps(record),
            }
        )

    def tagged(self, by: Any, instance: str, *, removed: bool = False, **tags: str) -> None:
        items = [{"key": key} if removed else {"key": key, "value": value} for key, value in tags.items()]
        asked = {"resourcesSet": {"items": [{"resourceId": instance}]}, "tagSet": {"items": items} if items else {}}
        self.happened("DeleteTags" if removed else "CreateTags", by, asked, {"_return": True}, resources=(instance,))

    def launched(self, by: Any, instance: str, *, profile_arn: str = "", **tags: str) -> None:
        """Somebody launched it, from a template maybe: its tags are in the answer only."""
        made: dict[str, Any] = {
            "instanceId": instance,
            "tagSet": {"items": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        if profile_arn:
            made["iamInstanceProfile"] = {"arn": profile_arn, "id": "AIPA"}
        self.happened("RunInstances", by, {}, {"instancesSet": {"items": [made]}}, resources=(instance,))

    def associated(self, name: str, by: Any, *, ended: str = "", made: str = "") -> None:
        """Somebody called one of the three that change associations: no resource is listed."""
        answer = {"iamInstanceProfileAssociation": {"associationId": made or ended}}
        asked = {"AssociationId": ended} if ended else {}
        self.happened(name, by, {f"{name}Request": asked}, {f"{name}Response": answer})

    def lookup_events(self, **asked: Any) -> dict[str, Any]:
        self._calls.starts("LookupEvents")
        self.asked.append(asked)
        if self.refuses:
            raise client_error(self.refuses, "no", "LookupEvents")
        oldest, now = self._now() - timedelta(days=90), self._now()
        if not oldest <= asked.get("StartTime", oldest) <= asked.get("EndTime", now) <= now:
            raise client_error("InvalidTimeRangeException", "no", "LookupEvents")
        [attribute] = asked["LookupAttributes"]
        found = [
            each
            for each in reversed(self.events)
            if attribute["AttributeValue"]
            in (each["EventName"], *(resource["ResourceName"] for resource in each["Resources"]))
            and asked.get("StartTime", each["EventTime"]) <= each["EventTime"] <= asked.get("EndTime", self._now())
        ]
        first = int(asked.get("NextToken", 0))
        more = {"NextToken": str(first + self.page)} if len(found) > first + self.page else {}
        self._calls.ends("LookupEvents")
        return {"Events": found[first : first + self.page], **more}
