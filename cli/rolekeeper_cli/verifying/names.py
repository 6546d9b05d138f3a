"""What a verification calls its things: all that it makes carries its id, by which `--sweep` finds it again."""

import secrets
import string
from dataclasses import dataclass
from typing import Self

PREFIX = "rolekeeper-verify-"
# The tag of all that it makes and that can be tagged; its value is the id.
TAG = "rolekeeper:verify"
_ID_LENGTH = 6


@dataclass(frozen=True, slots=True)
class Names:
    """The names by its id, which is of lower-case letters and digits: S3 takes no others."""

    id: str

    @classmethod
    def new(cls) -> Self:
        return cls("".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(_ID_LENGTH)))

    @property
    def stack(self) -> str:
        """The stack of the deployment, and how the names of all its resources begin."""
        return f"{PREFIX}{self.id}"

    @property
    def scene(self) -> str:
        """The stack with what the deployment is tried on."""
        return f"{self.stack}-scene"

    @property
    def role_path(self) -> str:
        """The deployment's path: IAM itself lets it give no role that is outside."""
        return f"/{self.stack}/"

    @property
    def foreign_path(self) -> str:
        """Where the role is that the deployment may not touch."""
        return f"/{self.stack}-foreign/"

    @property
    def tag_key(self) -> str:
        """The tag that its mappings are about, which no other deployment's are."""
        return self.stack

    def role(self, name: str) -> str:
        """A role, and its instance profile."""
        return f"{self.stack}-{name}"

    def bucket(self, account: str, region: str) -> str:
        return f"{self.stack}-{account}-{region}"
