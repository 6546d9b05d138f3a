"""What whoever steals a function's session can't do in the state table, by that function's policy."""

import json
from collections.abc import Sequence
from dataclasses import fields
from itertools import batched, product
from typing import Any

import pytest

from fixtures.account import mapping_key
from fixtures.state_table import STATE_TABLE
from rolekeeper.model.instance import InstanceKey
from rolekeeper.model.mapping import MappingKey, Pin
from rolekeeper.storage import layout
from support import templates
from support.deployment import deployment, translated
from support.iam_requests import IamRequest
from support.policy_simulation import Policies, Request, needs_node, simulate

RESOURCES = templates.load()["Resources"]
FUNCTIONS = [*templates.of_type("AWS::Serverless::Function")]
WRITES = ("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem")
INSTANCE, MAPPING = InstanceKey("123456789012", "us-east-1", "i-0abcd1234ef567890"), mapping_key("workload=web")
# A partition of each family.
PARTITIONS = {
    "control": layout.CONTROL[0],
    "deployed": layout.DEPLOYED[0],
    "timers": layout.TIMERS,
    "instances": layout.instance_pk(INSTANCE),
    "mappings": layout.mapping_pk(MAPPING),
    "budgets": layout.budget_key(MAPPING)[0],
    "changes": layout.CHANGES,
    "edits": layout.EDITS[0],
    "told of the control item": layout.CONTROL_REPORTED[0],
    "targets": "targets",
}
WRITTEN = {
    "OnInstanceEvent": {"instances", "timers", "budgets", "changes", "targets"},
    "OnRetry": {"instances", "timers"},
    "OnMappingChange": {"mappings", "timers", "budgets", "edits"},
    "OnSchedule": {"mappings", "timers", "budgets", "edits", "deployed", "targets"},
    "OnStateChange": {"timers", "told of the control item"},
}
READ = {
    "OnInstanceEvent": {"control", "instances", "mappings", "budgets", "changes", "targets"},
    "OnRetry": {"control", "instances", "mappings", "targets"},
    "OnMappingChange": {"control", "instances", "mappings", "budgets", "edits", "targets"},
    "OnSchedule": {
        *("control", "instances", "mappings", "timers"),
        *("deployed", "budgets", "edits", "changes", "targets"),
    },
    "OnStateChange": {"control", "instances", "targets", "told of the control item"},
}


def statements(function: str, *, of_a_hub: bool = True) -> list[dict[str, Any]]:
    """With all that parameters may add."""
    more = {"ServesOrganization"} if of_a_hub else set[str]()
    return templates.policy_statements(RESOURCES, f"{function}Role", met={"MakesProfiles", "MayTakeOver", *more})


def may(function: str, action: str, *partitions: str, attributes: tuple[str, ...] = ()) -> bool:
    request = IamRequest(action, STATE_TABLE, frozenset(partitions), frozenset({"pk", "sk", *attributes}))
    return any(request.passes(each, "StateTable") for each in statements(function))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_writes_its_own_families_of_items_and_no_other(function: str) -> None:
    written = {name for name, key in PARTITIONS.items() for action in WRITES if may(function, action, key)}
    assert written == WRITTEN[function]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_reads_the_families_that_it_needs_and_no_other(function: str) -> None:
    reads = ("dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:Scan")
    assert {name for name, key in PARTITIONS.items() for action in reads if may(function, action, key)} == READ[
        function
    ]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_an_organization_no_function_has_anything_to_do_with_spokes(function: str) -> None:
    written = json.dumps(statements(function, of_a_hub=False))
    assert "sts:AssumeRole" not in written
    assert "-accounts" not in written, "the machine that has a run for each account"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_one_key_of_anothers_among_its_own_spoils_the_request(function: str) -> None:
    own, theirs = PARTITIONS["instances"], PARTITIONS["control"]
    assert not any(may(function, action, own, theirs) for action in WRITES)
    assert not may(function, "dynamodb:BatchGetItem", own, "anything else")


def test_what_makes_a_pin_is_what_no_reconcile_may_write() -> None:
    (kept,) = (each for each in statements("OnRetry") if each["Sid"] == "KeepRecordsButNoPins")
    refused = set(kept["Condition"]["ForAllValues:StringNotEquals"]["dynamodb:Attributes"])
    # `at` a history entry has too, and `unclear` is never stored.
    assert refused == {each.name for each in fields(Pin)} - {"at", "unclear"}


# ---- the same as IAM answers it ----

DEPLOYED = deployment(translated(), TakeOver="true", OrganizationId="o-a1b2c3d4e5")
STATE = DEPLOYED.arns["StateTable"]


def asking(function: str, action: str, **context: str | Sequence[str]) -> tuple[Request, Policies]:
    role = f"{function}Role"
    request = Request(principal=DEPLOYED.arns[role], action=action, resource=STATE, context=context)
    return request, Policies(identity=DEPLOYED.identity_policies(role))


@needs_node
def test_iam_answers_for_each_function_action_and_family_as_these_tests_do() -> None:
    """Also for items with a pin's attributes, and for a family's keys among another's."""
    reads = ("dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query")
    more = [("instances", "control"), ("instances", "timers"), ("mappings", "instances")]
    families = [(name,) for name in PARTITIONS] + more
    cases = [
        (function, action, tuple(PARTITIONS[each] for each in names), attributes)
        for function, action, names in product(FUNCTIONS, (*reads, *WRITES), families)
        for attributes in ((), ("note",), ("role", "profile_arn"))
    ]
    asked = [
        asking(function, action, **{"dynamodb:LeadingKeys": keys, "dynamodb:Attributes": ("pk", "sk", *attributes)})
        for function, action, keys, attributes in cases
    ]
    answers = [answer.allowed for answer in simulate(asked)]
    expected = [may(function, action, *keys, attributes=attributes) for function, action, keys, attributes in cases]
    assert [case for case, answer, ours in zip(cases, answers, expected, strict=True) if answer != ours] == []
    assert 0 < sum(answers) < len(answers)


@needs_node
def test_iam_lets_every_mapping_be_read_that_a_row_may_have_and_none_with_a_line_break() -> None:
    """All characters of the basic plane, some beyond it; what a row may not have isn't asked for (layout.py)."""
    characters = [chr(number) for number in (*range(0x10000), *range(0x1F000, 0x1FB00))]
    plain = [each for each in characters if layout.is_partition(each)]
    keys = [layout.mapping_pk(MappingKey("".join(each), "x")) for each in batched(plain, 500)]
    breaks = [layout.mapping_pk(MappingKey("a", f"b{each}c")) for each in "\n\r\u2028\u2029"]
    readers = [each for each in FUNCTIONS if may(each, "dynamodb:BatchGetItem", PARTITIONS["mappings"])]
    asked = [
        asking(function, "dynamodb:BatchGetItem", **{"dynamodb:LeadingKeys": named})
        for function in readers
        for named in (keys, *([each] for each in breaks))
    ]
    answers = [answer.allowed for answer in simulate(asked)]
    assert len(plain) > 60_000
    assert answers == [True, False, False, False, False] * len(readers)
    assert len(readers) >= 4
