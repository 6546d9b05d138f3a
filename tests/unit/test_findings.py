"""A row that is judged in many accounts: a run for each asks there, and one more judges by what they found."""

import json
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.calls import Calls
from fixtures.account import ACCOUNT, FakeAccount, mapping_key, refusing
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE, Organization, new_organization
from fixtures.organization_desk import TAG, OrganizationDesk
from rolekeeper.aws.errors import RetryableError
from rolekeeper.mappings import findings, publish
from rolekeeper.mappings.findings import Finding, Refusal
from rolekeeper.mappings.impact import Scan
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import InstanceKey, Target
from rolekeeper.settings import Limits

HOME_TOO = Target(ACCOUNT, "eu-central-1")
PLACES = (SPOKE, SAME_ACCOUNT, OTHER, HOME_TOO)
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


# ---- the verdict is the same ----


accounts = st.frozensets(st.sampled_from([ACCOUNT, SPOKE.account, OTHER.account]), min_size=1, max_size=2)
rows = st.fixed_dictionaries(
    {"role": st.sampled_from(["web", "api", "admin", "NONE", "gone"])},
    optional={
        "priority": st.sampled_from([50, 100]),
        "accounts": accounts,
        "regions": st.just(frozenset({"eu-west-1"})),
        "when_unmatched": st.sampled_from(["detach", "keep"]),
        "when_occupied": st.just("replace"),
        "enabled": st.booleans(),
        "allow_broad": st.just(True),  # noqa: FBT003  # a column
        "expires_at": st.just("2030-01-01T00:00:00Z"),
    },
)
tags = st.fixed_dictionaries(
    {}, optional={"workload": st.sampled_from(["web", "db"]), "team": st.just("a"), "other": st.just("x")}
)
instances = st.lists(st.tuples(st.sampled_from((None, *PLACES)), tags, st.sampled_from([None, "foreign"])), max_size=8)
silent = st.sets(st.sampled_from(["assume", "describe", "role"]), max_size=1)


def story(desk: OrganizationDesk, edits: list[Any], fleet: list[Any], silent: set[str], limit: int) -> list[Any]:
    """Edits of a row, one after the other; what it and all that is published say after each."""
    desk.world.take_over = desk.world.allow_broad_roles = True
    desk.limits = Limits(limit, 0)
    keys = [launched(desk.spoke(place) if place else desk.world, profile, tagged) for place, tagged, profile in fleet]
    desk.edit("team=a", role="api")
    seen: list[Any] = []
    for number, columns in enumerate(edits):
        if number == len(edits) - 1:
            fail(desk, silent)
        verdict = desk.remove(TAG) if columns is None else desk.edit(TAG, **columns)
        seen.append((verdict.status, verdict.reason, verdict.matched, verdict.occupied, verdict.impact))
        seen.append({name: value for name, value in desk.row(TAG).items() if name != "edited_by"})
        records = desk.world.revisions.records(mapping_key(TAG))
        # Moto's ids are random.
        seen.append({account: {**each.content, "profile_id": ""} for account, each in sorted(records.items())})
        seen.append([{**each, "at": "", "sk": "", "expires": 0} for each in desk.history(TAG)])
        desk.organization.reconcile(*keys)
        desk.organization.wait(seconds=5)
    return seen


def launched(place: FakeAccount, profile: str | None, tagged: dict[str, str]) -> InstanceKey:
    return place.key(place.running(profile=profile, **tagged))


def fail(desk: OrganizationDesk, how: set[str]) -> None:
    def always(calls: Calls, operation: str) -> None:
        def again() -> None:
            calls.before(operation, again)
            refusing("RequestLimitExceeded")()

        calls.before(operation, again)

    if "assume" in how:
        desk.organization.refuse(OTHER)
    if "describe" in how:
        always(desk.spoke(SAME_ACCOUNT).calls, "DescribeInstances")
    if "role" in how:
        always(desk.spoke(SPOKE).calls, "GetRole")


def told(few: int, *parts: Any) -> list[Any]:
    with mock.patch.object(publish, "FEW", few), new_organization() as organization:
        desk = OrganizationDesk.of_three(organization)
        desk.join(HOME_TOO, "web", "api", instances=100)
        for role in ("api", "admin"):
            desk.role(role)
            desk.spoke(OTHER).profile(role)
        desk.spoke(SPOKE).profile("api")
        desk.grant("admin", "*")
        desk.spoke(OTHER).clients["iam"].inline["admin"] = EVERYTHING
        return story(desk, *parts)


@settings(max_examples=25)
@given(
    edits=st.lists(st.none() | rows, min_size=1, max_size=3),
    fleet=instances,
    silent=silent,
    limit=st.sampled_from([0, 1, 25]),
)
def test_what_accounts_found_gives_the_verdict_that_asking_them_gives(
    edits: list[Any], fleet: list[Any], silent: set[str], limit: int
) -> None:
    parts = edits, fleet, silent, limit
    assert told(0, *parts) == told(20, *parts)
