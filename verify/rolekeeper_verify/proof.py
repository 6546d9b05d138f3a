"""What proves that a thing is a verification's: its own record of its calls, and CloudFormation's events of its stacks.

A tag or a name proves nothing: anybody may use it. The record is kept in the verification's bucket, and says what is
made before the call that makes it. An instance has the client token of its launch, which nobody can set afterwards.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from rolekeeper.aws.errors import PermanentError
from rolekeeper_verify.aws import Aws
from rolekeeper_verify.names import Names

# What CloudFormation calls its resources; a launch by its token is none of them.
STACK, BUCKET, INSTANCE, LAUNCH = "AWS::CloudFormation::Stack", "AWS::S3::Bucket", "AWS::EC2::Instance", "launch"
VOLUME, PROFILE, RULE = "AWS::EC2::Volume", "AWS::IAM::InstanceProfile", "AWS::Events::Rule"
LOG_GROUP = "AWS::Logs::LogGroup"
# The object of the bucket that holds the record.
RECORD = "made.json"
# How wrong the machine's clock may be: beyond this AWS refuses its calls.
_SKEW = timedelta(minutes=15)
_DELETED, _ONCE = "DELETE_COMPLETE", datetime(1970, 1, 1, tzinfo=UTC)
_EVENTS = "StackEvents[].{type: ResourceType, ref: PhysicalResourceId, at: Timestamp, status: ResourceStatus}"

type Key = tuple[str, str]
"""A type, and the name or id of one thing."""


@dataclass
class Record:
    """What a verification has made, or was about to make, and when; each addition is kept at once."""

    names: Names
    made: dict[Key, datetime] = field(default_factory=dict)
    keep: Callable[[str], object] = lambda _text: None  # keeps the record as a text, once there is a bucket

    def add(self, type_: str, ref: str, at: datetime) -> None:
        if (type_, ref) not in self.made:
            self.made[type_, ref] = at
            self.keep(self.text())

    def token(self, at: datetime) -> str:
        """A client token for one launch; an answer that is lost can be asked for again by it."""
        token = f"{self.names.stack}-{secrets.token_hex(16)}"
        self.add(LAUNCH, token, at)
        return token

    def refs(self, type_: str) -> list[str]:
        return [ref for kind, ref in self.made if kind == type_]

    def keep_in(self, aws: Aws, bucket: str) -> None:
        """Keep it in the verification's bucket from now on."""
        asked = {"Bucket": bucket, "Key": RECORD, "ExpectedBucketOwner": aws.account}
        self.keep = lambda text: aws.call("s3:PutObject", **asked, Body=text.encode())

    def text(self) -> str:
        return json.dumps({"id": self.names.id, "made": [[*key, at.isoformat()] for key, at in self.made.items()]})

    @classmethod
    def read(cls, aws: Aws, names: Names, bucket: str) -> Self | None:
        """The record that this verification wrote into a bucket; None: none. AwsRefusalError if it can't be read."""
        try:
            asked = {"Bucket": bucket, "Key": RECORD, "ExpectedBucketOwner": aws.account}
            document = json.loads(aws.call("s3:GetObject", **asked)["Body"].read())
            made = {(type_, ref): datetime.fromisoformat(at) for type_, ref, at in document["made"]}
        except PermanentError as error:
            if error.code not in {"NoSuchKey", "NoSuchBucket"}:
                raise
            made = {}
        except (ValueError, KeyError, TypeError):
            made = {}
        if (BUCKET, bucket) not in made:
            if not begun(bucket):
                return None
            made = {(BUCKET, bucket): _ONCE}
        return cls(names, made)


# ---- the bucket itself, before and after it holds the record ----


def begun(bucket: str) -> bool:
    """Whether this machine was about to make a bucket, or to delete it, and it hasn't gone since."""
    return _file(bucket).exists()


def begin(bucket: str) -> None:
    with suppress(OSError):  # without it, a bucket that has no record yet is shown, and stays
        _file(bucket).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _file(bucket).touch()


def end(bucket: str) -> None:
    with suppress(OSError):
        _file(bucket).unlink(missing_ok=True)


def _file(bucket: str) -> Path:
    root = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(root) / "rolekeeper/verify" / bucket


@dataclass(frozen=True, slots=True)
class Proof:
    """A record, and what CloudFormation's events say of its stacks: when a thing was made first, and deleted last."""

    record: Record
    made: Mapping[Key, datetime] = field(default_factory=dict)
    deleted: Mapping[Key, datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, aws: Aws, record: Record, key_of: Callable[[str, str], str]) -> Self:
        """Ask CloudFormation what the stacks of a record have made; `key_of` gives the key of a type's physical id.

        AwsRefusalError if the caller may not ask.
        """
        made, deleted = dict[Key, datetime](), dict[Key, datetime]()
        # A record that another actor wrote can name no stack but this verification's.
        own = tuple(f":stack/{name}/" for name in (record.names.stack, record.names.scene))
        for stack in (id_ for id_ in record.refs(STACK) if any(each in id_ for each in own)):
            for event in _events(aws, stack):
                key, at = (event["type"], key_of(event["type"], event["ref"] or "")), event["at"]
                made[key] = min(made.get(key, at), at)
                if event["status"] == _DELETED:
                    deleted[key] = max(deleted.get(key, at), at)
        return cls(record, made, deleted)

    def covers(self, keys: Iterable[Key], since: datetime | None) -> bool:
        """Whether a thing with these keys, which was made then, is the verification's."""
        found = [self._has(key, since) for key in keys]
        return bool(found) and all(found)

    def _has(self, key: Key, since: datetime | None) -> bool:
        """Whether one was made; one of its name that is older, or was made when it had gone, is another."""
        made, deleted = self.record.made.get(key) or self.made.get(key), self.deleted.get(key)
        if made is None:
            return False
        return since is None or (since >= made - _SKEW and not (deleted and since > deleted))


def _events(aws: Aws, stack_id: str) -> Iterable[Mapping[str, Any]]:
    try:
        return list(aws.items("cloudformation:DescribeStackEvents", _EVENTS, StackName=stack_id))
    except PermanentError as error:
        # CloudFormation forgets a deleted stack after 90 days, and has no code of its own for that.
        if error.code != "ValidationError":
            raise
        return []
