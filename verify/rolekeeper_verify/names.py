"""What a verification calls its things: all that it makes carries its id, by which `--sweep` finds it again."""

import re
import secrets
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rolekeeper_cli.guard.use import VERIFY_PREFIX, VERIFY_TAG

FOLDER = Path(__file__).parent  # of the files that go with the modules
PREFIX = VERIFY_PREFIX
# Its value is the id.
TAG = VERIFY_TAG
_ID_LENGTH = 6
_ID = rf"[a-z0-9]{{{_ID_LENGTH}}}"
# A name, a path, an ARN, a queue's URL or a log group, each up to where the id ends.
_NAMED = re.compile(rf"(?:arn:[^/]*:|https?://.*/|/(?:aws/lambda/|aws/vendedlogs/states/)?)?{PREFIX}({_ID})(?![^-/])")


def id_in(name: str) -> str | None:
    """The id of the verification whose thing has this name; `rolekeeper-verify-production` is none's."""
    found = _NAMED.match(name)
    return found[1] if found else None


def id_in_tag(value: str) -> str | None:
    """The same of the tag's value."""
    return value if re.fullmatch(_ID, value) else None


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
    def tag_key(self) -> str:
        """The tag that its mappings are about, which no other deployment's are."""
        return self.stack

    @property
    def alarm(self) -> str:
        """The alarm that rings when it is told to."""
        return f"{self.stack}-halt"

    def role(self, name: str) -> str:
        """A role, and its instance profile."""
        return f"{self.stack}-{name}"

    def bucket(self, account: str, region: str) -> str:
        return f"{self.stack}-{account}-{region}"

    def region_of(self, bucket: str, account: str) -> str:
        """The Region that the name of its bucket says; empty if it isn't the name of its bucket in this account."""
        start = self.bucket(account, "")
        return bucket.removeprefix(start) if bucket.startswith(start) else ""
