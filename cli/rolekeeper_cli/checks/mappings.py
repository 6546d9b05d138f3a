"""What Rolekeeper does at all: the switches, the sweep, and the rows that people wrote."""

from datetime import datetime

from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper.storage import layout
from rolekeeper.storage.state import FLEET_NEWS
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.findings import Findings, fail, warn
from rolekeeper_cli.views.mappings import with_status
from rolekeeper_cli.writes.mapping_rows import mapping_rows, said
from rolekeeper_cli.writes.verdicts import GOOD

# Rolekeeper judges a row in about a second, after a cold start in a few.
_JUDGED_SECONDS = 10
_SWEEP = "see docs/runbook.md#sweep-overdue"
_TIME = "%Y-%m-%d %H:%M UTC"
_ROWS = 5


def mode(deployment: DoctorDeployment) -> Findings:
    """Whether changes are made."""
    control = deployment.app.state.read([], []).control
    withheld = control.withholds(deployment.settings.mode)
    if control.unclear:
        yield fail(f"nothing changes: {control.unclear}", advice("set it: ", Remedy(Kind.SETTINGS)))
    elif control.paused:
        yield warn("nothing changes: Rolekeeper is paused", Remedy(Kind.RESUME))
    elif withheld and withheld.code == "observed":
        yield warn(f"nothing changes: {withheld.reason}", Remedy(Kind.ENFORCE))
    return "changes are made"


def sweep(deployment: DoctorDeployment) -> Findings:
    """When a sweep last saw the whole fleet. It writes down the fleet's size then, if that changed, else once a day."""
    item = deployment.app.store.get([layout.FLEET]).get(layout.FLEET, {})
    if "at" not in item:
        if deployment.now() - deployment.stack.created > deployment.sweep_overdue:
            yield fail("no sweep ever saw the whole fleet", _SWEEP)
        return "the stack is new: its first sweep is still to come"
    at = datetime.fromisoformat(str(item["at"]))
    if deployment.now() - at > FLEET_NEWS + deployment.sweep_overdue:
        yield fail(f"no sweep saw the whole fleet since {at:{_TIME}}", _SWEEP)
    instances = int(item["instances"]) + int(item.get(layout.ELSEWHERE, 0))
    return f"sweeps come: one wrote down {instances:,} instance{'' if instances == 1 else 's'} at {at:{_TIME}}"


def rows(deployment: DoctorDeployment) -> Findings:
    """Which rows aren't served as they are written."""
    found = with_status(deployment, deployment.rows)
    unjudged = [key for key, row in found.items() if "status" not in row]
    if unjudged:
        deployment.sleep(_JUDGED_SECONDS)
        unjudged = [key for key, row in mapping_rows(deployment).some(unjudged).items() if "status" not in row]
    bad = [
        (key, f"{key} is {said(row, 'status')}: {said(row, 'status_reason')}")
        for key, row in found.items()
        if "status" in row and said(row, "status") not in GOOD
    ]
    bad += [(key, f"{key} isn't judged yet: its function, on_mapping_change, didn't look at it") for key in unjudged]
    for key, what in bad[:_ROWS]:
        yield warn(what, key.remedy(Kind.MAPPING))
    if len(bad) > _ROWS:
        yield warn(f"{len(bad) - _ROWS:,} more rows aren't published as they are written", Remedy(Kind.MAPPINGS))
    return f"all rows are published as they are written: {len(found):,}" if found else "there are no mappings yet"
