"""IAM's roles and their inline policies where each read may be some moments old, a call may fail, and others write too.

For whatever reads, writes and reads again: `lags` are those of the next reads in seconds, `troubles` what befalls the
next calls, `meanwhile` what others do at some seconds after the next writes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

from fakes.clock import Clock
from fakes.ec2 import client_error

type Document = Mapping[str, Any]

type Writer = Callable[[str, Mapping[str, Document]], object]
"""Is given the role, and its policies from before the write."""

#: How old a read may be at most, and how late after our write another one that began before it.
STALE_SECONDS = 1.0


@dataclass(frozen=True)
class Trouble:
    """An error's code, or Ctrl-C if that is empty, before the call has an effect or after it."""

    code: str
    after: bool = False

    def strike(self) -> None:
        if not self.code:
            raise KeyboardInterrupt
        raise client_error(self.code, "no")


@dataclass
class StaleRole:
    """A role; `versions` are its policies by name, each with the time since which it is the present one."""

    id: str
    arn: str
    created: datetime
    versions: list[tuple[datetime, Mapping[str, Document]]] = field(default_factory=list)

    def at(self, moment: datetime) -> Mapping[str, Document]:
        return next((policies for since, policies in reversed(self.versions) if since <= moment), {})


class StaleIam:
    """See the module."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.roles: dict[str, StaleRole] = {}
        self.lags: list[float] = []
        self.troubles: list[Trouble | None] = []
        self.meanwhile: list[tuple[float, Writer] | None] = []
        self._made = 0

    def make_role(self, name: str, policies: Mapping[str, Document] | None = None) -> None:
        """Make a role, or make it again: then it has another id."""
        self._made += 1
        now, arn = self._clock.now(), f"arn:aws:iam::123456789012:role/rolekeeper/{name}"
        self.roles[name] = StaleRole(f"AROA{self._made:04}{name.upper()}", arn, now, [(now, policies or {})])

    def truth(self, role: str) -> Mapping[str, Document]:
        return self.roles[role].at(self._clock.now())

    def write(self, role: str, name: str, document: Document | None) -> None:
        """Somebody writes a policy, or deletes it."""
        others = {key: value for key, value in self.truth(role).items() if key != name}
        written = {**others, **({name: document} if document is not None else {})}
        self.roles[role].versions.append((self._clock.now(), written))

    # ---- IAM's calls ----

    def get_role(self, RoleName: str) -> dict[str, Any]:  # noqa: N803  # boto3's own names
        def read() -> dict[str, Any]:
            found = self.roles[RoleName]
            named = {"RoleName": RoleName, "RoleId": found.id, "Arn": found.arn, "CreateDate": found.created}
            return {"Role": {**named, "Path": "/rolekeeper/"}, **self._dated()}

        return self._call(read)

    def get_role_policy(self, RoleName: str, PolicyName: str) -> dict[str, Any]:  # noqa: N803  # the same
        def read() -> dict[str, Any]:
            lag = timedelta(seconds=self.lags.pop(0) if self.lags else 0)
            found = self.roles[RoleName].at(self._clock.now() - lag)
            if PolicyName not in found:
                raise client_error("NoSuchEntity", "The role has no such policy.")
            return {"PolicyDocument": found[PolicyName], **self._dated()}

        return self._call(read)

    def put_role_policy(self, RoleName: str, PolicyName: str, PolicyDocument: str) -> dict[str, Any]:  # noqa: N803  # the same
        return self._call(lambda: self._write(RoleName, PolicyName, json.loads(PolicyDocument)))

    def delete_role_policy(self, RoleName: str, PolicyName: str) -> dict[str, Any]:  # noqa: N803  # the same
        return self._call(lambda: self._write(RoleName, PolicyName, None))

    def _write(self, role: str, name: str, document: Document | None) -> dict[str, Any]:
        if planned := self.meanwhile.pop(0) if self.meanwhile else None:
            seconds, act = planned
            self._clock.after(seconds, partial(act, role, self.truth(role)))
        self.write(role, name, document)
        return {}

    def _call(self, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble and not trouble.after:
            trouble.strike()
        answer = act()
        if trouble:
            trouble.strike()
        return answer

    def _dated(self) -> dict[str, Any]:
        return {"ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(self._clock.now(), usegmt=True)}}}
