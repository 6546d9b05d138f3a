"""What a Terraform plan or state will launch, judged without AWS."""

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper_cli.launch import files
from rolekeeper_cli.launch.declared import Declared
from rolekeeper_cli.launch.use import Forecast, Verdict

NOW = datetime(2026, 11, 29, tzinfo=UTC)
MAPPINGS = [MappingSpec(MappingKey("app", "web"), "web"), MappingSpec(MappingKey("app", "db"), "db")]

type Document = dict[str, Any]


def change(address: str, after: Any, unknown: Any = None, actions: tuple[str, ...] = ("create",)) -> Document:
    """A resource of a plan as `terraform show -json` has it."""
    module, _, local = address.rpartition(".aws_") if address.startswith("module.") else ("", "", address)
    type_, _, name = (f"aws_{local}" if module else local).partition(".")
    name, _, index = name.partition("[")
    found = {
        "address": address,
        "mode": "managed",
        "type": type_,
        "name": name,
        "provider_name": "registry.terraform.io/hashicorp/aws",
        "change": {"actions": list(actions), "before": None, "after": after, "after_unknown": unknown or {}},
    }
    found |= {"module_address": module} if module else {}
    return found | ({"index": json.loads(index.rstrip("]"))} if index else {})


def written(address: str, **expressions: Any) -> Document:
    """A resource's block in the configuration of its module."""
    type_, _, name = address.partition(".")
    common = {"address": address, "mode": "managed", "type": type_, "name": name, "provider_config_key": "aws"}
    return {**common, "expressions": expressions, "schema_version": 1}


def refers(*references: str) -> Document:
    return {"references": list(references)}


def plan(*changes: Document, root: Document | None = None) -> Document:
    return {
        "format_version": "1.2",
        "terraform_version": "1.13.0",
        "planned_values": {"root_module": {}},
        "resource_changes": list(changes),
        "configuration": {
            "provider_config": {"aws": {"name": "aws", "expressions": {}}},
            "root_module": root or {},
        },
    }


def read(document: Document) -> list[Declared]:
    return files.read({"plan.json": json.dumps(document).encode()}, {}, None)


def forecasts(document: Document) -> dict[str, Forecast]:
    rules, scoped = files.offline(MAPPINGS, "/rolekeeper/", target=None, now=NOW)
    return {each.launcher.name: each for each in files.forecasts(read(document), rules, scoped)}


def template(address: str = "aws_launch_template.web", profile: str = "", **tags: str) -> Document:
    """A launch template that the plan creates: its id and its version aren't known."""
    after: Document = {
        "name": address.rpartition(".")[2],
        "iam_instance_profile": [{"name": profile, "arn": None}] if profile else [],
        "tag_specifications": [
            {"resource_type": "volume", "tags": {"app": "volume"}},
            {"resource_type": "instance", "tags": tags},
        ],
    }
    unknown = {"id": True, "arn": True, "latest_version": True, "default_version": True}
    return change(
        address, after, unknown | {"iam_instance_profile": [{}] if profile else [], "tag_specifications": [{}, {}]}
    )


def instance(profile: str | None = None, address: str = "aws_instance.one", **tags: str) -> Document:
    """An instance that the plan creates. That its profile isn't written, the plan says as not known."""
    after: Document = {"ami": "ami-1", "tags": tags or None, "tags_all": tags, "launch_template": []}
    unknown: Document = {"id": True, "arn": True, "tags_all": {}, "launch_template": []}
    if profile is None:
        return change(address, after, unknown | {"iam_instance_profile": True})
    return change(address, after | {"iam_instance_profile": profile}, unknown)


def group(*tags: tuple[str, str, bool], unknown: Any = None, **launches: Any) -> Document:
    blocks = [{"key": key, "value": value, "propagate_at_launch": flag} for key, value, flag in tags]
    after = {"name": "group", "tag": blocks, "launch_template": [], "mixed_instances_policy": [], **launches}
    return change("aws_autoscaling_group.group", after, {"id": True, **(unknown or {})})


ONE = {"resources": [written("aws_instance.one")]}
# A group that uses the template of the same plan: neither its id nor its version is known.
USES: Document = {
    "launch_template": [{"name": None, "version": None}],
    "unknown": {"launch_template": [{"id": True, "name": True, "version": True}]},
}
ID, VERSION = "aws_launch_template.web.id", "aws_launch_template.web.latest_version"
BLOCK = {"id": refers(ID, "aws_launch_template.web"), "version": refers(VERSION, "aws_launch_template.web")}
GROUP: Document = {
    "resources": [written("aws_launch_template.web"), written("aws_autoscaling_group.group", launch_template=[BLOCK])]
}


# ---- each verdict, of each kind of resource ----

VERDICTS = [
    ("web", "web", Verdict.BORN_RIGHT),
    ("", "web", Verdict.LATE),
    ("db", "web", Verdict.REPLACED),
    ("legacy", "web", Verdict.OCCUPIED),
    ("legacy", "other", Verdict.NO_MAPPING),
]


@pytest.mark.parametrize(("profile", "app", "verdict"), VERDICTS)
def test_a_launch_template_and_an_instance(profile: str, app: str, verdict: Verdict) -> None:
    found = forecasts(plan(template(profile=profile, app=app), instance(profile or None, app=app), root=ONE))
    assert [each.verdict for each in found.values()] == [verdict, verdict]


@pytest.mark.parametrize(("profile", "verdict"), [("db", Verdict.BORN_RIGHT), ("web", Verdict.REPLACED)])
def test_a_groups_own_tag_wins_over_its_templates(profile: str, verdict: Verdict) -> None:
    found = forecasts(
        plan(
            template(profile=profile, app="web"),
            group(("app", "db", True), ("app", "other", False), **USES),
            root=GROUP,
        )
    )
    assert found["aws_autoscaling_group.group"].verdict == verdict
    assert found["aws_launch_template.web"].launcher.used_by == ("aws_autoscaling_group.group",)


def test_a_group_is_found_its_template_by_name_and_one_elsewhere_is_not_judged() -> None:
    for id_, name, reason in (
        (None, "web", "instances start with role web, as app=web asks"),
        ("lt-9", "x", "launch template lt-9 isn't in the file"),
    ):
        named = {"launch_template": [{"id": id_, "name": name, "version": "$Latest"}]}
        found = forecasts(plan(template(profile="web", app="web"), group(**named)))
        assert found["aws_autoscaling_group.group"].reason == reason


def test_a_mixed_group_is_judged_for_each_of_its_templates() -> None:
    block = "launch_template_specification"
    overrides = [{block: [], "instance_type": "a"}, {block: [{"launch_template_name": "db", "version": "$Latest"}]}]
    first = {block: [{"launch_template_name": "web", "version": "$Latest"}], "override": overrides}
    found = read(
        plan(
            template(app="web"),
            template("aws_launch_template.db", profile="db"),
            group(mixed_instances_policy=[{"launch_template": [first]}]),
        )
    )
    mixed = [each.launcher for each in found if each.launcher.kind == "auto-scaling-group"]
    assert [(each.profile, each.tags.get("app")) for each in mixed] == [("", "web"), ("db", None)]


def test_an_override_refers_to_the_template_of_its_own_block() -> None:
    block, id_ = "launch_template_specification", {"launch_template_id": True}
    first = {block: [{}], "override": [{block: [{}]}, {block: [{}]}]}
    not_known = {block: [id_], "override": [{block: [id_]}, {block: [id_]}]}
    second = {block: [{"launch_template_id": refers("aws_launch_template.db.id", "aws_launch_template.db")}]}
    web = {block: [{"launch_template_id": refers(ID, "aws_launch_template.web")}]}
    policy = [{"launch_template": [{**web, "override": [web, second]}]}]
    root = {"resources": [written("aws_autoscaling_group.group", mixed_instances_policy=policy)]}
    found = read(
        plan(
            template(),
            template("aws_launch_template.db", profile="db"),
            group(
                mixed_instances_policy=[{"launch_template": [first]}],
                unknown={"mixed_instances_policy": [{"launch_template": [not_known]}]},
            ),
            root=root,
        )
    )
    assert [each.launcher.profile for each in found if each.launcher.kind == "auto-scaling-group"] == ["", "db"]


def test_a_group_has_the_tags_that_are_resources_of_their_own() -> None:
    block = {"key": "app", "value": "db", "propagate_at_launch": True}
    beside = change("aws_autoscaling_group_tag.app", {"autoscaling_group_name": "group", "tag": [block]})
    other = change("aws_autoscaling_group_tag.x", {"autoscaling_group_name": "x", "tag": [block | {"value": "web"}]})
    named = {"launch_template": [{"id": None, "name": "web", "version": "$Latest"}]}
    found = forecasts(plan(template(app="web"), group(**named), beside, other))
    assert found["aws_autoscaling_group.group"].should_carry.endswith("/db")


@pytest.mark.parametrize(("text", "role"), [("true", "db"), ("1", "db"), (True, "db"), ("false", "web")])
def test_a_group_of_an_older_provider_has_a_list_of_maps_as_tags(text: object, role: str) -> None:
    tags = [{"key": "app", "value": "db", "propagate_at_launch": text}]
    made = group(launch_template=[{"id": None, "name": "web", "version": "$Latest"}], tags=tags)
    assert forecasts(plan(template(app="web"), made))["aws_autoscaling_group.group"].should_carry.endswith(f"/{role}")


def tag_beside(resource: str | None) -> Document:
    return change(
        "aws_ec2_tag.app", {"key": "app", "value": "db", "resource_id": resource}, {"resource_id": not resource}
    )


@pytest.mark.parametrize(
    ("made", "refers_to", "verdict"),
    [
        (tag_beside(None), "aws_instance.one.id", Verdict.REPLACED),
        (tag_beside(None), "local.instance", Verdict.UNKNOWN),
        (tag_beside(None), "aws_instance.other.id", Verdict.BORN_RIGHT),
        (tag_beside("i-other"), "", Verdict.BORN_RIGHT),
    ],
)
def test_an_instance_has_the_tags_that_are_resources_of_their_own(
    made: Document, refers_to: str, verdict: Verdict
) -> None:
    of_tag = written("aws_ec2_tag.app", resource_id=refers(refers_to))
    root = {"resources": [written("aws_instance.one"), written("aws_instance.other"), of_tag]}
    other = instance(address="aws_instance.other")
    found = forecasts(plan(instance("web", app="web"), other, made, root=root))
    assert found["aws_instance.one"].verdict == verdict


def test_a_tag_of_a_spot_instance_is_its_own_and_a_tag_of_the_request_is_not() -> None:
    spot = "aws_spot_instance_request.spot"
    state = {"id": "sir-1", "spot_instance_id": "i-1", "iam_instance_profile": "web"}
    for id_, verdict in (("i-1", Verdict.REPLACED), ("sir-1", Verdict.NO_MAPPING)):
        assert forecasts(plan(change(spot, state), tag_beside(id_)))[spot].verdict == verdict


def test_a_tag_of_a_group_that_is_not_known_may_be_any_groups() -> None:
    tags = [{"key": "app", "value": "db", "propagate_at_launch": True}]
    beside = change("aws_autoscaling_group_tag.app", {"tag": tags}, {"autoscaling_group_name": True})
    named = {"launch_template": [{"id": None, "name": "web", "version": "$Latest"}]}
    found = forecasts(plan(template(app="web"), group(**named), beside))
    assert found["aws_autoscaling_group.group"].verdict == Verdict.UNKNOWN


def test_a_launch_configuration_has_no_tags_of_its_own() -> None:
    old = change("aws_launch_configuration.old", {"name": "old", "iam_instance_profile": "db"})
    found = forecasts(plan(old, group(("app", "db", True), launch_configuration="old")))
    assert {name: each.verdict for name, each in found.items()} == {"aws_autoscaling_group.group": Verdict.BORN_RIGHT}


def test_a_fleet_has_the_tags_of_its_template() -> None:
    config = {"launch_template_specification": [{"launch_template_name": "web", "version": "$Latest"}]}
    fleet = change("aws_ec2_fleet.fleet", {"tags_all": {"app": "db"}, "launch_template_config": [config]})
    assert forecasts(plan(template(app="web"), fleet))["aws_ec2_fleet.fleet"].should_carry.endswith("/web")


def test_a_spot_fleet_has_templates_or_specifications_of_its_own() -> None:
    arn = "arn:aws:iam::111111111111:instance-profile/rolekeeper/web"
    own = [
        {"iam_instance_profile": "db", "iam_instance_profile_arn": None, "tags": {"app": "db"}},
        {"iam_instance_profile": None, "iam_instance_profile_arn": arn, "tags": {"app": "web"}},
    ]
    fleet = change("aws_spot_fleet_request.fleet", {"launch_specification": own})
    found = files.forecasts(read(plan(fleet)), *files.offline(MAPPINGS, "/rolekeeper/", target=None, now=NOW))
    assert [each.verdict for each in found] == [Verdict.BORN_RIGHT, Verdict.BORN_RIGHT]


def test_which_of_two_sets_of_a_spot_fleet_refers_to_a_profile_is_not_guessed() -> None:
    web, db = (refers(f"aws_iam_instance_profile.{name}.id") for name in ("web", "db"))
    fleet = change(
        "aws_spot_fleet_request.fleet",
        {"launch_specification": [{"tags": {"app": "web"}}, {"tags": {"app": "db"}}]},
        {"launch_specification": [{"iam_instance_profile": True}] * 2},
    )
    blocks = [{"iam_instance_profile": web}, {"iam_instance_profile": db}]
    root = {"resources": [written("aws_spot_fleet_request.fleet", launch_specification=blocks)]}
    both = profile(NAMED), profile(NAMED | {"name": "db"}, address="aws_iam_instance_profile.db")
    assert [each.launcher.profile for each in read(plan(*both, fleet, root=root))] == [None, None]


def test_tags_of_a_spot_request_are_not_its_instances() -> None:
    request = instance(address="aws_spot_instance_request.spot", app="web")
    root = {"resources": [written("aws_spot_instance_request.spot")]}
    assert forecasts(plan(request, root=root))["aws_spot_instance_request.spot"].verdict == Verdict.NO_MAPPING


def test_nodes_of_eks_are_left_alone_and_so_is_a_template_that_only_they_use() -> None:
    nodes = change("aws_eks_node_group.nodes", {"launch_template": [{"name": "web", "version": "1"}]})
    other = group(launch_template=[{"id": None, "name": "web", "version": "$Latest"}])
    found = forecasts(plan(template(app="web"), nodes))
    shared = forecasts(plan(template(app="web"), nodes, other))
    assert {each.verdict for each in found.values()} == {Verdict.LEFT_ALONE}
    assert {str(each.mapping) for each in found.values()} == {"app=web"}
    assert shared["aws_launch_template.web"].verdict == Verdict.LATE


# ---- instance profiles of the same plan ----


def profile(
    after: Document, unknown: Document | None = None, address: str = "aws_iam_instance_profile.web"
) -> Document:
    return change(address, {"path": "/", **after}, {"arn": True, "id": True, **(unknown or {})})


NAMED = {"path": "/rolekeeper/", "name": "web"}
REFERRED = refers("aws_iam_instance_profile.web.id", "aws_iam_instance_profile.web")
BY_PROFILE = {"resources": [written("aws_instance.one", iam_instance_profile=REFERRED)]}


@pytest.mark.parametrize(
    ("declared", "verdict"),
    [
        (profile(NAMED), Verdict.BORN_RIGHT),
        (profile(NAMED | {"name": "db"}), Verdict.REPLACED),
        (profile({"path": "/rolekeeper/", "name_prefix": "w-"}, {"name": True}), Verdict.REPLACED),
        (profile({"name_prefix": None}, {"name": True}), Verdict.OCCUPIED),
        (profile({"name": "web", "path": None}, {"path": True}), Verdict.UNKNOWN),
    ],
)
def test_a_profile_of_the_plan_is_known_by_its_path(declared: Document, verdict: Verdict) -> None:
    found = forecasts(plan(declared, instance(app="web"), root=BY_PROFILE))
    assert found["aws_instance.one"].verdict == verdict
    named = forecasts(plan(profile(NAMED | {"name": "other"}), instance("other", app="web")))
    assert named["aws_instance.one"].verdict == Verdict.REPLACED, "one that is written by its name is found too"


def test_a_launch_template_refers_to_the_arn_of_its_profile() -> None:
    made = template(app="web")
    made["change"]["after"]["iam_instance_profile"] = [{"name": None}]
    made["change"]["after_unknown"]["iam_instance_profile"] = [{"arn": True}]
    arn = refers("aws_iam_instance_profile.web.arn", "aws_iam_instance_profile.web")
    root = {"resources": [written("aws_launch_template.web", iam_instance_profile=[{"arn": arn}])]}
    found = forecasts(plan(profile(NAMED), made, root=root))
    assert found["aws_launch_template.web"].verdict == Verdict.BORN_RIGHT


@pytest.mark.parametrize(
    "references",
    [
        ("local.profile",),
        ("data.aws_iam_instance_profile.web.name", "data.aws_iam_instance_profile.web"),
        ("aws_iam_instance_profile.web.name", "aws_iam_instance_profile.db.name"),
        ("aws_iam_instance_profile.gone.name",),
        ("aws_iam_role.web.name", "aws_iam_role.web"),
        ("module.gone.profile",),
    ],
)
def test_a_profile_that_the_plan_does_not_say_is_not_guessed(references: tuple[str, ...]) -> None:
    root = {"resources": [written("aws_instance.one", iam_instance_profile=refers(*references))]}
    both = profile(NAMED), profile(NAMED | {"name": "db"}, address="aws_iam_instance_profile.db")
    role = change("aws_iam_role.web", {"path": "/rolekeeper/"}, {"name": True})
    found = forecasts(plan(*both, role, instance(app="web"), root=root))["aws_instance.one"]
    assert (found.verdict, found.reason) == (
        Verdict.UNKNOWN,
        "its instance profile isn't known before it is deployed",
    )


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        ({}, Verdict.LATE),
        (refers("var.profile"), Verdict.LATE),
        (
            refers("var.create", "aws_iam_instance_profile.none[0].name", "aws_iam_instance_profile.none[0]"),
            Verdict.LATE,
        ),
        (refers("aws_iam_instance_profile.none[0].name", *REFERRED["references"]), Verdict.BORN_RIGHT),
    ],
)
def test_an_instance_may_be_written_without_a_profile(expression: Document, verdict: Verdict) -> None:
    """By a variable that is null, or by a profile that isn't made: the plan doesn't know the profile then either."""
    one = written("aws_instance.one", iam_instance_profile=expression)
    root = {"resources": [one, written("aws_iam_instance_profile.none"), written("aws_iam_instance_profile.web")]}
    found = forecasts(plan(profile(NAMED), instance(app="web"), root=root))
    assert found["aws_instance.one"].verdict == verdict


# ---- modules, count and for_each ----


def test_a_reference_is_followed_through_a_modules_output_and_anothers_variable() -> None:
    """The role module makes the profile; the root gives its name to the module of the instance."""
    roles = {
        "resources": [written("aws_iam_instance_profile.web")],
        "outputs": {"profile": {"expression": REFERRED}},
    }
    app = {"resources": [written("aws_instance.one", iam_instance_profile=refers("var.profile"))]}
    given = {"profile": refers("module.roles.profile", "module.roles")}
    root = {"module_calls": {"roles": {"module": roles}, "app": {"expressions": given, "module": app}}}
    found = forecasts(
        plan(
            profile(NAMED, address='module.roles["a.b"].aws_iam_instance_profile.web'),
            instance(address="module.app[0].aws_instance.one", app="web"),
            root=root,
        )
    )
    assert found["module.app[0].aws_instance.one"].verdict == Verdict.BORN_RIGHT


def test_a_module_that_is_there_twice_refers_to_its_own_profile() -> None:
    inner = {"resources": [written("aws_iam_instance_profile.web"), BY_PROFILE["resources"][0]]}
    web, db = ('module.m["web"]', 'module.m["db"]')
    found = forecasts(
        plan(
            profile(NAMED, address=f"{web}.aws_iam_instance_profile.web"),
            profile(NAMED | {"name": "db"}, address=f"{db}.aws_iam_instance_profile.web"),
            instance(address=f"{web}.aws_instance.one", app="web"),
            root={"module_calls": {"m": {"module": inner}}},
        )
    )
    assert found[f"{web}.aws_instance.one"].verdict == Verdict.BORN_RIGHT


def test_variables_and_outputs_that_go_in_a_circle_end() -> None:
    one = written("aws_instance.one", iam_instance_profile=refers("var.v"))
    inner = {"outputs": {"o": {"expression": refers("var.v")}}, "resources": [one]}
    root = {"module_calls": {"m": {"expressions": {"v": refers("module.m.o", "module.m")}, "module": inner}}}
    found = forecasts(plan(instance(address="module.m.aws_instance.one", app="web"), root=root))
    assert list(found) == ["module.m.aws_instance.one"]


@pytest.mark.parametrize("index", ["0", '"blue"'])
def test_each_instance_of_a_resource_refers_to_the_one_with_its_index(index: str) -> None:
    others = [profile(NAMED | {"name": "db"}, address="aws_iam_instance_profile.web[1]")]
    mine = profile(NAMED, address=f"aws_iam_instance_profile.web[{index}]")
    root = {
        "resources": [
            written("aws_instance.one", iam_instance_profile=refers("aws_iam_instance_profile.web", "each.key"))
        ]
    }
    found = forecasts(plan(mine, *others, instance(address=f"aws_instance.one[{index}]", app="web"), root=root))
    assert found[f"aws_instance.one[{index}]"].verdict == Verdict.BORN_RIGHT


def test_a_reference_with_an_index_means_that_one() -> None:
    first, second = (f"aws_iam_instance_profile.web[{index}]" for index in (0, 1))
    root = {
        "resources": [
            written(
                "aws_instance.one", iam_instance_profile=refers(f"{first}.name", first, "aws_iam_instance_profile.web")
            )
        ]
    }
    found = forecasts(
        plan(
            profile(NAMED, address=first),
            profile(NAMED | {"name": "db"}, address=second),
            instance(app="web"),
            root=root,
        )
    )
    assert found["aws_instance.one"].verdict == Verdict.BORN_RIGHT


# As terraform-aws-modules/autoscaling: its group names its template in a `dynamic` block, which a plan leaves out.
MODULE: Document = {
    "module_calls": {
        "m": {"module": {"resources": [written("aws_launch_template.this"), written("aws_autoscaling_group.this")]}}
    }
}


@pytest.mark.parametrize(("others", "verdict"), [((), Verdict.REPLACED), (("other",), Verdict.UNKNOWN)])
@pytest.mark.parametrize("block", [None, {"id": refers("local.id"), "version": refers("local.version")}])
def test_a_group_of_a_module_uses_the_modules_only_template(
    others: tuple[str, ...], block: Document | None, verdict: Verdict
) -> None:
    root = deepcopy(MODULE)
    if block:
        of_module = root["module_calls"]["m"]["module"]["resources"]
        of_module[1] = written("aws_autoscaling_group.this", launch_template=[block])
    made = group(("app", "web", True), **USES) | {"address": "module.m.aws_autoscaling_group.this", "name": "this"}
    made["module_address"] = "module.m"
    templates = [template(f"module.m.aws_launch_template.{each}", profile="db") for each in ("this", *others)]
    found = forecasts(plan(*templates, template("aws_launch_template.root"), made, root=root))
    assert found["module.m.aws_autoscaling_group.this"].verdict == verdict


def test_a_template_of_a_module_names_the_modules_only_profile_in_a_dynamic_block() -> None:
    made = template("module.m.aws_launch_template.this", app="web")
    made["change"]["after"]["iam_instance_profile"] = [{"name": None}]
    made["change"]["after_unknown"]["iam_instance_profile"] = [{"arn": True}]
    own = profile(NAMED | {"name": "db"}, address="module.m.aws_iam_instance_profile.this")
    found = forecasts(plan(own, made, root=MODULE))
    assert found["module.m.aws_launch_template.this"].carries.endswith(":instance-profile/rolekeeper/db")


# ---- what a plan doesn't say ----

OTHERS = """
aws_batch_compute_environment aws_cloudcontrolapi_resource aws_cloudformation_stack
aws_cloudformation_stack_set_instance aws_ecs_capacity_provider aws_elastic_beanstalk_environment aws_emr_cluster
aws_emr_instance_fleet aws_emr_instance_group aws_serverlessapplicationrepository_cloudformation_stack
awscc_autoscaling_auto_scaling_group awscc_batch_compute_environment awscc_ec2_instance
"""


@pytest.mark.parametrize("type_", OTHERS.split())
def test_what_launches_instances_in_its_own_way_is_named_and_not_known(type_: str) -> None:
    [found] = forecasts(plan(change(f"{type_}.other", {}))).values()
    assert (found.launcher.name, found.verdict) == (f"{type_}.other", Verdict.UNKNOWN)
    assert found.reason == f"{type_} may launch instances, and the file doesn't say what they start with"


def test_what_a_plan_puts_off_is_not_known_and_what_launches_no_instance_is_left_out() -> None:
    document = plan(change("aws_ecs_cluster.c", {}), change("aws_ec2_instance_state.s", {}))
    later = [change("aws_instance.later", {}), change("aws_ecs_cluster.later", {})]
    document["deferred_changes"] = [{"reason": "instance_count_unknown", "resource_change": each} for each in later]
    assert {name: each.verdict for name, each in forecasts(document).items()} == {"aws_instance.later": Verdict.UNKNOWN}


# ---- tags ----


def tags_of(resource: Document, providers: Document | None = None) -> tuple[dict[str, str], set[str], str]:
    document = plan(resource, root=ONE)
    document["configuration"]["provider_config"] = providers or {}
    [one] = read(document)
    return dict(one.launcher.tags), set(one.launcher.unknown_tags), one.launcher.unclear


def test_an_instance_has_the_providers_default_tags() -> None:
    made = instance("web", app="web")
    made["change"]["after"]["tags_all"] = {"app": "web", "team": "a"}
    assert tags_of(made) == ({"app": "web", "team": "a"}, set(), "")


DEFAULTS = {"default_tags": [{"tags": {"constant_value": {"app": "x", "team": "a"}}}]}
NOT_KNOWN = "the keys of its tags aren't known before it is deployed"


@pytest.mark.parametrize(
    ("providers", "tags", "unclear"),
    [
        ({"aws": {}}, {"app": "web"}, ""),
        ({"aws": {"expressions": DEFAULTS}}, {"app": "web", "team": "a"}, ""),
        ({"aws": {"expressions": {"default_tags": [{"tags": refers("local.tags")}]}}}, {"app": "web"}, NOT_KNOWN),
        # An inherited provider isn't listed.
        ({"aws.other": {"expressions": DEFAULTS}}, {"app": "web"}, NOT_KNOWN),
    ],
)
def test_one_unknown_tag_leaves_the_others_and_the_default_tags_known(
    providers: Document, tags: Document, unclear: str
) -> None:
    """The plan knows nothing of tags_all then."""
    made = instance("web", app="web")
    made["change"]["after"] |= {"tags": {"app": "web", "gone": None}}
    made["change"]["after"].pop("tags_all")
    made["change"]["after_unknown"] |= {"tags": {"vpc": True}, "tags_all": True}
    assert tags_of(made, providers) == (tags, {"vpc"}, unclear)


@pytest.mark.parametrize(
    "made", [template(), group(launch_template=[{"name": "web", "version": "$Latest"}]), instance("web")]
)
def test_tags_that_are_not_known_at_all_are_not_guessed(made: Document) -> None:
    names = ("tag", "tag_specifications", "tags", "tags_all")
    made["change"]["after_unknown"] |= dict.fromkeys(names, True)
    made["change"]["after"] |= dict.fromkeys(names)
    assert forecasts(plan(template("aws_launch_template.web"), made))[made["address"]].reason == NOT_KNOWN


def test_an_unknown_value_of_a_groups_tag_is_not_guessed() -> None:
    unknown = {"tag": [{"value": True}, {"propagate_at_launch": True}]}
    made = group(("a", "", True), ("b", "x", True), unknown=unknown, launch_configuration="old")
    [found] = read(plan(made, change("aws_launch_configuration.old", {"name": "old"})))
    assert found.launcher.unknown_tags == {"a", "b"}


# ---- versions, and what is there already ----


@pytest.mark.parametrize(
    ("version", "template_has", "verdict"),
    [
        ("$Latest", {}, Verdict.BORN_RIGHT),
        ("7", {}, Verdict.BORN_RIGHT),
        ("3", {}, Verdict.UNKNOWN),
        ("$Default", {"default_version": 7}, Verdict.BORN_RIGHT),
        ("$Default", {"default_version": 3}, Verdict.UNKNOWN),
        ("$Default", {"default_version": 3, "update_default_version": True}, Verdict.BORN_RIGHT),
    ],
)
def test_a_group_may_use_another_version_than_the_plans(version: str, template_has: Document, verdict: Verdict) -> None:
    made = template(profile="web", app="web")
    made["change"] |= {"actions": ["no-op"], "after_unknown": {}}
    made["change"]["after"] |= {"id": "lt-1", "latest_version": 7, **template_has}
    found = forecasts(plan(made, group(launch_template=[{"id": "lt-1", "name": "web", "version": version}])))
    assert found["aws_autoscaling_group.group"].verdict == verdict


def test_a_version_that_refers_to_something_else_is_not_known() -> None:
    used = group(("app", "web", True), **USES)
    blocks = [BLOCK, BLOCK | {"version": refers("aws_ssm_parameter.version.value")}]
    for block, verdict in zip(blocks, (Verdict.BORN_RIGHT, Verdict.UNKNOWN), strict=True):
        of_group = written("aws_autoscaling_group.group", launch_template=[block])
        root = {"resources": [written("aws_launch_template.web"), of_group]}
        found = forecasts(plan(template(profile="web"), used, root=root))
        assert found["aws_autoscaling_group.group"].verdict == verdict


def test_what_the_plan_deletes_is_left_out_and_what_it_replaces_is_as_it_will_be() -> None:
    gone = change("aws_instance.gone", None, actions=("delete",))
    deposed = instance("legacy", "aws_instance.deposed") | {"deposed": "deadbeef"}
    data = instance("legacy", "aws_instance.data") | {"mode": "data"}
    replaced = instance("web", app="web")
    replaced["change"]["actions"] = ["delete", "create"]
    assert {name: each.verdict for name, each in forecasts(plan(gone, deposed, data, replaced)).items()} == {
        "aws_instance.one": Verdict.BORN_RIGHT
    }


def test_of_a_launch_template_an_instance_surely_gets_the_profile() -> None:
    """Whether it gets the template's tags too is said nowhere."""
    root = {"resources": [written("aws_instance.one", launch_template=[BLOCK])]}
    for tags, verdict in (({}, Verdict.UNKNOWN), ({"app": "web"}, Verdict.BORN_RIGHT)):
        made = instance(**tags)
        made["change"]["after"]["launch_template"] = [{}]
        made["change"]["after_unknown"]["launch_template"] = [{"id": True, "name": True}]
        assert (
            forecasts(plan(template(profile="web", app="web"), made, root=root))["aws_instance.one"].verdict == verdict
        )


def test_an_instance_that_runs_already_has_what_the_state_says() -> None:
    made = instance("web", app="web")
    made["change"] |= {"actions": ["no-op"], "after_unknown": {}}
    made["change"]["after"]["launch_template"] = [{"id": "lt-9", "name": "x", "version": "1"}]
    assert forecasts(plan(made))["aws_instance.one"].verdict == Verdict.BORN_RIGHT


def test_a_state_says_it_all() -> None:
    values = {
        "name": "web",
        "iam_instance_profile": [{"name": "web", "arn": ""}],
        "latest_version": 2,
        "default_version": 2,
    }
    values |= {"id": "lt-1", "tag_specifications": [{"resource_type": "instance", "tags": {"app": "web"}}]}
    group_values = {"name": "g", "launch_template": [{"id": "lt-1", "name": "web", "version": "$Default"}], "tag": []}
    resources = [
        {
            "address": "module.m.aws_launch_template.web",
            "mode": "managed",
            "type": "aws_launch_template",
            "name": "web",
            "values": values,
        },
        {
            "address": "module.m.aws_autoscaling_group.g",
            "mode": "managed",
            "type": "aws_autoscaling_group",
            "name": "g",
            "values": group_values,
        },
        {"address": "module.m.data.aws_instance.d", "mode": "data", "type": "aws_instance", "name": "d", "values": {}},
    ]
    module = {"child_modules": [{"address": "module.m", "resources": resources}]}
    found = forecasts({"format_version": "1.0", "terraform_version": "1.13.0", "values": {"root_module": module}})
    assert {name: each.verdict for name, each in found.items()} == {
        "module.m.aws_launch_template.web": Verdict.BORN_RIGHT,
        "module.m.aws_autoscaling_group.g": Verdict.BORN_RIGHT,
    }


# ---- what to write ----


@pytest.mark.parametrize(
    ("resource", "text"),
    [
        (template(app="web"), 'iam_instance_profile { name = "web" }'),
        (instance(app="web"), 'iam_instance_profile = "web"'),
    ],
)
def test_the_step_is_the_argument_to_write(resource: Document, text: str) -> None:
    [found] = forecasts(plan(resource, root=ONE)).values()
    [step] = found.steps
    assert step.command == text
    assert step.does.startswith(f"in {resource['address']}: ")
    assert found.launcher.place == "plan.json"
