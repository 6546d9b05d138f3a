"""The errors of AWS and of its SDK for people: what happened, and what to do."""

import re
from collections.abc import Mapping
from typing import Any

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, CorruptItemError, RetryableError, classify
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.errors import CommandError, ConfigurationError, ServiceError

# Credentials that AWS doesn't know or that have expired (API references, "Common error codes"; DynamoDB and EC2 have
# their own words for it).
BAD_CREDENTIALS = frozenset(
    {"AuthFailure", "IncompleteSignature", "InvalidClientTokenId", "SignatureDoesNotMatch"}
    | {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "UnrecognizedClientException"}
)
_PAGE = re.compile(rb"\s*(<\?xml[^>]*>\s*)?<(!doctype\s+)?html\b", re.IGNORECASE)
# By which a caller reads another account.
_ASSUME = "sts:AssumeRole"


class ForeignAnswerError(BotoCoreError):
    """A page of HTML in place of AWS's answer: of a captive portal or a proxy, for example."""

    fmt = "a page of HTML came in place of an answer"


def refuse_foreign(response_dict: Mapping[str, Any], **_: object) -> None:
    """Raise ForeignAnswerError for a page: the SDK takes one with status 200 for an empty answer of most services."""
    body = response_dict["body"]
    is_page = "text/html" in response_dict["headers"].get("content-type", "")
    if is_page or (isinstance(body, bytes) and _PAGE.match(body)):
        raise ForeignAnswerError


def explained(error: Exception) -> CommandError | None:
    """An error of AWS or its SDK; None for any other, which is a bug of ours."""
    if isinstance(error, ClientError):
        error = classify(error, error.operation_name, "*")
    cause = error.__cause__ if isinstance(error, AwsRefusalError) else error
    if isinstance(cause, ForeignAnswerError | ResponseParserError):
        return ServiceError("what answered isn't AWS", "see --endpoint-url and the network: a proxy may answer instead")
    if isinstance(cause, BotoCoreError):
        unreachable = ServiceError(f"AWS can't be reached: {_line(cause)}", "see --endpoint-url and the network")
        return _about_setup(cause) or unreachable
    return _about_refusal(error) if isinstance(error, AwsRefusalError) else None


def refusal(error: AwsRefusalError) -> CommandError:
    found = explained(error)
    assert found is not None  # it is AWS's refusal
    return found


def why_unseen(error: AwsRefusalError) -> CommandError:
    """Why a target couldn't be read, and what to do."""
    found = refusal(error)
    if isinstance(error, AccessDeniedError) and error.action == _ASSUME:
        # AWS's own message names the account; here one reason stands for many.
        return CommandError("you may not look there", found.remedy)
    return found


def _about_setup(error: Exception) -> ConfigurationError | None:
    log_in = "give --profile, set AWS_PROFILE, or run: aws configure"
    match error:
        case exceptions.NoCredentialsError():
            return ConfigurationError("no AWS credentials were found", log_in)
        case exceptions.ProfileNotFound():
            return ConfigurationError(_line(error), "see: aws configure list-profiles")
        case exceptions.NoRegionError():
            return ConfigurationError("no Region was given", "give --region, or set AWS_REGION")
        case exceptions.InvalidRegionError():
            return ConfigurationError(_line(error), "give the code of a Region, such as us-east-1, with --region")
        case exceptions.SSOError() | exceptions.TokenRetrievalError():
            return ConfigurationError(f"the sign-in has ended: {_line(error)}", "run: aws sso login")
        case (
            exceptions.PartialCredentialsError() | exceptions.CredentialRetrievalError() | exceptions.ConfigParseError()
        ):
            return ConfigurationError(f"AWS credentials can't be read: {_line(error)}", log_in)
    return None


def _about_refusal(error: AwsRefusalError) -> CommandError:
    if error.code in BAD_CREDENTIALS:
        return ConfigurationError(f"AWS doesn't take these credentials: {_line(error)}", "sign in again: aws sso login")
    if isinstance(error, AccessDeniedError) and error.action == _ASSUME:
        account = error.resource.split(":")[4]
        return ServiceError(
            f"you aren't allowed to read account {account}: {_line(error)}",
            advice(
                "check that it is a target, and that the hub may read it: ",
                Remedy(Kind.TARGETS),
                f"; if only you may not, {error.resource} has to be there, which it isn't in a spoke of an earlier "
                "version, and to trust your role: deploy the spoke again by rolekeeper spoke deploy --reader ARN. Your "
                f"role needs {_ASSUME} on it. rolekeeper history needs neither",
            ),
        )
    if isinstance(error, AccessDeniedError):
        return ServiceError(
            f"you aren't allowed {error.action} on {error.resource}",
            "ask for that permission, or use another --profile",
        )
    if isinstance(error, CorruptItemError):
        return ServiceError(f"an item of the state table can't be read: {error.message}", "see docs/operations.md")
    if isinstance(error, RetryableError):
        return ServiceError(f"AWS gave no answer to {error.action}: {_line(error)}", "try again in a moment")
    what = f"AWS refused {error.action} on {error.resource}: {_line(error)}"
    return ServiceError(what, "fix what AWS reports, and try again")


def _line(error: object) -> str:
    return " ".join(str(error).split())
