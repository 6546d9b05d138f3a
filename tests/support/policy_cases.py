"""A policy document with the cases that it has to answer, and whether they notice when it is weakened."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekeeper_cli.uses.guard import Arns
from support.policy_mutants import mutants
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

    def unnoticed(self) -> list[str]:
        """What can be left out of the document without a case that goes wrong."""
        weaker = [*self._weaker()]
        asked = [(said, document, case) for said, document, cases in weaker for case in cases]
        answers = simulate([(case.request, self.policies(document, case)) for _, document, case in asked])
        found = zip(asked, answers, strict=True)
        noticed = {said for (said, _, case), answer in found if answer.allowed != case.allowed}
        return [said for said, *_ in weaker if said not in noticed]

    def _weaker(self) -> Iterable[tuple[str, Document, Sequence[Case]]]:
        """The document without one thing, in every way, with the cases that may notice.

        What allows is looked at without what denies: each has to hold alone, as AWS may one day know a way of writing
        that no Deny here names. What denies shows where another policy allows.
        """
        allows = [each for each in self.document["Statement"] if each["Effect"] == "Allow"]
        denies = [each for each in self.document["Statement"] if each["Effect"] == "Deny"]
        alone = [case for case in self.cases if not case.more]
        with_more = [case for case in self.cases if case.more] or self.cases
        for statements, others, cases in ((allows, [], alone), (denies, allows, with_more)):
            for said, touched, document in mutants({**self.document, "Statement": statements}):
                may_notice = [case for case in cases if case.request.action in touched]
                yield said, {**document, "Statement": [*others, *document["Statement"]]}, may_notice


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
