"""CloudWatch Logs, as far as the decisions in the functions' logs need it."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from fakes.clock import START

GROUPS = ("OnInstanceEventLogs", "OnRetryLogs")
PAGE = 2


class FakeLogs:
    """CloudWatch Logs' FilterLogEvents, in small pages, over what the functions in the process logged."""

    def __init__(self, logged: Callable[[], list[dict[str, Any]]], now: Callable[[], datetime] | None = None) -> None:
        """Nothing came yet.

        Args:
            logged: gives the world's log.
            now: the world's time, if lines come when they are first looked for; its lines themselves have none of the
                world's. Else they came one second after the other.
        """
        self._logged, self._now = logged, now
        self._came: list[datetime] = []
        self.asked: list[dict[str, Any]] = []
        self.group = GROUPS[0]

    def events(self) -> list[dict[str, Any]]:
        lines = self._logged()
        self._came += [self._at(number) for number in range(len(self._came), len(lines))]
        return [
            {"eventId": str(number), "timestamp": int(at.timestamp() * 1_000), "message": json.dumps(line)}
            for number, (at, line) in enumerate(zip(self._came, lines, strict=True))
        ] + [{"eventId": "start", "timestamp": 1772355600_000, "message": "START RequestId: decided"}]

    def filter_log_events(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        if asked["logGroupName"] != self.group:
            return {"events": []}
        pattern = asked["filterPattern"].strip('"')
        within = range(asked["startTime"], asked.get("endTime", 10**15) + 1)
        found = [each for each in self.events() if each["timestamp"] in within and pattern in each["message"]]
        begin = int(asked.get("nextToken", 0))
        page = {"events": found[begin : begin + PAGE]}
        return page | ({"nextToken": str(begin + PAGE)} if begin + PAGE < len(found) else {})

    def _at(self, number: int) -> datetime:
        return self._now() if self._now else START + timedelta(seconds=number)
