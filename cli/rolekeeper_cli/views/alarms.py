"""The stack's alarms, those that ring first."""

import re
from typing import Any

from rolekeeper_cli.doctor_deployment import DoctorDeployment

_RUNBOOK = re.compile(r"\s*Runbook: (\S+)$")
# As CloudWatch says it, in the order of what to look at.
_ORDER = ("ALARM", "INSUFFICIENT_DATA", "OK")


def alarms(deployment: DoctorDeployment) -> list[dict[str, Any]]:
    """Each alarm that is there: its state, since when and why, what it means, and the runbook's section."""
    found = [_document(each) for each in deployment.alarms.values()]
    return sorted(found, key=lambda each: (_ORDER.index(each["state"]), each["alarm"]))


def _document(alarm: Any) -> dict[str, Any]:
    text = str(alarm.get("AlarmDescription", ""))
    page = _RUNBOOK.search(text)
    return {
        "alarm": alarm["AlarmName"],
        "state": alarm["StateValue"],
        "since": alarm.get("StateUpdatedTimestamp"),
        "reason": alarm.get("StateReason", ""),
        "means": _RUNBOOK.sub("", text),
        "runbook": page[1] if page else None,
    }
