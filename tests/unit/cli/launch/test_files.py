"""Files of infrastructure, and what `rolekeeper launches files` says of them."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fixtures.mappings import Desk
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.launch import files as launch_files
from rolekeeper_cli.launch.use import Rules
from rolekeeper_cli.launch.view import Verdict
from rolekeeper_cli.shell.documents import as_json

NOW, HERE = datetime(2026, 11, 29, tzinfo=UTC), Target("111111111111", "eu-west-1")


def offline(*specs: MappingSpec, target: Target | None = None) -> tuple[Rules, frozenset[MappingKey]]:
    return launch_files.offline(specs, "/rolekeeper/", target=target, now=NOW)


def verdict(template: bytes, rules: Rules, scoped: frozenset[MappingKey], target: Target | None = None) -> Verdict:
    [found] = launch_files.forecasts(launch_files.read({"f": template}, {}, target), rules, scoped)
    return found.verdict


def instance(tags: str, profile: str = "") -> bytes:
    named = f"IamInstanceProfile: {profile}, " if profile else ""
    return f"Resources: {{One: {{Type: AWS::EC2::Instance, Properties: {{{named}Tags: {tags}}}}}}}".encode()


# ---- files that can't be read ----

NEITHER = "is neither a CloudFormation template nor version 1 of Terraform's JSON"

# Each level has the one before twice.
MOST = 10_000
BOMB = b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 14))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "f: is empty"),
        (b"# nothing\n", "f: holds only comments"),
        (b"\xff\x00", "f: byte 1 is no UTF-8"),
        (b"PK\3\4tfplan", "f: is a binary plan file\ngive its JSON: terraform show -json PLAN > plan.json"),
        (b"{", "f:1:2: isn't JSON"),
        (b"a: [", "isn't YAML"),
        pytest.param(b"[" * 5_000, "maximum nesting depth", id="flow"),
        pytest.param(b"a:\n" + b"- " * 5_000, "maximum nesting depth", id="block"),
        pytest.param(b'{"a":' + b"[" * 100_000, "f: is nested too deep", id="json"),
        (b"- a", f"f: {NEITHER}"),
        (b"a: b", f"f: {NEITHER}"),
        (b'{"Resources": []}', f"f: {NEITHER}"),
        (b'{"format_version": "2.0"}', f"f: {NEITHER}"),
        pytest.param(BOMB, "f: is too large once its YAML aliases are expanded", id="aliases"),
        (b"Resources: {A: &a [*a]}", "f: is nested too deep"),
        (
            b"Conditions: {A: !Condition A}\nResources: {One: {Type: AWS::EC2::Instance, Condition: A}}",
            "f: is nested too deep, or a condition refers to itself",
        ),
    ],
)
def test_a_bad_file_says_what_is_wrong_with_it(data: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_files, "_MOST", MOST)
    with pytest.raises(CommandError) as raised:
        launch_files.read({"f": data}, {}, None)
    assert message in str(raised.value)


def test_aliases_are_expanded_as_the_sam_cli_expands_them() -> None:
    template = """
Globals:
  web: &web {Key: app, Value: web}
  team: &team {Key: team, Value: a}
Resources:
  One: &one
    Type: AWS::EC2::Instance
    Properties: &properties {Tags: [*web, {Value: b, <<: [*team, *web]}]}
  Two:
    <<: *one
    Properties: {<<: *properties, IamInstanceProfile: web}
"""
    one, two = launch_files.read({"f": template.encode()}, {}, None)
    assert (one.launcher.tags["app"], one.launcher.tags["team"], one.launcher.profile) == ("web", "b", "")
    assert (two.launcher.tags["app"], two.launcher.tags["team"], two.launcher.profile) == ("web", "b", "web")


def test_conditions_that_name_each_other_twice_take_no_longer() -> None:
    """Each of these is looked at once; otherwise it would take 2^60 looks."""
    conditions: dict[str, Any] = {f"C{n}": {"Fn::Or": [{"Condition": f"C{n + 1}"}] * 2} for n in range(60)}
    resources = {"One": {"Type": "AWS::EC2::Instance", "Condition": "C0"}}
    document = json.dumps({"Conditions": conditions, "Resources": resources})
    assert len(launch_files.read({"f": document.encode()}, {}, None)) == 1


def test_a_parameter_that_no_template_has_is_refused() -> None:
    template = b"Parameters: {Workload: {Type: String}}\n" + instance("[]")
    with pytest.raises(CommandError, match="parameter 'Worklod'\ndid you mean Workload"):
        launch_files.read({"f": template}, {"Worklod": "web"}, None)


TYPES = """
AWS::EC2::Instance AWS::EC2::LaunchTemplate AWS::AutoScaling::AutoScalingGroup AWS::EC2::EC2Fleet AWS::EC2::SpotFleet
AWS::EKS::Nodegroup AWS::IAM::InstanceProfile AWS::Batch::ComputeEnvironment aws_ec2_tag aws_autoscaling_group_tag
aws_eks_node_group aws_instance aws_launch_template aws_autoscaling_group aws_ec2_fleet aws_spot_fleet_request
"""
WORDS = """
A B Tags Key Value Type Properties Ref Fn::If Fn::Sub Fn::Join Fn::Select Fn::FindInMap Fn::Split Fn::GetAtt Condition
Fn::And LaunchTemplate LaunchTemplateData IamInstanceProfile Name TagSpecifications MixedInstancesPolicy
LaunchTemplateConfigs type name mode managed change after after_unknown actions references module Fn::Transform
Fn::ForEach::A resource_id autoscaling_group_name propagate_at_launch key tags tags_all tag launch_template expressions
outputs ${A} AWS::NoValue 0 -1
"""
scalars = st.sampled_from([*WORDS.split(), *TYPES.split(), True, False, None, 1, 1.5, ""])
nodes = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS.split()), inner, max_size=4),
    max_leaves=30,
)
resources = st.fixed_dictionaries({"Type": st.sampled_from(TYPES.split()), "Properties": nodes}) | nodes
changes = st.fixed_dictionaries(
    {
        "address": st.sampled_from(["aws_instance.A", "module.B[0].aws_instance.A"]),
        "mode": st.just("managed"),
        "type": st.sampled_from(TYPES.split()),
        "name": scalars,
        "module_address": st.sampled_from(["module.B[0]", "x", None, 1]),
        "change": st.fixed_dictionaries({"after": nodes, "after_unknown": nodes, "actions": nodes}),
    }
)
templates = st.fixed_dictionaries(
    {
        "Resources": st.dictionaries(st.sampled_from(["A", "B", "Fn::ForEach::A"]), resources, max_size=3),
        "Transform": nodes,
        "Parameters": nodes,
        "Conditions": nodes,
        "Mappings": nodes,
    }
)
plans = st.fixed_dictionaries(
    {
        "format_version": st.just("1.2"),
        "resource_changes": st.lists(changes | nodes, max_size=3),
        "deferred_changes": nodes,
        "configuration": nodes,
    }
)
states = st.fixed_dictionaries({"format_version": st.just("1.0"), "values": nodes})


@given(templates | plans | states | nodes)
@example({"Resources": {"A": {"Type": "AWS::EC2::Instance", "Properties": {"Tags": [{"Fn::If": ["A", 1, 2]}]}}}})
def test_no_document_makes_it_crash(document: Any) -> None:
    rules, scoped = offline(MappingSpec(MappingKey("A", "A"), "web"), target=HERE)
    try:
        found = launch_files.read({"f": json.dumps(document).encode()}, {}, HERE)
    except CommandError:
        return
    for each in launch_files.forecasts(found, rules, scoped):
        assert as_json(each.view())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_it_crash(data: bytes) -> None:
    with suppress(CommandError):
        launch_files.read({"f": data}, {}, None)


# ---- mappings for some accounts, Regions and units ----


@pytest.mark.parametrize(
    ("scope", "target", "expected"),
    [
        ({"accounts": frozenset({HERE.account})}, HERE, Verdict.LATE),
        ({"accounts": frozenset({"222222222222"})}, HERE, Verdict.NO_MAPPING),
        ({"accounts": frozenset({HERE.account})}, None, Verdict.UNKNOWN),
        ({"regions": frozenset({HERE.region})}, HERE, Verdict.LATE),
        ({"regions": frozenset({HERE.region})}, None, Verdict.UNKNOWN),
        ({"units": frozenset({"ou-a1b2-c3d4e5f6"})}, HERE, Verdict.UNKNOWN),
        ({"not_accounts": frozenset({HERE.account})}, HERE, Verdict.NO_MAPPING),
        ({"not_accounts": frozenset({HERE.account})}, None, Verdict.UNKNOWN),
        ({"not_units": frozenset({"ou-a1b2-c3d4e5f6"})}, HERE, Verdict.UNKNOWN),
    ],
)
def test_a_mapping_with_a_scope_is_judged_where_that_is_known(
    scope: dict[str, Any], target: Target | None, expected: Verdict
) -> None:
    known = offline(MappingSpec(MappingKey("app", "web"), "web", **scope), target=target)
    assert verdict(instance("[{Key: app, Value: web}]"), *known, target) == expected


def test_a_scope_does_not_matter_where_another_mapping_comes_first() -> None:
    scoped = MappingSpec(MappingKey("team", "a"), "db", priority=50, accounts=frozenset({HERE.account}))
    known = offline(scoped, MappingSpec(MappingKey("app", "web"), "web", priority=10))
    assert verdict(instance("[{Key: app, Value: web}, {Key: team, Value: a}]"), *known) == Verdict.LATE


@pytest.mark.parametrize("key", ["stage", "rolekeeper:ignore"])
def test_an_unknown_tag_matters_if_a_mapping_requires_it_or_if_it_excludes_the_instance(key: str) -> None:
    known = offline(MappingSpec(MappingKey("app", "web"), "web", require_tags={"stage": "live"}))
    tags = f"[{{Key: app, Value: web}}, {{Key: {key}, Value: !ImportValue x}}]"
    assert verdict(instance(tags), *known) == Verdict.UNKNOWN


# ---- the command ----


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    row = "- {tag_key: app, tag_value: web, role: web}\n"
    (tmp_path / "mappings.yaml").write_text(f"mappings:\n{row}")
    (tmp_path / "late.yaml").write_bytes(instance("[{Key: app, Value: web}]"))
    (tmp_path / "right.yaml").write_bytes(instance("[{Key: app, Value: web}]", "web"))
    (tmp_path / "batch.yaml").write_text("Resources: {Jobs: {Type: AWS::Batch::ComputeEnvironment}}")
    return tmp_path


OFFLINE = ("launches", "files", "-f", "mappings.yaml")


def test_a_pipeline_fails_before_anything_is_launched(terminal: Terminal, files: Path) -> None:
    del files
    assert terminal(*OFFLINE, "right.yaml", "--detailed-exitcode").exit_code == 0
    assert terminal(*OFFLINE, "right.yaml", "late.yaml", "--detailed-exitcode").exit_code == 2
    assert terminal(*OFFLINE, "late.yaml", "--detailed-exitcode", "--allow", "a-few-seconds-late").exit_code == 0
    unknown = terminal(*OFFLINE, "batch.yaml", "--detailed-exitcode")
    assert (unknown.exit_code, "Jobs" in unknown.stdout, "1 resource: 1 unknown." in unknown.stderr) == (2, True, True)


def test_with_a_file_of_mappings_aws_is_not_asked(
    terminal: Terminal, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del files
    monkeypatch.setattr(Deployment, "client", lambda _, service, _config=None: pytest.fail(service))
    monkeypatch.setattr(Deployment, "session", property(lambda _: pytest.fail("a session")))
    [found] = terminal.document(*OFFLINE, "late.yaml")
    assert (found["account"], found["region"], found["place"]) == (None, None, "late.yaml:1")


def test_without_a_file_of_mappings_the_published_ones_count(
    terminal: Terminal, files: Path, desk: Desk, web_and_db: None
) -> None:
    del files, web_and_db
    desk.edit("app=web", role="db")
    [late] = terminal.document("launches", "files", "late.yaml")
    [right] = terminal.document("launches", "files", "right.yaml")
    assert (late["verdict"], late["should_carry"]) == ("a-few-seconds-late", "db")
    assert right["verdict"] == "replaced"


@pytest.mark.parametrize("key", ["stage", "rolekeeper:ignore"])
def test_an_unknown_tag_matters_if_a_row_asks_for_it(terminal: Terminal, files: Path, desk: Desk, key: str) -> None:
    desk.role("web")
    desk.edit("app=web", role="web", require_tags={"stage": "live"})
    (files / "one.yaml").write_bytes(instance(f"[{{Key: {key}, Value: !ImportValue s}}]"))
    [found] = terminal.document("launches", "files", "one.yaml")
    assert found["verdict"] == "unknown"


def test_a_hubs_file_is_deployed_to_one_target(terminal: Terminal, files: Path, desk: Desk) -> None:
    del files
    SpokeFixture.with_web(terminal, desk, HERE)
    assert "a file is deployed to one target" in terminal("launches", "files", "late.yaml").output
    [found] = terminal.document("launches", "files", "late.yaml", "--target", str(HERE))
    assert (found["verdict"], found["account"]) == ("a-few-seconds-late", HERE.account)


def test_a_profile_that_the_file_declares_need_not_be_in_iam(
    terminal: Terminal, files: Path, desk: Desk, web_and_db: None
) -> None:
    del web_and_db
    desk.edit("app=web", role="web")
    declared = b"{Type: AWS::IAM::InstanceProfile, Properties: {Path: /rolekeeper/, InstanceProfileName: new}}"
    (files / "one.yaml").write_bytes(
        instance("[{Key: app, Value: web}]", "!Ref P").replace(b"{One:", b"{P: " + declared + b", One:")
    )
    [found] = terminal.document("launches", "files", "one.yaml")
    assert (found["verdict"], found["carries"]) == ("replaced", "new")
