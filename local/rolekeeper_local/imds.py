"""The instance metadata service (IMDSv2): each instance's own is below an address that SDKs can be pointed at.

`AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:4566/_rolekeeper/imds/INSTANCE/`. It hands out what EC2 got last for
the instance: sessions as STS has them, valid for six hours, also when the instance has another role by then.
"""

import time
from dataclasses import dataclass

from ministack.core.responses import request_scope
from ministack.services import iam, imds, sts

from rolekeeper_local.asgi import Scope, Send, respond
from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_api import Ec2Api, now
from rolekeeper_local.ec2_credentials import VALID_HOURS, CredentialSchedule
from rolekeeper_local.ec2_model import Association, AssociationState, Ec2Error, State
from rolekeeper_local.ec2_wire import Response
from rolekeeper_local.event_history import DELIVERED_BY, EventHistory
from rolekeeper_local.iam_trust import role_of, trusts_service

IMDS_PATH = "/_rolekeeper/imds/"
_TTL = "x-aws-ec2-metadata-token-ttl-seconds"


@dataclass(frozen=True, slots=True)
class _Delivery:
    """Credentials that EC2 got, as IMDS shows them."""

    role: str
    document: dict[str, str]


class Imds:
    """What EC2 got last for each instance; `hour` is how long an hour is, in seconds."""

    def __init__(self, ec2_api: Ec2Api, history: EventHistory, hour: float) -> None:
        self._ec2_api, self._history, self._hour = ec2_api, history, hour
        self._schedules: dict[tuple[str, str], CredentialSchedule] = {}
        self._newest: dict[str, _Delivery] = {}
        # ministack forgets a session that expired; the front would take its key for an administrator's.
        correct(lambda _original: None, "_evict_expired_sessions", sts)

    def tick(self) -> None:
        """Get the credentials that are due, in every account and Region."""
        for (account, region), truth in self._ec2_api.truths().items():
            schedule = self._schedules.setdefault((account, region), CredentialSchedule(truth))
            with request_scope(account, region):
                for row in schedule.due(now()):
                    self._deliver(row)

    def _deliver(self, row: Association) -> None:
        """Get credentials of a profile's role; none if it is gone, or doesn't trust EC2."""
        self._newest.pop(row.instance_id, None)
        profile = self._ec2_api.find_profile(row.profile_arn)
        role = role_of(profile.roles[0]) if profile and profile.roles else None
        if role is None or not trusts_service(role, "ec2.amazonaws.com"):
            return
        account, name = role["Arn"].split(":")[4], role["RoleName"]
        key, secret, token = iam._gen_session_access_key(), iam._gen_secret(), iam._gen_session_token()
        issued = time.time()
        expires = issued + VALID_HOURS * self._hour
        session = {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{row.instance_id}",
            "UserId": f"{role['RoleId']}:{row.instance_id}",
            "SecretAccessKey": secret,
            "SessionToken": token,
            "IssuedAt": issued,
            "Expiration": expires,
            "AccountId": account,
            "PrincipalType": "AssumedRole",
            DELIVERED_BY: "2.0",
        }
        sts.register_session(key, session)
        self._history.delivered(row.instance_id, role["Arn"], access_key=key, expires=expires)
        document = {
            "Code": "Success",
            "LastUpdated": _shown(issued),
            "Type": "AWS-HMAC",
            "AccessKeyId": key,
            "SecretAccessKey": secret,
            "Token": token,
            "Expiration": _shown(expires),
        }
        self._newest[row.instance_id] = _Delivery(name, document)

    async def answer(self, scope: Scope, send: Send) -> None:
        """Answer a request below IMDS_PATH."""
        # What EC2 shows as associated since the last tick is handed out.
        self.tick()
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        instance_id, _, path = scope["path"].removeprefix(IMDS_PATH).partition("/")
        # Some SDKs put a slash before their path, after the one that ends the address.
        status, named, body = self._respond(scope["method"], instance_id, path.strip("/"), headers=headers)
        await respond(send, status, body, headers=[(name.encode(), value.encode()) for name, value in named.items()])

    def _respond(self, method: str, instance_id: str, path: str, headers: dict[str, str]) -> Response:
        answer: Response
        if path == "latest/api/token":
            asked = method == "PUT" and _TTL in headers
            answer = imds._issue_token(headers) if asked else imds._text("Bad Request", 400)
        elif "x-aws-ec2-metadata-token" not in headers or not imds._check_token(headers):
            answer = imds._unauthorized()
        else:
            found = self._documents(instance_id).get(path.removeprefix("latest/meta-data/"))
            shown = imds._text if isinstance(found, str) else imds._json_resp
            answer = shown(found) if found else imds._not_found()
        return answer

    def _documents(self, instance_id: str) -> dict[str, str | dict[str, str]]:
        """What there is below `latest/meta-data/`: nothing unless the instance runs, no role unless it has one."""
        try:
            truth = self._ec2_api.truth_of(instance_id)
        except Ec2Error:
            return {}
        if truth.instance(instance_id).state is not State.RUNNING:
            return {}
        region = truth.instance(instance_id).arn.split(":")[3]
        documents: dict[str, str | dict[str, str]] = {"instance-id": instance_id, "placement/region": region}
        row, newest = truth.association_of(instance_id), self._newest.get(instance_id)
        if row and row.state is not AssociationState.DISASSOCIATING and newest:
            documents["iam/info"] = {
                "Code": "Success",
                "LastUpdated": newest.document["LastUpdated"],
                "InstanceProfileArn": row.profile_arn,
                "InstanceProfileId": row.profile_id,
            }
            documents["iam/security-credentials"] = newest.role
            documents[f"iam/security-credentials/{newest.role}"] = newest.document
        return documents


def _shown(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
