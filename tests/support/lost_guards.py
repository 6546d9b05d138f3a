"""What a template's policies answer to the cases of a spec, and which of their guards can be lost unnoticed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from spec.permitted import Case
from support.deployment import Deployment
from support.policy_simulation import ACCOUNT, Policies, Request, simulate
from support.weakenings import weakenings

ANY_ROLE = f"arn:aws:iam::{ACCOUNT}:role/any"


def answered_otherwise(
    cases: Sequence[Case],
    today: Mapping[bool, Deployment],
    asked_of: Callable[[Case, Deployment], tuple[Request, Policies]],
) -> list[str]:
    """The cases that IAM answers otherwise than they say, with its answer; the rest is as in `unnoticed`."""
    answers = simulate([asked_of(case, today[case.takes_over]) for case in cases])
    return [
        f"{case}: {answer}" for case, answer in zip(cases, answers, strict=True) if answer.allowed is not case.allowed
    ]


def unnoticed(
    template: Any,
    today: Mapping[bool, Deployment],
    refused: Sequence[Case],
    asked_of: Callable[[Case, Deployment], tuple[Request, Policies]],
    ours: Collection[Case],
) -> set[str]:
    """The names of the guards whose loss no case notices.

    `today` has the deployments of the translated template, by whether they may take over; `refused` the cases that are
    refused there, of which `ours` are those in which a role of the template asks; `asked_of` is what a case asks.
    """
    before = {case: asked_of(case, today[case.takes_over]) for case in refused}
    lost: dict[str, list[tuple[Request, Policies]]] = {}
    for weakening in weakenings(template, today[False].resources):
        changed_template = weakening.applied(template)
        weaker = {over: each.changed(changed_template, weakening.resource) for over, each in today.items()}
        asked = lost[weakening.name] = []
        for case, (_, policies_before) in before.items():
            if not weakening.concerns(case.action):
                continue
            request, policies = asked_of(case, weaker[case.takes_over])
            # What the role's other policies allow is no more than before.
            changed = [each for each in policies.identity if each not in policies_before.identity]
            if changed and case in ours and policies.resource is None:
                # What several roles share is asked once, as what one of them asks; a resource's policy may name roles.
                request, policies = replace(request, principal=ANY_ROLE), replace(policies, identity=changed)
            if (changed or policies != policies_before) and (request, policies) not in asked:
                asked.append((request, policies))
    answers = iter(simulate([each for asked in lost.values() for each in asked]))
    allowed = {name: sum(answer.allowed for answer in islice(answers, len(asked))) for name, asked in lost.items()}
    assert len(allowed) >= 15
    return {name for name, times in allowed.items() if not times}
