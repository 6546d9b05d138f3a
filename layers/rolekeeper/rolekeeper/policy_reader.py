"""Which permissions a change of role would bring: read from IAM once per role, for advice that must never block."""

from rolekeeper.difference import Difference, difference
from rolekeeper.errors import AwsRefusalError
from rolekeeper.iam import Iam
from rolekeeper.policies import Document, Policies


class PolicyReader:
    """Reads the policies of roles, and remembers them for its life: one invocation.

    What IAM refuses, and what it throttles, is no error here: the difference says that it couldn't be told, and why.
    """

    def __init__(self, iam: Iam) -> None:
        self._iam = iam
        self._roles: dict[str, Policies | str] = {"": Policies()}
        self._profiles: dict[str, str] = {"": ""}
        self._managed: dict[str, Document] = {}
        self._known: dict[tuple[str, str], Difference] = {}

    def difference(self, from_role: str, to_role: str) -> Difference:
        """What going from one role to another gains and loses, by name; an empty name is no role."""
        asked = (from_role, to_role)
        if asked not in self._known:
            self._known[asked] = self._compare(*asked)
        return self._known[asked]

    def profile_difference(self, from_profile: str, to_profile: str, to_role: str = "") -> Difference:
        """The same between two instance profiles, by ARN; an empty one, or one that isn't there, holds no role.

        Args:
            from_profile: what is carried.
            to_profile: what would be.
            to_role: the role that `to_profile` will hold, where that is known. Then the profile needn't exist yet.
        """
        try:
            return self.difference(self._role_in(from_profile), to_role or self._role_in(to_profile))
        except AwsRefusalError as error:
            return Difference(unknown=_refused(error))

    def _compare(self, from_role: str, to_role: str) -> Difference:
        if from_role == to_role:
            return Difference()
        before, after = self._policies(from_role), self._policies(to_role)
        if isinstance(before, str) or isinstance(after, str):
            return Difference(unknown="; ".join(each for each in (before, after) if isinstance(each, str)))
        return difference(before, after)

    def _policies(self, role: str) -> Policies | str:
        """A role's policies, or why they can't be told."""
        if role not in self._roles:
            try:
                found = self._iam.policies(role, self._managed)
                self._roles[role] = f"role '{role}' doesn't exist" if found is None else found
            except AwsRefusalError as error:
                self._roles[role] = _refused(error)
        return self._roles[role]

    def _role_in(self, profile_arn: str) -> str:
        """The name of the role in an instance profile; empty if there is none."""
        if profile_arn not in self._profiles:
            profile = self._iam.get_instance_profile(profile_arn.rsplit("/", 1)[-1])
            self._profiles[profile_arn] = profile.role_name if profile and profile.arn == profile_arn else ""
        return self._profiles[profile_arn]


def _refused(error: AwsRefusalError) -> str:
    return f"IAM answers {error.code} to {error.action} on {error.resource}"
