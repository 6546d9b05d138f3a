"""Clients in the accounts of a hub's spokes: as the spoke's reader, which trusts those that the spoke names.

The command only looks there: what it changes is in the hub's own tables, and the functions do the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from rolekeeper.aws.errors import classified
from rolekeeper.settings import Access, Settings

SESSION = "rolekeeper-command"  # what the spoke's CloudTrail shows beside the role
# A role that a role assumes has an hour at most ("role chaining", IAM user guide, "Methods to assume a role").
_LASTS_SECONDS, _LEFT = 3_600, timedelta(minutes=5)


@dataclass
class OtherAccounts:
    """See the module. May be used by several threads.

    Attributes:
        client: gives the caller's own client of a service.
        make: makes one with other credentials: of a service, in a Region.
        now: the time.
    """

    client: Callable[[str], Any]
    make: Callable[..., Any]
    now: Callable[[], datetime]
    _sessions: dict[str, "_Session"] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def client_in(self, there: Settings, service: str) -> Any:
        """The client of a service in a target.

        Raises:
            AwsRefusalError: the caller may not be the reader there, or there is none.
        """
        session = self._session(there.spoke_role(Access.READER))
        return session.client(service, there.region, self.make)

    def _session(self, role: str) -> "_Session":
        with self._lock:
            known = self._sessions.get(role)
        if known and known.until - self.now() > _LEFT:
            return known
        with classified("sts:AssumeRole", role):
            answer = self.client("sts").assume_role(
                RoleArn=role, RoleSessionName=SESSION, DurationSeconds=_LASTS_SECONDS
            )
        given = answer["Credentials"]
        made = _Session(
            given["Expiration"],
            {
                "aws_access_key_id": given["AccessKeyId"],
                "aws_secret_access_key": given["SecretAccessKey"],
                "aws_session_token": given["SessionToken"],
            },
        )
        with self._lock:
            self._sessions[role] = made
        return made


@dataclass
class _Session:
    """The reader's credentials until they end, and the clients that have them."""

    until: datetime
    credentials: dict[str, str]
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def client(self, service: str, region: str, make: Callable[..., Any]) -> Any:
        with self._lock:
            if (service, region) not in self._clients:
                self._clients[service, region] = make(service, region, self.credentials)
            return self._clients[service, region]
