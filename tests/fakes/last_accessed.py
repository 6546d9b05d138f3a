"""IAM's last-accessed jobs, which moto lacks: what a story says that roles called, in AWS's shapes (AWS_FACTS.md)."""

from collections.abc import Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

_PAGE = 2  # services
BEGUN, LOOKED = "GenerateServiceLastAccessedDetails", "GetServiceLastAccessedDetails"


class FakeReports:
    """Answers for a client of IAM.

    Attributes:
        used: by a role's name, when it last called which service; None for never.
        failed: roles whose jobs fail.
        refused: by an operation, the code of its refusal; and `times` it is refused, if not for ever.
    """

    def __init__(self, client: Any) -> None:
        self.used: dict[str, Mapping[str, datetime | None]] = {}
        self.failed: set[str] = set()
        self.refused: dict[str, str] = {}
        self.times: dict[str, int] = {}
        self.seen: list[str] = []
        self._running: set[str] = set()
        # The handler before a call sees only what goes over the wire; what was asked is kept beside it.
        client.meta.events.register("provide-client-params", _keep_asked)
        client.meta.events.register("before-call", self._answer)

    def _answer(self, model: Any, context: Any, **_: object) -> tuple[Any, Mapping[str, Any]] | None:
        if model.name in self.refused and self.times.get(model.name, 1):
            if model.name in self.times:
                self.times[model.name] -= 1
            raise ClientError({"Error": {"Code": self.refused[model.name], "Message": "no"}}, model.name)
        answers = {BEGUN: self._begin, LOOKED: self._look}
        if model.name not in answers:
            return None
        self.seen.append(model.name)
        return SimpleNamespace(status_code=200), answers[model.name](context["asked"])

    def _begin(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        role = asked["Arn"].rsplit("/", 1)[-1]
        self._running.add(role)
        return {"JobId": role.rjust(36, "0")}

    def _look(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        role = asked["JobId"].lstrip("0")
        if role in self._running:
            self._running.remove(role)
            return {"JobStatus": "IN_PROGRESS", "ServicesLastAccessed": []}
        if role in self.failed:
            return {"JobStatus": "FAILED", "ServicesLastAccessed": [], "Error": {"Code": "X", "Message": "it broke"}}
        services, first = sorted(self.used.get(role, {}).items()), int(asked.get("Marker", 0))
        members = [
            {"ServiceName": name, "ServiceNamespace": name, **({"LastAuthenticated": at} if at else {})}
            for name, at in services[first : first + _PAGE]
        ]
        more = first + _PAGE < len(services)
        marker = {"Marker": str(first + _PAGE)} if more else {}
        return {"JobStatus": "COMPLETED", "ServicesLastAccessed": members, "IsTruncated": more, **marker}


def _keep_asked(params: Any, context: Any, **_: object) -> None:
    context["asked"] = params
