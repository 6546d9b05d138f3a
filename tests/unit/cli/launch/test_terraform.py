"""What a Terraform plan or state will launch, judged without AWS."""

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper_cli.launch import files
from rolekeeper_cli.launch.declared import Declared
from rolekeeper_cli.launch.use import Forecast
from rolekeeper_cli.launch.view import Verdict

NOW = datetime(2026, 11, 29, tzinfo=UTC)
MAPPINGS = [MappingSpec(MappingKey("app", "web"), "web"), MappingSpec(MappingKey("app", "db"), "db")]

type Document = dict[str, Any]


def change(address: str, after: Any, unknown: Any = None, actions: tuple[str, ...] = ("create",)) -> Document:
    """A resource of a plan as `terraform show -json` has it."""
    module, _, local = address.rpartition(".aws_") if address.startswith("module.") else ("", "", address)
    type_, _, name = (f"aws_{local}" if module else local).partition(".")
    name, _, index = name.partition("[")
    known = {"actions": list(actions), "before": None, "after": after, "after_unknown": unknown or {}}
    found = {"address": address, "mode": "managed", "type": type_, "name": name, "change": known}
    found |= {"module_address": module} if module else {}
    return found | ({"index": json.loads(index.rstrip("]"))} if index else {})


def written(address: str, **expressions: Any) -> Document:
    """A resource's block in the configuration of its module."""
    type_, _, name = address.partition(".")
    common = {"address": address, "type": type_, "name": name, "provider_config_key": "aws"}
    return {**common, "expressions": expressions}


def root_of(*resources: Document) -> Document:
    return {"resources": list(resources)}


def refers(*references: str) -> Document:
    return {"references": list(references)}


def plan(*changes: Document, root: Document | None = None) -> Document:
    provider = {"aws": {"name": "aws", "expressions": {}}}
    configuration = {"provider_config": provider, "root_module": root or {}}
    return {"format_version": "1.2", "resource_changes": list(changes), "configuration": configuration}


def read(document: Document) -> list[Declared]:
    return files.read({"plan.json": json.dumps(document).encode()}, {}, None)


def forecasts(document: Document) -> dict[str, Forecast]:
    rules, scoped = files.offline(MAPPINGS, "/rolekeeper/", target=None, now=NOW)
    return {each.launcher.name: each for each in files.forecasts(read(document), rules, scoped)}


def verdicts(*changes: Document, root: Document | None = None) -> dict[str, Verdict]:
    return {name: each.verdict for name, each in forecasts(plan(*changes, root=root)).items()}


def template(address: str = "aws_launch_template.web", profile: str = "", **tags: str) -> Document:
    """A launch template that the plan creates: its id and its version aren't known."""
    specified = [{"resource_type": each, "tags": {"app": each}} for each in ("volume", "instance")]
    specified[1]["tags"] = tags
    named = [{"name": profile, "arn": None}] if profile else []
    after = {"name": address.rpartition(".")[2], "iam_instance_profile": named, "tag_specifications": specified}
    unknown = dict.fromkeys(("id", "arn", "latest_version", "default_version"), True)
    return change(address, after, {**unknown, "iam_instance_profile": [{} for _ in named]})


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


GROUP, ONE = "aws_autoscaling_group.group", "aws_instance.one"
WRITTEN = root_of(written(ONE))
# A group that uses the template of the same plan: neither its id nor its version is known.
USES: Document = {
    "launch_template": [{"name": None, "version": None}],
    "unknown": {"launch_template": [{"id": True, "name": True, "version": True}]},
}
ID, VERSION = "aws_launch_template.web.id", "aws_launch_template.web.latest_version"
BLOCK = {"id": refers(ID, "aws_launch_template.web"), "version": refers(VERSION, "aws_launch_template.web")}
BY_BLOCK = root_of(written("aws_launch_template.web"), written(GROUP, launch_template=[BLOCK]))
# One that names it.
NAMES: Document = {"launch_template": [{"id": None, "name": "web", "version": "$Latest"}]}


# ---- each verdict, of each kind of resource ----


@pytest.mark.parametrize(
    ("profile", "app", "verdict"),
    [
        ("web", "web", Verdict.BORN_RIGHT),
        ("", "web", Verdict.LATE),
        ("db", "web", Verdict.REPLACED),
        ("legacy", "web", Verdict.OCCUPIED),
    ],
)
def test_a_launch_template_and_an_instance(profile: str, app: str, verdict: Verdict) -> None:
    found = verdicts(template(profile=profile, app=app), instance(profile or None, app=app), root=WRITTEN)
    assert list(found.values()) == [verdict, verdict]


@pytest.mark.parametrize(("profile", "verdict"), [("db", Verdict.BORN_RIGHT), ("web", Verdict.REPLACED)])
def test_a_groups_own_tag_wins_over_its_templates(profile: str, verdict: Verdict) -> None:
    tagged = group(("app", "db", True), ("app", "other", False), **USES)
    found = forecasts(plan(template(profile=profile, app="web"), tagged, root=BY_BLOCK))
    assert found[GROUP].verdict == verdict
    assert found["aws_launch_template.web"].launcher.used_by == (GROUP,)


@pytest.mark.parametrize(
    ("id_", "name", "reason"),
    [
        (None, "web", "instances start with role web, as app=web asks"),
        ("lt-9", "x", "launch template lt-9 isn't in the file"),
    ],
)
def test_a_group_is_found_its_template_by_name_and_one_elsewhere_is_not_judged(
    id_: str | None, name: str, reason: str
) -> None:
    named = group(launch_template=[{"id": id_, "name": name, "version": "$Latest"}])
    assert forecasts(plan(template(profile="web", app="web"), named))[GROUP].reason == reason


SPECIFIED = "launch_template_specification"


def mixed(document: Document) -> list[tuple[str | None, str | None]]:
    """The profile and the tag of each template of a group."""
    launchers = [each.launcher for each in read(document) if each.launcher.name == GROUP]
    return [(each.profile, each.tags.get("app")) for each in launchers]


def test_a_mixed_group_is_judged_for_each_of_its_templates() -> None:
    web, db = ([{"launch_template_name": name, "version": "$Latest"}] for name in ("web", "db"))
    first = {SPECIFIED: web, "override": [{SPECIFIED: [], "instance_type": "a"}, {SPECIFIED: db}]}
    both = template(app="web"), template("aws_launch_template.db", profile="db")
    found = mixed(plan(*both, group(mixed_instances_policy=[{"launch_template": [first]}])))
    assert found == [("", "web"), ("db", None)]


def test_an_override_refers_to_the_template_of_its_own_block() -> None:
    def policy(block: Document, override: Document) -> list[Document]:
        return [
            {"launch_template": [{SPECIFIED: [block], "override": [{SPECIFIED: [block]}, {SPECIFIED: [override]}]}]}
        ]

    unknown = {"launch_template_id": True}
    web, db = ({"launch_template_id": refers(f"aws_launch_template.{each}.id")} for each in ("web", "db"))
    made = group(mixed_instances_policy=policy({}, {}), unknown={"mixed_instances_policy": policy(unknown, unknown)})
    both = template(), template("aws_launch_template.db", profile="db")
    root = root_of(written(GROUP, mixed_instances_policy=policy(web, db)))
    assert mixed(plan(*both, made, root=root)) == [("", None), ("db", None)]


def group_tag(group: str | None, value: str = "db") -> Document:
    block = {"key": "app", "value": value, "propagate_at_launch": True}
    after = {"autoscaling_group_name": group, "tag": [block]}
    return change(f"aws_autoscaling_group_tag.{value}", after, {"autoscaling_group_name": group is None})


def test_a_group_has_the_tags_that_are_resources_of_their_own() -> None:
    others = group_tag("group"), group_tag("x", "web")
    assert forecasts(plan(template(app="web"), group(**NAMES), *others))[GROUP].should_carry.endswith("/db")
    assert verdicts(template(app="web"), group(**NAMES), group_tag(None))[GROUP] == Verdict.UNKNOWN, "any group's"


@pytest.mark.parametrize(("text", "role"), [("true", "db"), ("1", "db"), (True, "db"), ("false", "web")])
def test_a_group_of_an_older_provider_has_a_list_of_maps_as_tags(text: object, role: str) -> None:
    made = group(**NAMES, tags=[{"key": "app", "value": "db", "propagate_at_launch": text}])
    assert forecasts(plan(template(app="web"), made))[GROUP].should_carry.endswith(f"/{role}")


def tag_beside(resource: str | None) -> Document:
    after = {"key": "app", "value": "db", "resource_id": resource}
    return change("aws_ec2_tag.app", after, {"resource_id": not resource})


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
    root = root_of(written(ONE), written("aws_instance.other"), of_tag)
    other = instance(address="aws_instance.other")
    assert verdicts(instance("web", app="web"), other, made, root=root)[ONE] == verdict


@pytest.mark.parametrize(("id_", "verdict"), [("i-1", Verdict.REPLACED), ("sir-1", Verdict.NO_MAPPING)])
def test_a_tag_of_a_spot_instance_is_its_own_and_a_tag_of_the_request_is_not(id_: str, verdict: Verdict) -> None:
    state = {"id": "sir-1", "spot_instance_id": "i-1", "iam_instance_profile": "web"}
    spot = "aws_spot_instance_request.spot"
    assert verdicts(change(spot, state), tag_beside(id_))[spot] == verdict


def test_a_launch_configuration_has_no_tags_of_its_own() -> None:
    old = change("aws_launch_configuration.old", {"name": "old", "iam_instance_profile": "db"})
    assert verdicts(old, group(("app", "db", True), launch_configuration="old")) == {GROUP: Verdict.BORN_RIGHT}


def test_a_fleet_has_the_tags_of_its_template() -> None:
    config = {SPECIFIED: [{"launch_template_name": "web", "version": "$Latest"}]}
    fleet = change("aws_ec2_fleet.fleet", {"tags_all": {"app": "db"}, "launch_template_config": [config]})
    assert forecasts(plan(template(app="web"), fleet))["aws_ec2_fleet.fleet"].should_carry.endswith("/web")


def test_a_spot_fleet_has_templates_or_specifications_of_its_own() -> None:
    arn = "arn:aws:iam::111111111111:instance-profile/rolekeeper/web"
    own = [
        {"iam_instance_profile": "db", "iam_instance_profile_arn": None, "tags": {"app": "db"}},
        {"iam_instance_profile": None, "iam_instance_profile_arn": arn, "tags": {"app": "web"}},
    ]
    found = read(plan(change("aws_spot_fleet_request.fleet", {"launch_specification": own})))
    assert [(each.launcher.profile, each.launcher.tags["app"]) for each in found] == [("db", "db"), (arn, "web")]


def test_which_of_two_sets_of_a_spot_fleet_refers_to_a_profile_is_not_guessed() -> None:
    fleet = change(
        "aws_spot_fleet_request.fleet",
        {"launch_specification": [{"tags": {"app": "web"}}, {"tags": {"app": "db"}}]},
        {"launch_specification": [{"iam_instance_profile": True}] * 2},
    )
    blocks = [{"iam_instance_profile": refers(f"aws_iam_instance_profile.{name}.id")} for name in ("web", "db")]
    root = root_of(written("aws_spot_fleet_request.fleet", launch_specification=blocks))
    assert [each.launcher.profile for each in read(plan(profile("web"), DB, fleet, root=root))] == [None, None]


def test_tags_of_a_spot_request_are_not_its_instances() -> None:
    spot = "aws_spot_instance_request.spot"
    assert verdicts(instance(address=spot, app="web"), root=root_of(written(spot)))[spot] == Verdict.NO_MAPPING


def test_nodes_of_eks_are_left_alone_and_so_is_a_template_that_only_they_use() -> None:
    nodes = change("aws_eks_node_group.nodes", {"launch_template": [{"name": "web", "version": "1"}]})
    found = forecasts(plan(template(app="web"), nodes)).values()
    assert {(each.verdict, str(each.mapping)) for each in found} == {(Verdict.LEFT_ALONE, "app=web")}
    assert verdicts(template(app="web"), nodes, group(**NAMES))["aws_launch_template.web"] == Verdict.LATE


# ---- instance profiles of the same plan ----


def profile(
    name: str | None, address: str = "aws_iam_instance_profile.web", path: str | None = "/rolekeeper/", **prefix: Any
) -> Document:
    """An instance profile that the plan creates; None is what it doesn't know."""
    unknown = {"arn": True, "id": True, "name": name is None, "path": path is None}
    return change(address, {"name": name, "path": path, **prefix}, unknown)


DB = profile("db", address="aws_iam_instance_profile.db")
REFERRED = refers("aws_iam_instance_profile.web.id", "aws_iam_instance_profile.web")
BY_PROFILE = root_of(written(ONE, iam_instance_profile=REFERRED))


@pytest.mark.parametrize(
    ("declared", "verdict"),
    [
        (profile("web"), Verdict.BORN_RIGHT),
        (profile("db"), Verdict.REPLACED),
        (profile(None, name_prefix="w-"), Verdict.REPLACED),
        (profile(None, path="/", name_prefix=None), Verdict.OCCUPIED),
        (profile("web", path=None), Verdict.UNKNOWN),
    ],
)
def test_a_profile_of_the_plan_is_known_by_its_path(declared: Document, verdict: Verdict) -> None:
    assert verdicts(declared, instance(app="web"), root=BY_PROFILE)[ONE] == verdict


def test_a_profile_of_the_plan_that_is_written_by_its_name_is_found_too() -> None:
    assert verdicts(profile("other"), instance("other", app="web"))[ONE] == Verdict.REPLACED


def of_arn(address: str) -> Document:
    """A launch template that names a profile by its ARN, which isn't known."""
    made = template(address, app="web")
    made["change"]["after"]["iam_instance_profile"] = [{"name": None}]
    made["change"]["after_unknown"]["iam_instance_profile"] = [{"arn": True}]
    return made


def test_a_launch_template_refers_to_the_arn_of_its_profile() -> None:
    web = "aws_launch_template.web"
    arn = refers("aws_iam_instance_profile.web.arn", "aws_iam_instance_profile.web")
    root = root_of(written(web, iam_instance_profile=[{"arn": arn}]))
    assert verdicts(profile("web"), of_arn(web), root=root)[web] == Verdict.BORN_RIGHT


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
    root = root_of(written(ONE, iam_instance_profile=refers(*references)))
    role = change("aws_iam_role.web", {"path": "/rolekeeper/"}, {"name": True})
    found = forecasts(plan(profile("web"), DB, role, instance(app="web"), root=root))[ONE]
    assert found.reason == "its instance profile isn't known before it is deployed"


NONE = "aws_iam_instance_profile.none[0]"


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        ({}, Verdict.LATE),
        (refers("var.profile"), Verdict.LATE),
        (refers("var.create", f"{NONE}.name", NONE), Verdict.LATE),
        (refers(f"{NONE}.name", *REFERRED["references"]), Verdict.BORN_RIGHT),
    ],
)
def test_an_instance_may_be_written_without_a_profile(expression: Document, verdict: Verdict) -> None:
    """By a variable that is null, or by a profile that isn't made: the plan doesn't know the profile then either."""
    profiles = (written(f"aws_iam_instance_profile.{each}") for each in ("none", "web"))
    root = root_of(written(ONE, iam_instance_profile=expression), *profiles)
    assert verdicts(profile("web"), instance(app="web"), root=root)[ONE] == verdict


# ---- modules, count and for_each ----


def test_a_reference_is_followed_through_a_modules_output_and_anothers_variable() -> None:
    """The role module makes the profile; the root gives its name to the module of the instance."""
    outputs = {"outputs": {"profile": {"expression": REFERRED}}}
    roles = root_of(written("aws_iam_instance_profile.web")) | outputs
    app = root_of(written(ONE, iam_instance_profile=refers("var.profile")))
    given = {"profile": refers("module.roles.profile", "module.roles")}
    root = {"module_calls": {"roles": {"module": roles}, "app": {"expressions": given, "module": app}}}
    made, one = 'module.roles["a.b"].aws_iam_instance_profile.web', f"module.app[0].{ONE}"
    assert verdicts(profile("web", made), instance(address=one, app="web"), root=root)[one] == Verdict.BORN_RIGHT


def test_a_module_that_is_there_twice_refers_to_its_own_profile() -> None:
    inner = root_of(written("aws_iam_instance_profile.web"), *BY_PROFILE["resources"])
    both = [profile(each, f'module.m["{each}"].aws_iam_instance_profile.web') for each in ("web", "db")]
    one = f'module.m["web"].{ONE}'
    root = {"module_calls": {"m": {"module": inner}}}
    assert verdicts(*both, instance(address=one, app="web"), root=root)[one] == Verdict.BORN_RIGHT


def test_variables_and_outputs_that_go_in_a_circle_end() -> None:
    one = written(ONE, iam_instance_profile=refers("var.v"))
    inner = root_of(one) | {"outputs": {"o": {"expression": refers("var.v")}}}
    root = {"module_calls": {"m": {"expressions": {"v": refers("module.m.o", "module.m")}, "module": inner}}}
    assert list(verdicts(instance(address=f"module.m.{ONE}", app="web"), root=root)) == [f"module.m.{ONE}"]


@pytest.mark.parametrize("index", ["0", '"blue"'])
def test_each_instance_of_a_resource_refers_to_the_one_with_its_index(index: str) -> None:
    both = [profile(name, f"aws_iam_instance_profile.web[{at}]") for name, at in (("web", index), ("db", "1"))]
    root = root_of(written(ONE, iam_instance_profile=refers("aws_iam_instance_profile.web", "each.key")))
    one = f"{ONE}[{index}]"
    assert verdicts(*both, instance(address=one, app="web"), root=root)[one] == Verdict.BORN_RIGHT


def test_a_reference_with_an_index_means_that_one() -> None:
    both = [profile(name, f"aws_iam_instance_profile.web[{at}]") for at, name in enumerate(("web", "db"))]
    first = both[0]["address"]
    root = root_of(written(ONE, iam_instance_profile=refers(f"{first}.name", first, "aws_iam_instance_profile.web")))
    assert verdicts(*both, instance(app="web"), root=root)[ONE] == Verdict.BORN_RIGHT


# As terraform-aws-modules/autoscaling: its group names its template in a `dynamic` block, which a plan leaves out.
OF_MODULE = root_of(written("aws_launch_template.this"), written("aws_autoscaling_group.this"))
MODULE: Document = {"module_calls": {"m": {"module": OF_MODULE}}}


@pytest.mark.parametrize(("others", "verdict"), [((), Verdict.REPLACED), (("other",), Verdict.UNKNOWN)])
@pytest.mark.parametrize("block", [None, {"id": refers("local.id"), "version": refers("local.version")}])
def test_a_group_of_a_module_uses_the_modules_only_template(
    others: tuple[str, ...], block: Document | None, verdict: Verdict
) -> None:
    root = deepcopy(MODULE)
    if block:
        of_module = root["module_calls"]["m"]["module"]["resources"]
        of_module[1] = written("aws_autoscaling_group.this", launch_template=[block])
    made = group(("app", "web", True), **USES) | {"name": "this", "module_address": "module.m"}
    made["address"] = "module.m.aws_autoscaling_group.this"
    templates = [template(f"module.m.aws_launch_template.{each}", profile="db") for each in ("this", *others)]
    found = verdicts(*templates, template("aws_launch_template.root"), made, root=root)
    assert found["module.m.aws_autoscaling_group.this"] == verdict


def test_a_template_of_a_module_names_the_modules_only_profile_in_a_dynamic_block() -> None:
    own, this = profile("db", "module.m.aws_iam_instance_profile.this"), "module.m.aws_launch_template.this"
    found = forecasts(plan(own, of_arn(this), root=MODULE))
    assert found[this].carries.endswith(":instance-profile/rolekeeper/db")


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
    document = plan(resource, root=WRITTEN)
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


@pytest.mark.parametrize("made", [template(), group(**NAMES), instance("web")])
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
    used = group(launch_template=[{"id": "lt-1", "name": "web", "version": version}])
    assert verdicts(made, used)[GROUP] == verdict


@pytest.mark.parametrize(
    ("version", "verdict"),
    [(BLOCK["version"], Verdict.BORN_RIGHT), (refers("aws_ssm_parameter.version.value"), Verdict.UNKNOWN)],
)
def test_a_version_that_refers_to_something_else_is_not_known(version: Document, verdict: Verdict) -> None:
    of_group = written(GROUP, launch_template=[BLOCK | {"version": version}])
    root = root_of(written("aws_launch_template.web"), of_group)
    used = group(("app", "web", True), **USES)
    assert verdicts(template(profile="web"), used, root=root)[GROUP] == verdict


def test_what_the_plan_deletes_is_left_out_and_what_it_replaces_is_as_it_will_be() -> None:
    gone = change("aws_instance.gone", None, actions=("delete",))
    deposed = instance("legacy", "aws_instance.deposed") | {"deposed": "deadbeef"}
    data = instance("legacy", "aws_instance.data") | {"mode": "data"}
    replaced = instance("web", app="web")
    replaced["change"]["actions"] = ["delete", "create"]
    assert verdicts(gone, deposed, data, replaced) == {ONE: Verdict.BORN_RIGHT}


@pytest.mark.parametrize(("tags", "verdict"), [({}, Verdict.UNKNOWN), ({"app": "web"}, Verdict.BORN_RIGHT)])
def test_of_a_launch_template_an_instance_surely_gets_the_profile(tags: dict[str, str], verdict: Verdict) -> None:
    """Whether it gets the template's tags too is said nowhere."""
    made = instance(**tags)
    made["change"]["after"]["launch_template"] = [{}]
    made["change"]["after_unknown"]["launch_template"] = [{"id": True, "name": True}]
    root = root_of(written(ONE, launch_template=[BLOCK]))
    assert verdicts(template(profile="web", app="web"), made, root=root)[ONE] == verdict


def test_an_instance_that_runs_already_has_what_the_state_says() -> None:
    made = instance("web", app="web")
    made["change"] |= {"actions": ["no-op"], "after_unknown": {}}
    made["change"]["after"]["launch_template"] = [{"id": "lt-9", "name": "x", "version": "1"}]
    assert verdicts(made)[ONE] == Verdict.BORN_RIGHT


def test_a_state_says_it_all() -> None:
    def resource(address: str, mode: str = "managed", **values: Any) -> Document:
        type_, name = address.split(".")[-2:]
        return {"address": f"module.m.{address}", "mode": mode, "type": type_, "name": name, "values": values}

    of_template: Document = {"id": "lt-1", "name": "web", "latest_version": 2, "default_version": 2}
    of_template |= {"iam_instance_profile": [{"name": "web", "arn": ""}]}
    of_template |= {"tag_specifications": [{"resource_type": "instance", "tags": {"app": "web"}}]}
    used = [{"id": "lt-1", "name": "web", "version": "$Default"}]
    resources = [
        resource("aws_launch_template.web", **of_template),
        resource("aws_autoscaling_group.group", launch_template=used, tag=[]),
        resource("data.aws_instance.d", "data"),
    ]
    module = {"child_modules": [{"address": "module.m", "resources": resources}]}
    found = forecasts({"format_version": "1.0", "values": {"root_module": module}})
    assert {name: each.verdict for name, each in found.items()} == {
        "module.m.aws_launch_template.web": Verdict.BORN_RIGHT,
        f"module.m.{GROUP}": Verdict.BORN_RIGHT,
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
    [found] = forecasts(plan(resource, root=WRITTEN)).values()
    [step] = found.steps
    assert step.command == text
    assert step.does.startswith(f"in {resource['address']}: ")
    assert found.launcher.place == "plan.json"
