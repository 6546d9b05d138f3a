"""What can go wrong, as people are told it: one line says what happened, one what to do. And the exit codes.

Those above 251 are the AWS CLI's ("Command line return codes" in its user guide).
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rolekeeper.model.problem import Advice

# Credentials that AWS doesn't know or that have expired (API references, "Common error codes"; DynamoDB and EC2 have
# their own words for it).
BAD_CREDENTIALS = frozenset(
    {"AuthFailure", "IncompleteSignature", "InvalidClientTokenId", "SignatureDoesNotMatch"}
    | {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "UnrecognizedClientException"}
)

# By which a caller looks into another account.
_ASSUME = "sts:AssumeRole"


class ExitCode(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    NO = 1  # it ran, and the answer is no: a bad row, a refusal, a question answered with no
    CHANGES = 2  # only where it was asked for: something would change
    INTERRUPTED = 130
    USAGE = 252
    CONFIGURATION = 253
    SERVICE = 254
    FAILED = 255  # a wait that ran out, or a bug


class CommandError(Exception):
    """A command ends here: what happened, and what to do about it; `details` are what is wrong, one by one."""

    exit_code = ExitCode.NO

    def __init__(self, what: str, remedy: "str | Advice", details: Iterable[str] = ()) -> None:
        super().__init__(f"{what}\n{remedy}")
        self.what = what
        self.remedy = remedy
        self.details = tuple(details)


class UsageError(CommandError):
    """The command line can't be meant."""

    exit_code = ExitCode.USAGE


class ConfigurationError(CommandError):
    """No credentials, no Region, no such stack: AWS can't even be asked."""

    exit_code = ExitCode.CONFIGURATION


class ServiceError(CommandError):
    """AWS refused, or couldn't be reached."""

    exit_code = ExitCode.SERVICE


class WaitTimeoutError(CommandError):
    """What was waited for didn't come in time."""

    exit_code = ExitCode.FAILED


def explained(error: Exception) -> CommandError | None:
    """An error of AWS's or of its SDK in words; None for any other, which is a bug of ours."""
    # Imported once AWS is in use: --help does without.
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    from rolekeeper.aws.errors import AwsRefusalError, classify

    # Of no family of botocore's. A proxy's page, say: it may be long, and in HTML.
    if isinstance(error, ResponseParserError):
        return ServiceError("what answered isn't AWS", "see --endpoint-url and the network: a proxy may answer instead")
    if isinstance(error, ClientError):
        error = classify(error, error.operation_name, "*")
    cause = error.__cause__ if isinstance(error, AwsRefusalError) else error
    if isinstance(cause, BotoCoreError):
        unreachable = ServiceError(f"AWS can't be asked: {_line(cause)}", "see --endpoint-url and the network")
        return _about_setup(cause) or unreachable
    return _about_refusal(error) if isinstance(error, AwsRefusalError) else None


def _about_setup(error: Any) -> ConfigurationError | None:
    from botocore import exceptions

    log_in = "give --profile, set AWS_PROFILE, or run: aws configure"
    kinds: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
        ((exceptions.NoCredentialsError,), "no AWS credentials were found", log_in),
        ((exceptions.ProfileNotFound,), _line(error), "see: aws configure list-profiles"),
        ((exceptions.NoRegionError,), "no Region was given", "give --region, or set AWS_REGION"),
        ((exceptions.InvalidRegionError,), _line(error), "give --region a Region's code, as us-east-1"),
        (
            (exceptions.SSOError, exceptions.TokenRetrievalError),
            f"the sign-in has ended: {_line(error)}",
            "run: aws sso login",
        ),
        (
            (exceptions.PartialCredentialsError, exceptions.CredentialRetrievalError, exceptions.ConfigParseError),
            f"AWS credentials can't be read: {_line(error)}",
            log_in,
        ),
    )
    for types, what, remedy in kinds:
        if isinstance(error, types):
            return ConfigurationError(what, remedy)
    return None


def _about_refusal(error: Any) -> CommandError:
    from rolekeeper.aws.errors import AccessDeniedError, CorruptItemError, RetryableError
    from rolekeeper.model.problem import Kind, Remedy, advice

    if error.code in BAD_CREDENTIALS:
        return ConfigurationError(f"AWS doesn't take these credentials: {_line(error)}", "sign in again: aws sso login")
    if isinstance(error, AccessDeniedError) and error.action == _ASSUME:
        account = error.resource.split(":")[4]
        return ServiceError(
            f"you may not look into account {account}: {_line(error)}",
            advice(
                "see whether it is a target, and the hub may: ",
                Remedy(Kind.TARGETS),
                f"; where you alone may not, have your role among those that {error.resource} trusts (rolekeeper spoke "
                f"deploy --reader ARN), and allowed {_ASSUME} on it; what Rolekeeper did there, rolekeeper history "
                f"shows without",
            ),
        )
    if isinstance(error, AccessDeniedError):
        return ServiceError(
            f"you aren't allowed {error.action} on {error.resource}", "have it allowed, or use another --profile"
        )
    if isinstance(error, CorruptItemError):
        return ServiceError(f"an item of the state table can't be read: {error.message}", "see docs/operations.md")
    what = f"AWS refused {error.action} on {error.resource}: {_line(error)}"
    if isinstance(error, RetryableError):
        return ServiceError(f"AWS gave no answer to {error.action}: {_line(error)}", "try again in a moment")
    return ServiceError(what, "read AWS's words, fix it, and try again")


def _line(error: object) -> str:
    return " ".join(str(error).split())
