"""What an AWS error means for us: the one place that looks at codes and messages.

Each class names what the caller should do. Sources: docs/AWS_FACTS.md "Errors" and "Throttles".
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError


class AwsRefusalError(Exception):
    """AWS refused a call: its code and message, and the IAM action and the resource for people to act on."""

    # Whether botocore had sent the call before: only the last sending is known to be refused. EC2's mutations take no
    # idempotency token, so an earlier one may have happened.
    possibly_applied = False

    @property
    def throttled(self) -> bool:
        return self.code in THROTTLES

    def __init__(self, code: str, message: str, action: str = "", resource: str = "") -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code, self.message, self.action, self.resource = code, message, action, resource


class RetryableError(AwsRefusalError):
    """Throttled, or AWS had a fault. The same call may succeed later; nothing is known to have changed."""


class NoResponseError(RetryableError):
    """No answer came within the SDK's timeouts: asking again at once would take as long."""


class ConflictError(AwsRefusalError):
    """What we acted on has changed: another actor was faster, or the association id is stale. Read again."""


class StaleTokenError(ConflictError):
    """EC2 no longer accepts the token of a page: read from the first page on."""


class NotReadyError(AwsRefusalError):
    """Too early: the instance changes its state, or IAM still propagates. Wait, for a limited time."""


class NotFoundError(AwsRefusalError):
    """What was named doesn't exist."""


class TransactionCancelledError(RetryableError):
    """DynamoDB cancelled a transaction for no condition, mostly for another on the same item: nothing was written."""


class PermanentError(AwsRefusalError):
    """Waiting won't help: a person must change a configuration."""


class AccessDeniedError(PermanentError):
    """A permission is missing. `action` and `resource` name it."""


class NotRegisteredError(AwsRefusalError):
    """An instance's target has no item in the registry: register it, then look again."""


class CorruptItemError(PermanentError):
    """An item of our own table can't be read: it isn't what we wrote."""


# botocore retries these by itself; seeing one means that its attempts are used up (botocore 1.43 `data/_retry.json`,
# `retries/standard.py`; EC2 API reference, "Error codes"; botocore `data/sns/2010-03-31/service-2.json`).
THROTTLES = frozenset(
    {"Throttling", "ThrottlingException", "Throttled", "ThrottledException", "EC2ThrottledException", "KMSThrottling"}
    | {"RequestThrottled", "RequestThrottledException", "RequestLimitExceeded", "LimitExceededException"}
    | {"BandwidthLimitExceeded", "ProvisionedThroughputExceededException", "TooManyRequestsException"}
    | {"PriorRequestNotComplete", "SlowDown", "TransactionInProgressException"}
)
# EC2 API reference, "Server error codes"; DynamoDB developer guide, "Error handling".
_FAULTS = frozenset(
    {"InternalError", "InternalFailure", "InternalServerError", "RequestTimeout", "RequestTimeoutException"}
    | {"ServiceFailure", "ServiceFailureException", "ServiceUnavailable", "Unavailable"}
    | {"ConcurrentModification", "EntityTemporarilyUnmodifiable", "TransactionConflictException"}
)
# AWS_FACTS.md "Errors": a missing permission, each service in its own words; and a thing that isn't there.
_DENIALS = {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "AuthorizationError", "KMSAccessDenied"}
# The same in another account: its Region is turned off, or the session's role is gone (AWS_FACTS.md "Many accounts").
_DENIALS |= {"AuthFailure", "ExpiredToken", "InvalidClientTokenId", "OptInRequired", "UnrecognizedClientException"}
_ABSENCES = {"InvalidInstanceID.NotFound", "InvalidAssociationID.NotFound", "NoSuchEntity", "ResourceNotFoundException"}
_BY_CODE: dict[str, type[AwsRefusalError]] = {
    **dict.fromkeys(THROTTLES | _FAULTS, RetryableError),
    **dict.fromkeys(_DENIALS, AccessDeniedError),
    **dict.fromkeys(_ABSENCES, NotFoundError),
    "IncorrectInstanceState": NotReadyError,
    "ConditionalCheckFailedException": ConflictError,
    # A name of an execution is taken (Step Functions API reference, `StartExecution`).
    "ExecutionAlreadyExists": ConflictError,
    "InvalidNextToken": StaleTokenError,  # AWS_FACTS.md "Errors"
}

# What a denial names: an ARN, or words as `role web`, `instance profile web`, `policy arn:…` (AWS_FACTS.md "IAM").
# Names of IAM hold dots and commas, so an ARN ends at a space; a sentence's own full stop comes off it after that.
_NOT_AUTHORIZED = re.compile(
    r"not authorized to perform:? (?P<action>[a-z0-9-]+:[A-Za-z]+)(?: on resource:?(?: [a-z]+){0,2} (?P<arn>arn:\S+))?",
    re.IGNORECASE,
)

# AWS_FACTS.md "Errors"; terraform-provider-aws #838 and #3055: a profile that isn't visible yet.
_PROPAGATING = ("invalid iam instance profile name", "invalid iam instance profile arn", "has no associated iam roles")

# The same.
_STALE_TOKEN = "parameter nexttoken is invalid"  # noqa: S105  # AWS's words


@contextmanager
def classified(action: str, resource: str, *passing: str) -> Iterator[None]:
    """Classify what the SDK raises within one call to AWS; see `classify`."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise classify(error, action, resource, *passing) from error


def classify(error: ClientError | BotoCoreError, action: str, resource: str, *passing: str) -> AwsRefusalError:
    """Return an SDK error as what to do about it. With a `passing` code this very call may succeed later."""
    if not isinstance(error, ClientError):
        # A connection that broke or timed out: the call may or may not have happened.
        return NoResponseError(type(error).__name__, str(error), action, resource=resource)
    answer: Mapping[str, Any] = error.response
    details = answer.get("Error", {})
    code, message = details.get("Code", "Unknown"), details.get("Message", "")
    kind = RetryableError if code in passing else _kind(code, message.lower(), answer)
    if kind is AccessDeniedError and (found := _NOT_AUTHORIZED.search(message)):
        # EC2 encodes its message: there it stays with what was asked.
        action, resource = found["action"], (found["arn"] or resource).rstrip(".,")
    refusal = kind(code, message, action, resource=resource)
    # botocore counts its own retries (botocore 1.43 `endpoint.py`, `_send_request`).
    refusal.possibly_applied = answer.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0
    return refusal


def _kind(code: str, message: str, answer: Mapping[str, Any]) -> type[AwsRefusalError]:
    if code in _BY_CODE:
        return _BY_CODE[code]
    if code == "TransactionCanceledException":
        # It says per item why it was cancelled (DynamoDB API reference, `TransactWriteItems`).
        reasons = {reason.get("Code") for reason in answer.get("CancellationReasons", ())}
        if reasons & {"ValidationError", "ItemCollectionSizeLimitExceeded"}:
            return PermanentError
        return ConflictError if "ConditionalCheckFailed" in reasons else TransactionCancelledError
    if code == "IncorrectState":
        # "existing association", "not the active association" (aws-cli #5251); or IAM still propagating an instance's
        # own identity profile (terraform-provider-aws #12533).
        return NotReadyError if "instanceidentityprofilenotfound" in message.replace(" ", "") else ConflictError
    if code == "InvalidParameterValue" and any(words in message for words in _PROPAGATING):
        return NotReadyError
    if code == "InvalidParameterValue" and _STALE_TOKEN in message:
        return StaleTokenError
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return RetryableError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else PermanentError
