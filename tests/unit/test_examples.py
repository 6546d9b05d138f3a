"""The starter roles are least privilege under the path; the starter mappings use exactly them."""

import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolekeeper.mappings.rows import COLUMNS, KEYS
from support import templates

ROOT = Path(__file__).parents[2]

STACK = templates.load("examples/roles.yaml")
SUFFIX = "${NameSuffix}"
ROLES = {
    resource["Properties"]["RoleName"]["Sub"].removesuffix(SUFFIX): (name, resource["Properties"])
    for name, resource in STACK["Resources"].items()
    if resource["Type"] == "AWS::IAM::Role"
}
MAPPINGS = yaml.safe_load((ROOT / "examples/mappings.yaml").read_text())["mappings"]

# Metrics are no resource; the statement must name the namespace instead.
NARROWED_BY_CONDITION = {"cloudwatch:PutMetricData": "cloudwatch:namespace"}


def _statements(role: str) -> list[dict[str, Any]]:
    return [s for policy in ROLES[role][1]["Policies"] for s in policy["PolicyDocument"]["Statement"]]


@cache
def _table_of_actions() -> Any:
    # Found and not imported, which takes seconds.
    [package] = getattr(find_spec("cfnlint"), "submodule_search_locations", None) or [""]
    return json.loads((Path(package) / "data/AdditionalSpecs/Policies.json").read_text())


def _knows_a_resource(action: str) -> bool:
    """Whether AWS lets an action be narrowed to a resource, by the table that cfn-lint takes from AWS."""
    table = _table_of_actions()
    service, name = action.split(":")
    return bool(table[service]["Actions"][name.lower()].get("Resources"))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_ec2s_under_the_path_with_a_profile_of_its_name(role: str) -> None:
    """A stack in another Region can name it otherwise."""
    logical, properties = ROLES[role]
    name, path = {"Sub": f"{role}{SUFFIX}"}, {"Ref": "RolePath"}
    assert properties["Description"]
    assert (properties["RoleName"], properties["Path"]) == (name, path)
    assert properties["AssumeRolePolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Principal": {"Service": {"Sub": "ec2.${AWS::URLSuffix}"}}, "Action": "sts:AssumeRole"}
    ]
    profiles = templates.of_type("AWS::IAM::InstanceProfile", "examples/roles.yaml").values()
    assert {"InstanceProfileName": name, "Path": path, "Roles": [{"Ref": logical}]} in profiles


@pytest.mark.parametrize("role", ROLES)
def test_everything_is_narrowed_where_aws_lets_it_be(role: str) -> None:
    assert "ManagedPolicyArns" not in ROLES[role][1]
    for statement in _statements(role):
        actions = templates.listed(statement["Action"])
        assert not [action for action in actions if "*" in action]
        if "*" not in templates.listed(statement["Resource"]):
            continue
        for action in actions:
            if action in NARROWED_BY_CONDITION:
                assert NARROWED_BY_CONDITION[action] in statement["Condition"]["StringEquals"]
            else:
                assert not _knows_a_resource(action), action


@pytest.mark.parametrize("role", ["s3-read", "s3-write"])
def test_objects_are_those_of_the_very_bucket_and_folder(role: str) -> None:
    objects = [s for s in _statements(role) if "s3:GetObject" in templates.listed(s["Action"])]
    assert [s["Resource"] for s in objects] == [{"Sub": "arn:${AWS::Partition}:s3:::${BucketName}/${BucketPrefix}*"}]
    [listing] = [s for s in _statements(role) if s["Action"] == "s3:ListBucket"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": {"Sub": "${BucketPrefix}*"}}}


def test_who_may_read_may_not_write() -> None:
    actions = {action for statement in _statements("s3-read") for action in templates.listed(statement["Action"])}
    assert actions == {"s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject"}


@pytest.mark.parametrize("name", STACK["Parameters"])
def test_a_parameter_is_described_and_takes_no_wildcard(name: str) -> None:
    parameter = STACK["Parameters"][name]
    assert parameter["Description"]
    assert not re.search(parameter["AllowedPattern"], "/any*/")


def test_the_path_is_the_one_that_rolekeeper_may_pass_and_whose_bucket_and_table_has_to_be_said() -> None:
    ours, theirs = STACK["Parameters"], templates.load()["Parameters"]
    assert [ours["RolePath"][key] for key in _SAME] == [theirs["RolePath"][key] for key in _SAME]
    defaults = {name: each["Default"] for name, each in ours.items() if "Default" in each}
    assert defaults["NameSuffix"] == ""
    assert defaults.keys().isdisjoint({"BucketName", "TableName"})


_SAME = ("Default", "AllowedPattern")


def test_the_mappings_use_exactly_the_roles() -> None:
    assert {mapping["role"] for mapping in MAPPINGS} - {"NONE"} == set(ROLES)


def test_the_comments_name_every_column_that_people_write() -> None:
    text = (ROOT / "examples/mappings.yaml").read_text()
    assert [column.name for column in (*KEYS, *COLUMNS) if column.name not in text] == []


def test_no_instance_can_tie_between_the_starter_mappings() -> None:
    """Mappings of one tag exclude each other by value; those of different tags must differ in priority."""
    priorities: dict[int, set[str]] = {}
    for mapping in MAPPINGS:
        priorities.setdefault(mapping.get("priority", 100), set()).add(mapping["tag_key"])
    assert [keys for keys in priorities.values() if len(keys) > 1] == []
