"""Clients that are made when they are first used; and those in other accounts, by the spoke's roles (spoke.yaml)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from operator import methodcaller
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from rolekeeper.aws.errors import classified
from rolekeeper.settings import Access, Settings

if TYPE_CHECKING:
    from types_boto3_sts.client import STSClient

SESSION = "rolekeeper"  # that of a function without one of its own; the spokes' roles trust these names (spoke.yaml)
# Credentials of a role that a role assumes last an hour at most ("role chaining", IAM user guide, "Methods to assume a
# role"). No invocation takes longer than fifteen minutes, so credentials with more time left last to its end.
LASTS, LEFT = 3_600, timedelta(minutes=16)
# AWS's codes for a session whose role was deleted or recreated (docs/AWS_FACTS.md, "Many accounts").
ENDED = {"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException"}
# The most clients that are kept: each has an open connection, and a function may open 1,024 files (Lambda "Quotas").
MOST = 400


class LazyClient:
    """The client of one AWS service, made when it is first used: a reconcile needs two of the eight."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._made = cache(make)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made(), name)


@dataclass(frozen=True)
class Sessions:
    """Assumes each role once while its credentials last; `make` makes a client of a service with credentials.

    `session` is what CloudTrail shows beside the role.
    """

    client: "STSClient"
    make: Callable[..., Any]  # of a service, with its region_name and credentials
    now: Callable[[], datetime]
    session: str = SESSION
    credentials: dict[str, tuple[datetime, dict[str, str]]] = field(default_factory=dict, init=False)
    _clients: dict[tuple[str, str, str, datetime], Any] = field(default_factory=dict, init=False)

    def client_of(self, there: Settings, service: str) -> "SpokeClient":
        """Return a service's client in another target; its calls raise AwsRefusalError if a role can't be assumed."""
        return SpokeClient(self, there, service)

    def forget(self, there: Settings) -> None:
        """Have this account's roles assumed again when next used: the sessions of a recreated role are invalid."""
        for access in Access:
            self.credentials.pop(there.spoke_role(access), None)

    def of(self, role_arn: str, region: str, service: str) -> Any:
        """Return the client of a service as this role; AwsRefusalError if it can't be assumed."""
        until, credentials = self._assumed(role_arn)
        key = role_arn, region, service, until
        if found := self._clients.get(key):
            return found
        made = self._clients[key] = self.make(service, region_name=region, **credentials)
        # Several threads may do this at once. A closed client that is still used opens its connection again.
        for oldest in list(self._clients)[:-MOST]:
            if closed := self._clients.pop(oldest, None):
                closed.close()
        return made

    def _assumed(self, role_arn: str) -> tuple[datetime, dict[str, str]]:
        known = self.credentials.get(role_arn)
        if known and known[0] - self.now() > LEFT:
            return known
        for key in [of_role for of_role in list(self._clients) if of_role[0] == role_arn]:
            self._clients.pop(key, None)
        with classified("sts:AssumeRole", role_arn):
            answer = self.client.assume_role(RoleArn=role_arn, RoleSessionName=self.session, DurationSeconds=LASTS)
        given = answer["Credentials"]
        credentials = {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["SessionToken"],
        }
        self.credentials[role_arn] = given["Expiration"], credentials
        return self.credentials[role_arn]


@dataclass(frozen=True)
class SpokeClient:
    """A client in a spoke: it reads as its reader role, sends events as its notifier, changes as its changer role.

    If the session ended with its role, it retries a call once with a new session.
    """

    sessions: Sessions
    there: Settings
    service: str

    def __getattr__(self, name: str) -> Any:
        reads = name == "meta" or name.startswith(("describe_", "get_", "list_"))
        changes = Access.NOTIFIER if name == "put_events" else Access.CHANGER
        role_arn = self.there.spoke_role(Access.READER if reads else changes)
        if name == "meta":
            return self.sessions.of(role_arn, self.there.region, self.service).meta
        if name == "get_paginator":
            return partial(self._paginator, role_arn)
        return lambda **arguments: self.ask(role_arn, methodcaller(name, **arguments))

    def _paginator(self, role_arn: str, operation: str) -> Any:
        """Return a paginator that reads all pages at once, as every caller needs all."""

        def paginate(**arguments: Any) -> Any:
            return self.ask(role_arn, lambda client: list(client.get_paginator(operation).paginate(**arguments)))

        return SimpleNamespace(paginate=paginate)

    def ask(self, role_arn: str, call: Callable[[Any], Any]) -> Any:
        try:
            return call(self.sessions.of(role_arn, self.there.region, self.service))
        except ClientError as error:
            if error.response["Error"]["Code"] not in ENDED:
                raise
        self.sessions.credentials.pop(role_arn, None)
        return call(self.sessions.of(role_arn, self.there.region, self.service))
