"""`rolekeeper roles must-include`: which mapped roles lack a baseline, and what of it."""

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
from rolekeeper_cli import render
from rolekeeper_cli.doctor_deployment import DoctorDeployment
from rolekeeper_cli.errors import CommandError, ExitCode, UsageError
from rolekeeper_cli.roles.last_accessed import why
from rolekeeper_cli.tables import Column, Layout

# What a table says of what a role lacks, and of the mappings that give it, in characters and by number.
_WORDS, _NAMED = 200, 2


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


def must_include(deployment: DoctorDeployment, policy: str) -> ExitCode:
    """Show which mapped roles include a policy; the answer is no if one lacks something, or it isn't known.

    Raises:
        CommandError: there is no such policy, or it says nothing that could be asked.
    """
    wanted = _permissions(document(deployment, policy), policy)
    with deployment.progress(None, "roles read") as progress:
        found = list(progress.over(answers(deployment, wanted)))
    lacking_ = sum(bool(each.lacks) for each in found)
    unknown = sum(bool(each.because) for each in found)
    told = (
        f"{len(found) - lacking_ - unknown:,} of {len(found):,} mapped roles include {policy}; "
        f"{lacking_:,} lack some of it{f', {unknown:,} unknown' if unknown else ''}."
    )
    documents = [each.document() for each in found]
    render.show_list(LAYOUT, documents, empty=lambda: "No mapping gives a role.", total=lambda: told)
    return ExitCode.NO if lacking_ or unknown else ExitCode.DONE


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


def _permissions(document: Document, policy: str) -> Permissions:
    """What a policy allows; its denials are asked of nobody."""
    try:
        wanted = permissions(Policies((document,)))
    except TooManyRulesError as error:
        raise CommandError(f"{policy} can't be compared: {error}", "split it, and ask about each part") from error
    if not wanted.allowed:
        raise CommandError(f"{policy} allows nothing, so every role includes it", "name a policy that allows something")
    return wanted


def _mappings(row: Mapping[str, Any]) -> str:
    more = f" and {len(row['mappings']) - _NAMED} more" if len(row["mappings"]) > _NAMED else ""
    return ", ".join(row["mappings"][:_NAMED]) + more


def _includes(row: Mapping[str, Any]) -> str:
    return "unknown" if row["includes"] is None else "yes" if row["includes"] else "no"


def _lacks(row: Mapping[str, Any]) -> str:
    return row["unknown_because"] or as_many("", row["lacks"], _WORDS).strip()


LAYOUT = Layout(
    (Column("role"), Column("mappings", _mappings, folds=True), Column("includes it", _includes)),
    note=_lacks,
    note_name="lacks",
)
