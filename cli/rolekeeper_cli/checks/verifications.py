"""What `rolekeeper verify` left in the account."""

from rolekeeper.model.problem import typed
from rolekeeper_cli.checks.deployment import DoctorDeployment, Findings, warn
from rolekeeper_cli.verifying.kinds import BUCKET
from rolekeeper_cli.verifying.removal import RUNS_FOR, find


def verifications(deployment: DoctorDeployment) -> Findings:
    """By one list: as long as something is left of a verification, in any Region, its bucket is there."""
    found = find(deployment, kinds=[BUCKET])
    for bucket in [*found.leftovers, *found.elsewhere]:
        if bucket.since and deployment.now() - bucket.since >= RUNS_FOR:
            what = f"verification {bucket.id} of {bucket.since:%Y-%m-%d %H:%M UTC} left something in {bucket.region}"
            yield warn(what, typed(f"rolekeeper verify --sweep --id {bucket.id} --region {bucket.region}"))
    for refused in found.unknown:
        raise refused
    return "no verification left anything"
