"""What an AWS error means: each row of AWS_FACTS.md "Errors", with AWS's own words."""

from typing import Any
from unittest.mock import Mock

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from fakes.ec2 import client_error
from rolekeeper.aws import CONFIG
from rolekeeper.aws.ec2 import Ec2
from rolekeeper.aws.errors import (
    AccessDeniedError,
    AwsRefusalError,
    ConflictError,
    NoResponseError,
    NotFoundError,
    NotReadyError,
    PermanentError,
    RetryableError,
    StaleTokenError,
    TransactionCancelledError,
    classify,
)
from strategies.values import KEY

FOR_PROFILE = "Value (web) for parameter iamInstanceProfile"
SAID: dict[type[AwsRefusalError], list[tuple[str, str]]] = {
    NotReadyError: [
        ("IncorrectInstanceState", "The instance 'i-0123456789abcdef0' is not in the 'running' or 'stopped' states."),
        ("IncorrectState", "Could not find InstanceIdentityProfileNotFound for instance"),
        ("IncorrectState", "Instance Identity Profile Not Found"),
        ("InvalidParameterValue", f"{FOR_PROFILE}.name is invalid. Invalid IAM Instance Profile name"),
        ("InvalidParameterValue", f"{FOR_PROFILE}.arn is invalid. Invalid IAM Instance Profile ARN"),
        ("InvalidParameterValue", 'IAM Instance Profile "arn:…/web" has no associated IAM Roles'),
    ],
    ConflictError: [
        ("IncorrectState", "There is an existing association for instance i-0123456789abcdef0"),
        ("IncorrectState", "The association iip-assoc-028d is not the active association"),
        ("ExecutionAlreadyExists", "Execution Already Exists: 'arn:…'"),
        ("ConditionalCheckFailedException", "The conditional request failed"),
    ],
    StaleTokenError: [
        ("InvalidNextToken", "The token is not valid"),
        ("InvalidParameterValue", "Value (x) for parameter NextToken is invalid. The token is invalid."),
    ],
    NotFoundError: [
        ("InvalidInstanceID.NotFound", "The instance ID 'i-0123456789abcdef0' does not exist"),
        ("InvalidAssociationID.NotFound", "An invalid association-id of 'iip-assoc-028d' was given"),
        ("NoSuchEntity", "Instance Profile web cannot be found."),
        ("ResourceNotFoundException", "Requested resource not found"),
    ],
    PermanentError: [
        ("InvalidParameterValue", "The filter 'instance-id' has no values"),
        ("LimitExceeded", "Cannot exceed quota for InstanceProfilesPerAccount: 1000"),
        ("ValidationException", ""),
        ("InvalidAMIID.NotFound", ""),
    ],
}


@pytest.mark.parametrize(("kind", "code", "message"), [(kind, *said) for kind in SAID for said in SAID[kind]])
def test_each_error_says_what_to_do(kind: type[AwsRefusalError], code: str, message: str) -> None:
    found = classify(client_error(code, message), "ec2:Some", "i-1")
    assert type(found) is kind
    assert (found.code, found.message) == (code, message)
    assert (found.action, found.resource) == ("ec2:Some", "i-1")


# Each service has words of its own for the same: all of them, so that none is lost.
THROTTLED = """
    BandwidthLimitExceeded EC2ThrottledException KMSThrottling LimitExceededException PriorRequestNotComplete
    ProvisionedThroughputExceededException RequestLimitExceeded RequestThrottled RequestThrottledException SlowDown
    Throttled ThrottledException Throttling ThrottlingException TooManyRequestsException TransactionInProgressException
"""
FAULTS = """
    ConcurrentModification EntityTemporarilyUnmodifiable InternalError InternalFailure InternalServerError
    RequestTimeout RequestTimeoutException ServiceFailure ServiceFailureException ServiceUnavailable
    TransactionConflictException Unavailable
"""
DENIALS = """
    AccessDenied AccessDeniedException AuthFailure AuthorizationError ExpiredToken InvalidClientTokenId KMSAccessDenied
    OptInRequired UnauthorizedOperation UnrecognizedClientException
"""


@pytest.mark.parametrize("code", [*THROTTLED.split(), *FAULTS.split()])
def test_every_throttle_and_fault_is_tried_again_and_only_throttles_slow_down(code: str) -> None:
    found = classify(client_error(code), "ec2:Some", "i-1")
    assert type(found) is RetryableError
    assert found.throttled is (code in THROTTLED.split())


@pytest.mark.parametrize("code", DENIALS.split())
def test_every_denial_is_one(code: str) -> None:
    assert type(classify(client_error(code), "ec2:Some", "i-1")) is AccessDeniedError


def test_a_fault_of_an_unknown_name_is_known_by_its_status() -> None:
    assert type(classify(client_error("Oops", status=503), "ec2:Some", "i-1")) is RetryableError
    assert type(classify(client_error("Oops", status=400), "ec2:Some", "i-1")) is PermanentError


@pytest.mark.parametrize("error", [ReadTimeoutError, ConnectTimeoutError, EndpointConnectionError])
def test_a_broken_connection_is_tried_again(error: Any) -> None:
    found = classify(error(endpoint_url="https://ec2"), "ec2:Some", "i-1")
    assert type(found) is NoResponseError
    assert isinstance(found, RetryableError)
    assert found.code == error.__name__


@pytest.mark.parametrize(
    ("reasons", "kind"),
    [
        (("None", "ConditionalCheckFailed"), ConflictError),
        (("TransactionConflict", "None"), TransactionCancelledError),
        (("ThrottlingError", "None"), TransactionCancelledError),
        ((), TransactionCancelledError),
        (("ValidationError", "None"), PermanentError),
        (("ItemCollectionSizeLimitExceeded",), PermanentError),
    ],
)
def test_a_cancelled_transaction_is_known_by_the_reasons_of_its_items(
    reasons: tuple[str, ...], kind: type[AwsRefusalError]
) -> None:
    error = client_error("TransactionCanceledException", "Transaction cancelled, please refer cancellation reasons")
    error.response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    assert type(classify(error, "dynamodb:TransactWriteItems", "table")) is kind


# ---- denials: people need the action and the resource ----

ROLE = "arn:aws:iam::123456789012:role/rolekeeper/web"

ASKED = "ec2:AssociateIamInstanceProfile", "arn:aws:ec2:…:instance/i-1"
POLICY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
DENIED = "is not authorized to perform:"
BECAUSE = "because no identity-based policy allows the action"
ENCODED = "You are not authorized to perform this operation. Encoded authorization failure message: 4f-5k"


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (f"User: x {DENIED} iam:PassRole on resource: {ROLE}", ("iam:PassRole", ROLE)),
        (f"User: x {DENIED} iam:PassRole on resource: {ROLE} {BECAUSE}", ("iam:PassRole", ROLE)),
        (f"You are not. User: x {DENIED} iam:PassRole on resource: {ROLE}. Encoded", ("iam:PassRole", ROLE)),
        (f"User: x {DENIED} iam:PassRole on resource: {ROLE}.prod,eu {BECAUSE}", ("iam:PassRole", f"{ROLE}.prod,eu")),
        (f"User: x {DENIED} iam:GetPolicy on resource: policy {POLICY} with an explicit", ("iam:GetPolicy", POLICY)),
        (f"User: x {DENIED} ec2:Replace", ("ec2:Replace", ASKED[1])),
        # IAM's own calls name the resource in words; two refused roles must stay two.
        *(
            (f"User: x {DENIED} iam:GetRole on resource: {each} {BECAUSE}", ("iam:GetRole", ASKED[1]))
            for each in ("role web", "instance profile web", "user web", "web")
        ),
        (ENCODED, ASKED),
    ],
)
def test_a_denial_names_the_action_and_the_resource_that_its_message_or_the_call_names(
    message: str, named: tuple[str, str]
) -> None:
    found = classify(client_error("AccessDenied", message), *ASKED)
    assert isinstance(found, AccessDeniedError)
    assert (found.action, found.resource) == named


def test_an_error_reads_as_aws_said_it() -> None:
    assert str(classify(client_error("Code", "words"), "a:B", "r")) == "Code: words"
    assert str(classify(client_error("Code", ""), "a:B", "r")) == "Code"


# ---- what botocore sent twice ----


def _answers(client: Any, *answers: tuple[int, str]) -> None:
    """Let a real client hear these answers, one for each time that it sends."""
    left = list(answers)

    def answer(request: Any, **_: Any) -> AWSResponse:
        status, code = left.pop(0)
        body = f"<Response><Errors><Error><Code>{code}</Code><Message>words</Message></Error></Errors></Response>"
        return AWSResponse(request.url, status, HTTPHeaders(), Mock(stream=lambda: [body.encode()]))

    client.meta.events.register("before-send.ec2", answer)


@pytest.mark.parametrize(
    ("answers", "possibly_applied"),
    [([(400, "IncorrectState")], False), ([(503, "Unavailable"), (400, "IncorrectState")], True)],
)
def test_an_error_tells_whether_botocore_had_sent_the_call_before(
    monkeypatch: pytest.MonkeyPatch, answers: list[tuple[int, str]], *, possibly_applied: bool
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    client = boto3.client("ec2", region_name="us-east-1", config=CONFIG)
    _answers(client, *answers)
    with pytest.raises(ConflictError) as refused:
        Ec2(client, KEY.account, KEY.region).associate(KEY, "arn:aws:iam::1:instance-profile/web")
    assert refused.value.possibly_applied is possibly_applied
