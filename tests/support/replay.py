"""Replays a report of `rolekeeper verify`: AWS's answers in it go through the code that reads them in production."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from jsonschema import Draft202012Validator

from fakes.ec2 import EC2_META
from rolekeeper.aws.ec2 import Ec2
from rolekeeper.aws.errors import (
    AccessDeniedError,
    AwsRefusalError,
    ConflictError,
    NotFoundError,
    NotReadyError,
    PermanentError,
    RetryableError,
    StaleTokenError,
    classify,
)
from rolekeeper.instances.decide import Observation
from rolekeeper.instances.observe import observe
from rolekeeper.instances.requests import DroppedError, parse
from rolekeeper.model.instance import Association, AssociationState, InstanceKey, InstanceState, Target
from rolekeeper.storage.state import Snapshot
from rolekeeper_cli.shell.documents import as_json
from rolekeeper_cli.shell.view import schema_of
from rolekeeper_verify.redact import redacted
from rolekeeper_verify.view import FORMAT, Answer, Outcome, Probe, Report, Step

# AWS_FACTS.md "Errors": each code, words of its message where the code alone doesn't say it, and what it means.
REFUSALS: tuple[tuple[str, str, type[AwsRefusalError]], ...] = (
    ("IncorrectInstanceState", "", NotReadyError),
    ("IncorrectState", "existing association", ConflictError),
    ("IncorrectState", "not the active association", ConflictError),
    ("IncorrectState", "InstanceIdentityProfileNotFound", NotReadyError),
    ("InvalidParameterValue", "Invalid IAM Instance Profile", NotReadyError),
    ("InvalidParameterValue", "has no associated IAM Roles", NotReadyError),
    ("InvalidParameterValue", "NextToken is invalid", StaleTokenError),
    ("InvalidParameterValue", "filter", PermanentError),
    ("InvalidInstanceID.NotFound", "", NotFoundError),
    ("InvalidAssociationID.NotFound", "", NotFoundError),
    ("InvalidNextToken", "", StaleTokenError),
    ("UnauthorizedOperation", "", AccessDeniedError),
    ("RequestLimitExceeded", "", RetryableError),
)
# AWS_FACTS.md "Attach, replace, detach": the state that each change answers with.
CHANGES = {
    "AssociateIamInstanceProfile": AssociationState.ASSOCIATING,
    "ReplaceIamInstanceProfileAssociation": AssociationState.ASSOCIATING,
    "DisassociateIamInstanceProfile": AssociationState.DISASSOCIATING,
}
READS = ("DescribeIamInstanceProfileAssociations", "DescribeInstances")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
# What is read of the state table: nothing is published, and nothing was done yet.
NO_STATE: Any = SimpleNamespace(read=lambda *_, **__: Snapshot())

FORM = {
    "allOf": [
        schema_of(Report),
        {"properties": {"rolekeeper_verify": {"const": FORMAT}, "id": {"pattern": "^[a-z0-9]{6}$"}}},
    ]
}


class Replay:
    """One report, replayed.

    Attributes:
        problems: what the code makes of it otherwise than docs/AWS_FACTS.md says, each with its file and place.
        counts: how many answers, refusals and events went through the code.
    """

    def __init__(self, file: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.problems = [f"{file.name}: {each}" for each in self._problems(file)]

    def _problems(self, file: Path) -> Iterator[str]:
        try:
            document = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            yield f"it isn't JSON: {error}"
            return
        wrong = [f"{each.json_path}: {each.message}" for each in Draft202012Validator(FORM).iter_errors(document)]
        yield from wrong
        if not wrong:
            yield from _unredacted(document)
            yield from self._answers(document)
            yield from self._events(document)

    def _answers(self, document: Mapping[str, Any]) -> Iterator[str]:
        answered = _Answered(document["region"])
        for number, each in enumerate(document["answers"]):
            operation, answer = each["operation"], each["answer"]
            if operation not in (*CHANGES, *READS):
                continue
            refused = "Error" in answer
            self.counts["refusals" if refused else "answers"] += 1
            try:
                found = _refused(operation, answer) if refused else answered.replay(operation, each["asked"], answer)
                yield from (f"$.answers[{number}]: {operation}: {problem}" for problem in found)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                yield f"$.answers[{number}]: {operation}: it can't be read: {error!r}"

    def _events(self, document: Mapping[str, Any]) -> Iterator[str]:
        for number, event in enumerate(document["events"]):
            self.counts["events"] += 1
            try:
                request = parse(event, only=Target(str(event.get("account")), document["region"]), now=NOW)
            except DroppedError as dropped:
                yield f"$.events[{number}]: Rolekeeper drops it: {dropped}"
                continue
            if not request.changed_tags and request.cause.removeprefix("instance ") not in {
                *InstanceState,
                "tags changed",
            }:
                yield f"$.events[{number}]: an unknown state: {request.cause}"


def _unredacted(document: Mapping[str, Any]) -> Iterator[str]:
    """Where redaction would change the report: somebody edited it, or it comes from another version."""
    report = Report.of(
        **{name: document[name] for name in ("id", "version", "region", "began", "events", "left")},
        steps=[Step(**{**each, "outcome": Outcome(each["outcome"])}) for each in document["steps"]],
        probes=[Probe(**{**each, "outcome": Outcome(each["outcome"])}) for each in document["probes"]],
        answers=[Answer(**each) for each in document["answers"]],
    )
    plain = json.loads(as_json(redacted(report)))
    for name, value in document.items():
        items = enumerate(zip(value, plain[name], strict=False)) if isinstance(value, list) else ()
        places = [f"$.{name}[{number}]" for number, (each, other) in items if each != other]
        if value != plain[name]:
            place = places[0] if places else f"$.{name}"
            yield f"{place}: it isn't as redaction leaves it: edited, or of another version"


def _refused(operation: str, answer: Any) -> Iterator[str]:
    code, message = answer["Error"]["Code"], answer["Error"]["Message"]
    found = type(classify(ClientError(answer, operation), f"ec2:{operation}", "*"))
    kinds = {kind for known, words, kind in REFUSALS if known == code and words.lower() in message.lower()}
    if not kinds:
        yield f"docs/AWS_FACTS.md doesn't know {code} with this message: {message}"
    elif found not in kinds:
        yield f"{code} is taken for {found.__name__}: {message}"


class _Answered:
    """What EC2 answered so far, as a client that gives the last answer to each operation."""

    meta = EC2_META

    def __init__(self, region: str) -> None:
        self._ec2 = Ec2(self, "000000000001", region)  # type: ignore[arg-type]  # the calls that it makes
        self._last: dict[str, Any] = {"Reservations": [], "IamInstanceProfileAssociations": []}
        # What each association was of: it never is of anything else.
        self._known: dict[str, tuple[str, str]] = {}

    def get_paginator(self, _name: str) -> "_Answered":
        return self

    def paginate(self, **_asked: Any) -> list[Any]:
        return [self._last]

    def __getattr__(self, _operation: str) -> Any:
        return lambda **_: self._last

    def replay(self, operation: str, asked: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[str]:
        self._last |= answer
        if operation in CHANGES:
            yield from self._changed(operation, asked, answer)
        else:
            yield from self._observed()

    def _changed(self, operation: str, asked: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[str]:
        key = self._key(answer["IamInstanceProfileAssociation"]["InstanceId"])
        if operation == "AssociateIamInstanceProfile":
            found = self._ec2.associate(key, asked["IamInstanceProfile"]["Arn"])
        elif operation == "ReplaceIamInstanceProfileAssociation":
            found = self._ec2.replace(key, asked["AssociationId"], asked["IamInstanceProfile"]["Arn"])
            if found.id == asked["AssociationId"]:
                yield f"the association kept its id {found.id}; a replace gives a new one"
        else:
            found = self._ec2.disassociate(key, asked["AssociationId"])
            if found.id != asked["AssociationId"]:
                yield f"the association {asked['AssociationId']} became {found.id}"
        if found.state is not CHANGES[operation]:
            yield f"the association is {found.state}, not {CHANGES[operation]}"
        yield from self._same_as_ever(found)

    def _observed(self) -> Iterator[str]:
        instances = [each for group in self._last["Reservations"] for each in group["Instances"]]
        rows = self._last["IamInstanceProfileAssociations"]
        keys = [self._key(each["InstanceId"]) for each in (*instances, *rows)]
        observed = observe(keys, self._ec2, NO_STATE, now=NOW)
        live = {each["InstanceId"] for each in rows if each["State"] != AssociationState.DISASSOCIATED}
        for key, found in observed.items():
            assert isinstance(found, Observation), "nothing was read that could be unreadable"
            if bool(found.association) is not (key.id in live):
                yield f"{key.id} is taken to have {found.association}"
            if found.association:
                yield from self._same_as_ever(found.association)

    def _same_as_ever(self, association: Association) -> Iterator[str]:
        now = (association.instance_id, association.profile_arn)
        before = self._known.setdefault(association.id, now)
        if before != now:
            yield f"the association {association.id} was of {' and '.join(before)}, and is of {' and '.join(now)}"

    def _key(self, instance_id: str) -> InstanceKey:
        return InstanceKey(self._ec2.account, self._ec2.region, instance_id)
