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
        late: float = 0.0,
        **rest: Any,
    ) -> None:
        """A call was made; its record comes `late` seconds later."""
        record = {"userIdentity": by, "requestParameters": request, "responseElements": response, **rest}
        event = {
            "EventId": f"event-{len(self.events)}",
            "EventName": name,
            # In whole seconds.
            "EventTime": self._now().replace(microsecond=0),
            "Resources": [{"ResourceName": each} for each in resources],
            "CloudTrailEvent": json.dumps(record),
            "comes": self._now() + timedelta(seconds=late),
        }
        # A service's own call names no user.
        self.events.append(event | ({"Username": by["arn"].rpartition("/")[2]} if "arn" in (by or ()) else {}))

    def delivered(self, role_arn: str, instance: str, *, late: float = 0.0) -> None:
        """EC2 got credentials of a role for an instance (AWS_FACTS.md, "Credentials on the instance")."""
        expires = self._now() + timedelta(hours=6)
        self.happened(
            "AssumeRole",
            {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"},
            {"roleArn": role_arn, "roleSessionName": instance},
            {
                "credentials": {
                    "accessKeyId": "ASIA",
                    "expiration": f"{expires:%b} {expires.day}, {expires:%Y %-I:%M:%S %p}",
                }
            },
            resources=(role_arn, instance),
            late=late,
            eventSource="sts.amazonaws.com",
        )

    def called(
        self,
        role_arn: str,
        instance: str,
        name: str = "GetCallerIdentity",
        agent: str = "Boto3/1.40.0 x",
        *,
        issued: datetime | None = None,
        role_id: str = "",
        by_hand: bool = False,
        **rest: Any,
    ) -> None:
        """Software on an instance called with a role's credentials, `issued` now by default.

        Made `by_hand`, the session only has the instance's name; a `role_id` is the role's own by then.
        """
        by = role(role_arn.partition(":role/")[2], instance, role_arn.split(":")[4])
        created = {"creationDate": f"{issued or self._now():%Y-%m-%dT%H:%M:%SZ}", "mfaAuthenticated": "false"}
        by["sessionContext"] |= {"attributes": created, **({} if by_hand else {"ec2RoleDelivery": "2.0"})}
        if role_id:
            by["principalId"] = f"{role_id}:{instance}"
            by["sessionContext"]["sessionIssuer"]["principalId"] = role_id
        self.happened(name, by, **{"eventSource": "sts.amazonaws.com", "userAgent": agent, **rest})

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
        start, end = asked.get("StartTime", oldest), asked.get("EndTime", now)
        found = [
            each
            for each in sorted(self.events, key=_order, reverse=True)
            if attribute["AttributeValue"] in _values(each, attribute["AttributeKey"])
            and start <= each["EventTime"] <= end
            and each["comes"] <= now
        ]
        first = int(asked.get("NextToken", 0))
        more = {"NextToken": str(first + self.page)} if len(found) > first + self.page else {}
        self._calls.ends("LookupEvents")
        # The SDK gives times in the machine's zone (botocore `parsers`).
        page = [{**each, "EventTime": each["EventTime"].astimezone()} for each in found[first : first + self.page]]
        return {"Events": page, **more}


def _values(event: Mapping[str, Any], attribute: str) -> list[str]:
    if attribute == "ResourceName":
        return [each["ResourceName"] for each in event["Resources"]]
    return [event.get(attribute, "")]


def _order(event: Mapping[str, Any]) -> tuple[datetime, int]:
    return event["EventTime"], int(event["EventId"].removeprefix("event-"))
