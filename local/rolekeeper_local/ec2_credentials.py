"""When EC2 gets credentials of the roles that instances carry (AWS_FACTS.md, "Credentials on the instance").

Pure, as ``Ec2Truth`` is. No source says whether EC2 gets them when a role is attached or when IMDS is asked, nor what
happens while an instance is stopped: here it gets them once the role is associated, and again at each start.
"""

from rolekeeper_local.ec2_model import Association
from rolekeeper_local.ec2_truth import Ec2Truth

#: For this number of hours credentials are valid.
VALID_HOURS = 6


class CredentialSchedule:
    """Which instances of an account and Region get new credentials; an hour is as long as the truth's `timings` say."""

    def __init__(self, truth: Ec2Truth) -> None:
        self._truth = truth
        #: By instance: the association for which it got some, and when.
        self._newest: dict[str, tuple[str, float]] = {}

    def due(self, now: float) -> list[Association]:
        """The associations that get credentials now, each of them once."""
        due = []
        before, self._newest = self._newest, {}
        for row in self._truth.carried():
            association_id, at = before.get(row.instance_id, ("", now))
            if association_id != row.id or now - at >= self._truth.timings.hour:
                due.append(row)
                at = now
            self._newest[row.instance_id] = row.id, at
        return due
