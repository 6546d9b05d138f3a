"""Which of the roles that mappings give include a policy, a baseline, and what they lack of it."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rolekeeper.aws.errors import AwsRefusalError, NotFoundError, classified
from rolekeeper.aws.iam import Document, Policies
from rolekeeper.model.mapping import NO_ROLE
from rolekeeper.permissions.compare import as_many, lacking
from rolekeeper.permissions.policies import Permissions, TooManyRulesError, permissions
from rolekeeper_cli.checks.deployment import DoctorDeployment
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.uses.usage import why


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a role that mappings give includes a baseline: what it lacks of it, or why that isn't known."""

    role: str
    mappings: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    because: str = ""

    def document(self) -> dict[str, Any]:
        """For programs. Where it isn't known, it isn't said that it includes it."""
        return {
            "role": self.role,
            "mappings": list(self.mappings),
            "includes": None if self.because else not self.lacks,
            "lacks": list(self.lacks),
            "unknown_because": self.because or None,
        }


def lacks_in_words(answer: Mapping[str, Any], room: int) -> str:
    """What a role lacks, in so many characters, or why that isn't known."""
    return str(answer["unknown_because"] or as_many("", answer["lacks"], room).strip())


def answers(deployment: DoctorDeployment, wanted: Permissions) -> Iterator[Answer]:
    """Each role that a mapping gives, as its row says or as it is published, by name."""
    reader = deployment.app.roles.policies
    for role, mappings in sorted(deployment.role_users.items()):
        if role == NO_ROLE:
            continue
        answer = Answer(role, tuple(mappings))
        try:
            if reader.role(role) is None:
                answer = replace(answer, because="the role doesn't exist")
            else:
                answer = replace(answer, lacks=lacking(reader.permissions(role), wanted))
        except AwsRefusalError as error:
            answer = replace(answer, because=why(error))
        except TooManyRulesError as error:
            answer = replace(answer, because=str(error))
        yield answer


def document(deployment: DoctorDeployment, policy: str) -> Document:
    """The policy that is meant: by an ARN, by a file (`-` is stdin), or by the name of a managed policy.

    Raises:
        CommandError: there is none.
    """
    if policy.startswith("arn:"):
        found = _managed(deployment, policy)
        if found is None:
            raise CommandError(f"there is no policy {policy}", "see: aws iam list-policies")
        return found
    if policy == "-" or policy.endswith(".json") or "/" in policy or Path(policy).is_file():
        return _read(policy)
    caller, path = deployment.caller, deployment.settings.role_path
    places = (("aws", "/"), ("aws", "/service-role/"), (caller.account, "/"), (caller.account, path))
    for account, place in places:
        arn = f"arn:{caller.partition}:iam::{account}:policy{place}{policy}"
        if (found := _managed(deployment, arn)) is not None:
            return found
    raise CommandError(f"there is no managed policy {policy}", "give its ARN, or a file that ends with .json")


def _managed(deployment: DoctorDeployment, arn: str) -> Document | None:
    """What a managed policy says; None if there is none."""
    iam = deployment.client("iam")
    try:
        with classified("iam:GetPolicy", arn):
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        with classified("iam:GetPolicyVersion", arn):
            found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    except NotFoundError:
        return None
    return found if isinstance(found, Mapping) else {}


def _read(name: str) -> Document:
    try:
        found = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{name} can't be read: {error.strerror}", "give a file, or a policy's name or ARN") from error
    except ValueError as error:
        raise CommandError(f"{name} is no JSON: {error}", "give a policy document, as IAM takes it") from error
    if not isinstance(found, Mapping) or "Statement" not in found:
        raise CommandError(f"{name} is no policy: it has no Statement", "give a policy document, as IAM takes it")
    return found


def wanted(deployment: DoctorDeployment, policy: str) -> Permissions:
    """What a policy allows; its denials are asked of nobody.

    Raises:
        CommandError: there is no such policy, or it says nothing that could be asked.
    """
    found = document(deployment, policy)
    try:
        asked = permissions(Policies((found,)))
    except TooManyRulesError as error:
        raise CommandError(f"{policy} can't be compared: {error}", "split it, and ask about each part") from error
    if not asked.allowed:
        raise CommandError(f"{policy} allows nothing, so every role includes it", "name a policy that allows something")
    return asked
