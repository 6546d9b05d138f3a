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
class Sdk:
    """What it calls itself, and when it asks IMDS again.

    Attributes:
        asks_again: Given when it asked and when what it got expires, the time from which on a call asks first; all of
            them in hours.
    """

    user_agent: str
    asks_again: Callable[[float, float], float]


BOTOCORE = Sdk("Boto3/1.40.0 md/Botocore#1.40.0 lang/python#3.13.1", lambda _asked, expires: expires - 0.25)
GO = Sdk("aws-sdk-go-v2/1.36.0 lang/go#1.24.0", lambda asked, expires: min(asked + 1, expires))
JAVA = Sdk("aws-sdk-java/2.31.0 md/io#sync lang/java#21.0.6", lambda asked, expires: (asked + expires) / 2)
DOTNET = Sdk("aws-sdk-dotnet-coreclr/3.7.500.0 lang/.NET_Core#8.0.12", lambda _asked, _expires: math.inf)
CURL = Sdk("curl/8.5.0", lambda asked, _expires: asked)


class Software:
    """One program, from its start on: for a restart make another.

    Args:
        hour: How long an hour of the embedded AWS is, in seconds (``Timings.hour``).
    """

    def __init__(
        self, aws: EmbeddedAws, instance_id: str, sdk: Sdk, *, hour: float = 3600, region: str = REGION
    ) -> None:
        self._aws, self._instance_id, self._sdk, self._hour, self._region = aws, instance_id, sdk, hour, region
        self._credentials: dict[str, str] = {}
        self._asks_again = -math.inf

    def calls(self, service: str = "sts", operation: str = "get_caller_identity", **parameters: Any) -> Any:
        """Make one call; returns AWS's answer.

        Raises:
            ClientError: AWS refused it.
            urllib.error.HTTPError: IMDS has no credentials.
        """
        if time.time() / self._hour >= self._asks_again:
            self._ask_imds()
        session = self._aws.session(credentials=self._credentials, region=self._region)
        client: Any = session.client(service)  # type: ignore[call-overload]
        client.meta.events.register("before-send", self._name)
        return getattr(client, operation)(**parameters)

    def _name(self, request: AWSPreparedRequest, **_rest: Any) -> None:
        """Put the SDK's user agent in the place of this one's."""
        request.headers["User-Agent"] = self._sdk.user_agent

    def _ask_imds(self) -> None:
        lifetime = {"x-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = {"x-aws-ec2-metadata-token": self._get("api/token", lifetime, method="PUT")}
        path = "meta-data/iam/security-credentials/"
        found = json.loads(self._get(path + self._get(path, token), token))
        self._credentials = {**found, "SessionToken": found["Token"]}
        expires = datetime.fromisoformat(found["Expiration"]).timestamp()
        self._asks_again = self._sdk.asks_again(time.time() / self._hour, expires / self._hour)

    def _get(self, path: str, headers: dict[str, str], *, method: str = "GET") -> str:
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self._aws.imds(self._instance_id)}latest/{path}", headers=headers, method=method
        )
        # A proxy of the person's cannot reach this machine's own 127.0.0.1.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=5) as answer:
            return str(answer.read().decode())
