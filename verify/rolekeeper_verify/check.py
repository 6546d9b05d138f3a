"""The doctor's check of what `rolekeeper verify` left in the account: an entry point of `rolekeeper.checks`."""

from rolekeeper.model.problem import typed
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.doctor.view import Findings, warn
from rolekeeper_cli.shell.layout import minute
from rolekeeper_verify.aws import Aws
from rolekeeper_verify.kinds import BUCKET
from rolekeeper_verify.removal import RUNS_FOR


def verifications(deployment: Deployment) -> Findings:
    """By one list: as long as something is left of a verification, in any Region, its bucket is there.

    A name proves nothing, so this only warns; the sweep that it names looks for the record.
    """
    for bucket in BUCKET.found(Aws(deployment)):
        if bucket.since and deployment.now() - bucket.since >= RUNS_FOR:
            what = f"verification {bucket.id} of {minute(bucket.since)} left something in {bucket.region}"
            yield warn(what, typed(f"rolekeeper verify --sweep --id {bucket.id} --region {bucket.region}"))
    return "no verification left anything"
