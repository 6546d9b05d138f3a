"""What a stack is made of, in a bucket: layer, functions, state machines and the template that names them.

Each object's key holds the hash of its content: a deployment of the same version uploads nothing and changes nothing,
and one that is rolled back finds what it had.
"""

import base64
import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from botocore.exceptions import ClientError

from rolekeeper.model.instance import Target, partition_of
from rolekeeper_cli import installed
from rolekeeper_cli.errors import CommandError, ConfigurationError
from rolekeeper_cli.shell import terminal

# What the template names in the repository, and the artifact that it stands for.
_PARTS = {
    "functions/": "functions.zip",
    "layers/rolekeeper": "layer.zip",
    "statemachines/retry.asl.json": "statemachines/retry.asl.json",
    "statemachines/resume.asl.json": "statemachines/resume.asl.json",
    "statemachines/accounts.asl.json": "statemachines/accounts.asl.json",
}
_LOCAL = re.compile(r"^(\s*(?:CodeUri|ContentUri|DefinitionUri): )(\S+)$", re.MULTILINE)
_PREFIX = "rolekeeper"
_DIGITS = 32
_MISSING, _FORBIDDEN, _ELSEWHERE = "404", "403", "301"


class Bucket:
    """A bucket of the deployment's account and Region: Lambda reads code from its own Region only.

    Every call names the account that has to own the bucket: anyone can guess its name, and make it first. One that a
    person named has to be there; a `new` one has a name that was chosen just now.
    """

    def __init__(self, client: Any, target: Target, name: str | None, *, new: bool = False) -> None:
        self._client = client
        self._target = target
        self._is_new, self._is_ours = new, new or name is None
        self.name = name or f"rolekeeper-artifacts-{target.account}-{target.region}"

    def ensure(self) -> bool:
        """Create the bucket unless it exists, and return whether it was created; one that a person named isn't changed.

        ConfigurationError if it is another account's, in another Region, or was named and doesn't exist.
        """
        created = False
        try:
            found = self._client.head_bucket(**self._named)
        except ClientError as error:
            self._make_or_refuse(error)
            created = True
        else:
            if found.get("BucketRegion", self._target.region) != self._target.region:
                raise self._elsewhere()
        if created or (self._is_ours and not self._is_new):
            self._secure()
        return created

    def put(self, name: str, content: bytes) -> str:
        """Upload content that the bucket doesn't have yet; returns its key."""
        digest = hashlib.sha256(content)
        stem, _, suffix = name.rpartition("/")[2].partition(".")
        key = f"{_PREFIX}/{stem}-{digest.hexdigest()[:_DIGITS]}.{suffix}"
        checksum = base64.b64encode(digest.digest()).decode()
        if not self._has(key, checksum):
            self._client.put_object(
                **self._named, Key=key, Body=content, ChecksumAlgorithm="SHA256", ChecksumSHA256=checksum
            )
        return key

    def url(self, key: str) -> str:
        """The address by which CloudFormation reads an object."""
        return f"{self._client.meta.endpoint_url}/{self.name}/{key}"

    @property
    def _named(self) -> dict[str, str]:
        return {"Bucket": self.name, "ExpectedBucketOwner": self._target.account}

    def _make_or_refuse(self, error: ClientError) -> None:
        code = error.response["Error"]["Code"]
        if code == _ELSEWHERE:
            raise self._elsewhere() from error
        if code == _FORBIDDEN:
            what = f"the bucket {self.name} isn't yours: it belongs to another account, or you may not use it"
            raise ConfigurationError(what, self._another("name a bucket of yours: --bucket")) from error
        if code != _MISSING:
            raise error
        if not self._is_ours:
            raise CommandError(f"there is no bucket {self.name}", "make it first, or leave --bucket out") from error
        where = {"LocationConstraint": self._target.region}
        # S3 refuses us-east-1 as a constraint (S3 API reference, CreateBucket).
        asked = {} if self._target.region == "us-east-1" else {"CreateBucketConfiguration": where}
        self._client.create_bucket(Bucket=self.name, ObjectOwnership="BucketOwnerEnforced", **asked)

    def _secure(self) -> None:
        """Make it private, encrypted and TLS only, each time: an earlier run may have ended before that."""
        nobody = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        self._client.put_public_access_block(**self._named, PublicAccessBlockConfiguration=dict.fromkeys(nobody, True))
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        self._client.put_bucket_encryption(**self._named, ServerSideEncryptionConfiguration={"Rules": [rule]})
        arn = f"arn:{partition_of(self._target.region)}:s3:::{self.name}"
        deny = {
            "Sid": "OnlyOverTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
        self._client.put_bucket_policy(**self._named, Policy=policy)

    def _has(self, key: str, checksum: str) -> bool:
        """Whether this very content is there: anyone who can write to the bucket could have replaced it."""
        try:
            found = self._client.head_object(**self._named, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            # Without s3:ListBucket, a missing object is forbidden (S3 API reference, HeadObject).
            if error.response["Error"]["Code"] not in {_MISSING, _FORBIDDEN}:
                raise
            return False
        return bool(found.get("ChecksumSHA256") == checksum)

    def _elsewhere(self) -> ConfigurationError:
        return ConfigurationError(
            f"the bucket {self.name} isn't in {self._target.region}",
            self._another("name one that is: Lambda reads from its own Region"),
        )

    def _another(self, remedy: str) -> str:
        """What to do about a bucket that can't be used: `remedy`, unless nobody can name another one."""
        again = "ask for s3:ListBucket on it, or run it again: the name is a new one each time"
        return again if self._is_new else remedy


@contextmanager
def built() -> Iterator[Path]:
    """The folder that `upload` takes: the wheel's, or one built now from a clone. ConfigurationError if neither."""
    if not installed.is_clone():
        yield installed.artifacts()
        return
    with TemporaryDirectory(prefix="rolekeeper-") as folder:
        _make(Path(folder))
        yield Path(folder) / "artifacts"


def _make(folder: Path) -> None:
    terminal.say("Building what is deployed from this clone: make artifacts")
    line = ["make", "--no-print-directory", "--directory", str(installed.CLONE), "artifacts", f"WHEEL_BUILD={folder}"]
    try:
        # What make says goes to stderr, as stdout is for data.
        ended = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=2, check=False).returncode  # noqa: S603  # our own Makefile
    except FileNotFoundError as error:
        what = "make isn't installed, and a deployment from a clone needs it"
        raise ConfigurationError(what, "install make") from error
    if ended:
        raise ConfigurationError(f"make artifacts failed ({ended})", "see its output above")


def upload(folder: Path, bucket: Bucket) -> str:
    """Upload the artifacts, as `tools/artifacts.py` writes them; returns the template's URL."""
    bucket.ensure()
    keys = {part: bucket.put(name, (folder / name).read_bytes()) for part, name in _PARTS.items()}
    packaged = with_objects(
        (folder / "template.yaml").read_text(), {part: f"s3://{bucket.name}/{key}" for part, key in keys.items()}
    )
    return bucket.url(bucket.put("template.yaml", packaged.encode()))


def with_objects(template: str, objects: dict[str, str]) -> str:
    """The template with S3 objects for what it names in the repository. CommandError if these differ."""
    named = [path for _, path in _LOCAL.findall(template)]
    if sorted(named) != sorted(objects):
        what = f"the template names {', '.join(named)}, and the package has {', '.join(objects)}"
        raise CommandError(what, "install the package again: its parts are of different versions")
    return _LOCAL.sub(lambda found: f"{found[1]}{objects[found[2]]}", template)
