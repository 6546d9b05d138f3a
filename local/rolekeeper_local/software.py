"""Software on an instance, which calls AWS with credentials that it gets from IMDS and keeps.

A model of what SDKs do (AWS_FACTS.md, "Credentials on the instance"), not the SDKs: each is the time when it asks IMDS
again, and its user agent. An SDK of its own would keep real hours; here an hour is as long as the embedded AWS's.
"""

import json
import math
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.awsrequest import AWSPreparedRequest

from rolekeeper_local.embedded import REGION, EmbeddedAws


@dataclass(frozen=True, slots=True)
class Kept:
    """Credentials as an SDK keeps them: since when, and until when they are valid, in hours."""

    since: float
    expires: float


@dataclass(frozen=True, slots=True)
class Sdk:
    """`asks_again` is the hour since which a call asks IMDS before."""

    user_agent: str
    asks_again: Callable[[Kept], float]


BOTOCORE = Sdk("Boto3/1.40.0 md/Botocore#1.40.0 lang/python#3.13.1", lambda kept: kept.expires - 0.25)
GO = Sdk("aws-sdk-go-v2/1.36.0 lang/go#1.24.0", lambda kept: min(kept.since + 1, kept.expires))
JAVA = Sdk("aws-sdk-java/2.31.0 md/io#sync lang/java#21.0.6", lambda kept: (kept.since + kept.expires) / 2)
DOTNET = Sdk("aws-sdk-dotnet-coreclr/3.7.500.0 lang/.NET_Core#8.0.12", lambda _kept: math.inf)
CURL = Sdk("curl/8.5.0", lambda kept: kept.since)


class Software:
    """One program, from its start on: for a restart make another.

    Args:
        hour: How long an hour of the embedded AWS is, in seconds (``Timings.hour``).
    """

    def __init__(
        self, aws: EmbeddedAws, instance_id: str, sdk: Sdk, *, hour: float = 3600, region: str = REGION
    ) -> None:
        self._aws, self._instance_id, self._sdk, self._hour, self._region = aws, instance_id, sdk, hour, region
        self._kept: Kept | None = None
        self._credentials: dict[str, str] = {}

    def calls(self, service: str = "sts", operation: str = "get_caller_identity", **parameters: Any) -> Any:
        """Make one call; returns AWS's answer.

        Raises:
            ClientError: AWS refused it.
            urllib.error.HTTPError: IMDS has no credentials.
        """
        if self._kept is None or time.time() / self._hour >= self._sdk.asks_again(self._kept):
            self._kept = self._ask_imds()
        session = self._aws.session(credentials=self._credentials, region=self._region)
        client: Any = session.client(service)  # type: ignore[call-overload]
        client.meta.events.register("before-send", self._name)
        return getattr(client, operation)(**parameters)

    def _name(self, request: AWSPreparedRequest, **_rest: Any) -> None:
        """Put the SDK's user agent in the place of this one's."""
        request.headers["User-Agent"] = self._sdk.user_agent

    def _ask_imds(self) -> Kept:
        lifetime = {"x-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = {"x-aws-ec2-metadata-token": self._get("api/token", lifetime, method="PUT")}
        path = "meta-data/iam/security-credentials/"
        found = json.loads(self._get(path + self._get(path, token), token))
        self._credentials = {**found, "SessionToken": found["Token"]}
        expires = datetime.fromisoformat(found["Expiration"]).timestamp()
        return Kept(since=time.time() / self._hour, expires=expires / self._hour)

    def _get(self, path: str, headers: dict[str, str], *, method: str = "GET") -> str:
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self._aws.imds(self._instance_id)}latest/{path}", headers=headers, method=method
        )
        # A proxy of the person's cannot reach this machine's own 127.0.0.1.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=5) as answer:
            return str(answer.read().decode())
