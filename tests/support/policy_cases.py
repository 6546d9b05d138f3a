"""A policy document with the cases that it has to answer."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekeeper_cli.uses.guard import Arns
from support.policy_simulation import ACCOUNT, FULL_ACCESS, REGION, Document, Policies, Request, simulate

# A deployment, and a person whom no document names.
ARNS = Arns("aws", ACCOUNT, REGION, "/rolekeeper/", "rolekeeper", "mappings", "state")
STRANGER = f"arn:aws:iam::{ACCOUNT}:role/stranger"

type Context = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """What somebody asks, and whether they may. `more` is what they carry beside the document."""

    says: str
    request: Request
    allowed: bool
    more: Sequence[Document] = ()


@dataclass(frozen=True, slots=True)
class Story:
    """A document with all its cases. `scp` says whether it is one, or a policy of those who ask."""

    document: dict[str, Any]
    cases: Sequence[Case]
    scp: bool = False

    def policies(self, document: Document, case: Case) -> Policies:
        if self.scp:
            return Policies(identity=[FULL_ACCESS], scps=[document])
        return Policies(identity=[document, *case.more])

    def changed(self, before: str, after: str, says: str) -> "Story":
        """The document that says something else, with the case that is to go wrong."""
        written = json.dumps(self.document)
        assert before in written
        [case] = [each for each in self.cases if each.says == says]
        return Story(json.loads(written.replace(before, after)), [case], self.scp)


def wrong(stories: Iterable[Story]) -> list[str]:
    """The cases that the documents answer otherwise than they should."""
    asked = [(story, case) for story in stories for case in story.cases]
    answers = simulate([(case.request, story.policies(story.document, case)) for story, case in asked])
    return [case.says for (_, case), answer in zip(asked, answers, strict=True) if answer.allowed != case.allowed]


def may(says: str, request: Request) -> Case:
    return Case(says, request, allowed=True)


def may_not(says: str, request: Request) -> Case:
    return Case(says, request, allowed=False)


def ask(action: str, resource: str, who: str = STRANGER, context: Context | None = None) -> Request:
    return Request(principal=who, action=action, resource=resource, context=context or {})
