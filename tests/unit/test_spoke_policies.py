"""IAM's answer to each request of `spec.permitted_in_spokes`, and that no guard of spoke.yaml can be lost unnoticed."""

import functools
from typing import Any

from spec.permitted import KEYS, Case
from spec.permitted_in_spokes import CASES, FORWARDER, HUB, NOTIFIER, OPERATORS, ROLES, SPOKE_PLACES
from support.deployment import Deployment, deployment, translated
from support.lost_guards import answered_otherwise, unnoticed
from support.policy_simulation import ACCOUNT, FULL_ACCESS, REGION, Document, Policies, Request, needs_node
from support.templates import allowed_actions

# Others let us do everything, where their resources can say so: it is no guard of ours.
EVERYTHING: Document = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}],
}


def _asked(case: Case, deployed: Deployment) -> tuple[Request, Policies]:
    identity: tuple[Document, ...] = ()
    principal = deployed.arns.get(case.who, case.who)
    if case.who in ROLES:
        identity = deployed.identity_policies(case.who)
    elif principal.startswith("arn:"):
        # Whatever the caller's own account allows it.
        identity = (FULL_ACCESS,)
    resource = deployed.arns.get(case.on) or SPOKE_PLACES[case.on]
    account = resource.split(":")[4] if resource != "*" else ACCOUNT
    account = ACCOUNT if account == "aws" else account
    theirs = EVERYTHING if account != ACCOUNT else None
    policy = deployed.resource_policy(case.on) if case.on in ROLES else theirs
    context = {KEYS[key]: SPOKE_PLACES.get(str(value), value) for key, value in case.given}
    request = Request(principal=principal, action=case.action, resource=resource, account=account, context=context)
    return request, Policies(identity=identity, resource=policy)


@functools.cache
def _today() -> dict[bool, Deployment]:
    """By whether it may take over."""
    template: Any = translated("spoke.yaml")
    given = {**HUB, "OtherReaders": OPERATORS, "HomeRegion": REGION, "EventsToAccount": "true"}
    return {over: deployment(template, **given, TakeOver=str(over).lower()) for over in (False, True)}


def test_whoever_sends_events_may_do_nothing_else() -> None:
    """What reader, changer and viewer may is what the hub's functions may at home: test_spoke_template."""
    resources = _today()[True].resources
    assert all("sts:AssumeRole" in allowed_actions(resources[role]) for role in ROLES)
    for role in (FORWARDER, NOTIFIER):
        assert allowed_actions(resources[role]) == {"events:PutEvents", "sts:AssumeRole"}


@needs_node
def test_a_spokes_role_may_do_what_the_hub_needs_and_no_more() -> None:
    assert list(map(str, answered_otherwise(CASES, _today(), _asked))) == []


# What can be lost without a request that tells, and why.
UNNOTICED = {
    # The condition names the hub's roles with their account; and every caller but a service has that key.
    *(
        f"{role}.AssumeRolePolicyDocument: {statement} {lost}"
        for role, statement in (
            ("Reader", "OnlyTheHubsReaders"),
            ("Viewer", "OnlyOtherReaders"),
            ("Changer", "OnlyTheHubsChangers"),
            ("Notifier", "OnlyTheHubsNotifiers"),
        )
        for lost in ("for everybody", "with ArnEqualsIfExists")
    ),
    # The account's roles, profiles and policies, and AWS's policies, are all that the account can ask for.
    *(f"{role}.Policies: SeeRolesAndProfiles on everything" for role in ("Reader", "Viewer")),
    *(f"{role}.Policies: SeePolicies on everything" for role in ("Reader", "Viewer")),
    # It is met by default: test_spoke_template.
    "Changer.Policies: MakesProfiles taken for met",
}


@needs_node
def test_no_guard_of_a_spoke_can_be_lost_unnoticed() -> None:
    """A guard that is lost allows more, so one of the requests that are refused today has to be allowed."""
    refused = [case for case in CASES if not case.allowed]
    ours = {case for case in refused if case.who in ROLES}
    assert sorted(unnoticed(translated("spoke.yaml"), _today(), refused, _asked, ours) ^ UNNOTICED) == []
