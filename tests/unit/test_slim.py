"""What the layer keeps of botocore's data: the operations that it calls, as they are in the whole, and no other."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import botocore.session
import pytest
from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.regions import EndpointResolver

import slim
from fakes.ec2 import EC2_META
from rolekeeper.aws import Ec2
from rolekeeper.aws.answers import MEMBERS
from rolekeeper.aws.iam import ListedIam
from spec.telemetry_scan import LAYER
from support import templates
from support.templates import ROOT

WHOLE = Loader()
CALLED = [(service, operation) for service, operations in slim.OPERATIONS.items() for operation in operations]
REGIONS = [
    (partition, region)
    for partition in ("aws", "aws-cn", "aws-us-gov")
    for region in botocore.session.get_session().get_available_regions("ec2", partition)
]


@pytest.fixture(scope="module")
def slimmed(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    """Botocore's data as the layer has it."""
    directory = tmp_path_factory.mktemp("data")
    slim.slim(WHOLE, directory)
    return Loader([str(directory)], include_default_search_paths=False)


def client(loader: Loader, service: str, region: str = "eu-west-1", **how: Any) -> Any:
    session = botocore.session.get_session()
    session.register_component("data_loader", loader)
    return session.create_client(service, region_name=region, **how)


# ---- the operations are those that are called ----


def test_what_is_kept_is_what_the_layer_calls() -> None:
    """One that is called and isn't listed would fail in Lambda alone: add it to `operations.json`."""
    methods = {
        (service, xform_name(operation)): (service, operation)
        for service in slim.OPERATIONS
        for operation in WHOLE.load_service_model(service, "service-2")["operations"]
    }
    modules = *LAYER.rglob("*.py"), ROOT / "functions/sessions.py"
    called = {methods[each] for module in modules for each in calls(module.read_text(), methods.keys())}
    assert sorted(called) == sorted(CALLED)


def calls(text: str, methods: Collection[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The service and the method of each call of a module's clients, which its stubs type."""
    services = re.findall(r"from types_boto3_(\w+)\.client import", text)
    for after, method, paginated in re.findall(r'\bself\._?client\b(\(?\)?\.(\w+)(?:\(\s*"(\w+)")?)?', text):
        name = paginated if method == "get_paginator" else method
        found = [(service, name) for service in services if (service, name) in methods]
        assert services == [] or name == "meta" or len(found) == 1, f"what is called here: self.client{after}?"
        yield from found


# ---- what is kept is as in the whole ----


@pytest.mark.parametrize(("service", "operation"), CALLED)
def test_an_operation_and_all_its_shapes_are_as_in_the_whole_model(
    slimmed: Loader, service: str, operation: str
) -> None:
    ours, whole = (loader.load_service_model(service, "service-2") for loader in (slimmed, WHOLE))
    assert _undocumented(ours["operations"][operation]) == _undocumented(whole["operations"][operation])
    kept = ServiceModel(ours, service).operation_model(operation)
    reached: dict[str, Shape] = {}
    for shape in (kept.input_shape, kept.output_shape, *kept.error_shapes):
        _reach(shape, reached)
    assert len(reached) > 1
    for name in reached:
        full = slim.AS_IT_IS.get(name) or whole["shapes"][name]
        if name in MEMBERS:
            full = {**full, "members": {member: full["members"][member] for member in MEMBERS[name]}}
        assert _undocumented(ours["shapes"][name]) == _undocumented(full), name
    beside = whole.keys() - {"operations", "shapes", "documentation"}
    assert {name: ours[name] for name in beside} == {name: _undocumented(whole[name]) for name in beside}


def _reach(shape: Shape | None, reached: dict[str, Shape]) -> None:
    """Add a shape and all that it holds, as botocore resolves them."""
    if shape and shape.name not in reached:
        reached[shape.name] = shape
        for held in (*getattr(shape, "members", {}).values(), *(getattr(shape, part, None) for part in _PARTS)):
            _reach(held, reached)


_PARTS = ("member", "key", "value")  # of a list or a map


def _undocumented(model: Any) -> Any:
    """The same without documentation, which is a text; a member of that name is none."""
    if isinstance(model, Mapping):
        kept = {name: each for name, each in model.items() if name != "documentation" or not isinstance(each, str)}
        return {name: _undocumented(each) for name, each in kept.items()}
    return [_undocumented(each) for each in model] if isinstance(model, list) else model


class _Read(dict[str, Any]):
    """A shape of an answer, with all its members, that notes what is read of it."""

    def __init__(self, shape: Mapping[str, Any], **values: Any) -> None:
        super().__init__({name: values.get(name, {}) for name in shape["members"]})
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


def test_of_an_instance_what_is_read_is_kept() -> None:
    shapes = WHOLE.load_service_model("ec2", "service-2")["shapes"]
    operator = {"Managed": True}
    instance = _Read(shapes["Instance"], InstanceId="i-0abc", State={"Name": "running"}, Tags=[], Operator=operator)
    reservation = _Read(shapes["Reservation"], Instances=[instance])
    about = {
        "AssociationId": "iip-1",
        "InstanceId": "i-0abc",
        "IamInstanceProfile": {"Arn": "arn"},
        "State": "associated",
    }
    association = _Read(shapes["IamInstanceProfileAssociation"], **about)
    ec2 = Mock(meta=EC2_META)
    ec2.describe_instances.return_value = {"Reservations": [reservation]}
    pages = ec2.get_paginator.return_value.paginate
    pages.return_value = [{"IamInstanceProfileAssociations": [association]}]
    asked = Ec2(ec2, "123456789012", "eu-west-1")
    ((one,),) = asked.fleet()
    assert one.managed_by
    assert asked.associations(["i-0abc"])
    all_read = {"Reservation": reservation, "Instance": instance, "IamInstanceProfileAssociation": association}
    assert {name: each.names for name, each in all_read.items()} == {name: set(MEMBERS[name]) for name in all_read}


def test_of_a_role_in_the_list_of_all_what_is_read_is_kept() -> None:
    """But for what only single answers have."""
    named = {"RoleName": "web", "Arn": "arn", "Path": "/app/", "InstanceProfileList": [], "RolePolicyList": []}
    shape = WHOLE.load_service_model("iam", "service-2")["shapes"]["RoleDetail"]
    role = _Read(shape, **named, AttachedManagedPolicies=[])
    iam = Mock()
    iam.get_paginator.return_value.paginate.return_value = [{"RoleDetailList": [role]}]
    listed = ListedIam(iam, "123456789012", path="/app/")
    listed.read({"web"}, 1)
    assert listed.get_role("web")
    assert role.names - {"CreateDate", "RoleId", "RoleLastUsed", "Tags"} == set(MEMBERS["RoleDetail"])


def test_the_keys_of_a_read_are_sent_as_they_are_given(slimmed: Loader) -> None:
    keys = [{"pk": {"S": "é"}, "sk": {"S": '"'}}]
    bodies = []

    def sent(request: Any, **_: Any) -> None:
        bodies.append(json.loads(request.body))
        raise InterruptedError

    for loader in (slimmed, WHOLE):
        made = client(loader, "dynamodb", aws_access_key_id="a", aws_secret_access_key="b")
        made.meta.events.register("before-send", sent)
        with pytest.raises(InterruptedError):
            made.batch_get_item(RequestItems={"state": {"Keys": keys, "ConsistentRead": True}})
    assert bodies == [{"RequestItems": {"state": {"Keys": keys, "ConsistentRead": True}}}] * 2


@pytest.mark.parametrize("service", slim.OPERATIONS)
def test_pages_are_turned_as_in_the_whole(slimmed: Loader, service: str) -> None:
    kept, whole = (loader.load_service_model(service, "paginators-1")["pagination"] for loader in (slimmed, WHOLE))
    assert kept == {name: each for name, each in whole.items() if name in slim.OPERATIONS[service]}


@pytest.mark.parametrize("service", slim.OPERATIONS)
def test_every_region_has_the_endpoint_of_the_whole(slimmed: Loader, service: str) -> None:
    kept, whole = (loader.load_service_model(service, "endpoint-rule-set-1") for loader in (slimmed, WHOLE))
    assert kept == whole
    resolvers = [EndpointResolver(loader.load_data("endpoints")) for loader in (slimmed, WHOLE)]
    prefix = WHOLE.load_service_model(service, "service-2")["metadata"]["endpointPrefix"]
    for partition, region in REGIONS:
        ours, theirs = (each.construct_endpoint(prefix, region, partition) for each in resolvers)
        assert ours == theirs
    for name in ("partitions", "_retry", "sdk-default-configuration"):
        assert slimmed.load_data(name) == WHOLE.load_data(name)


# ---- whatever else is asked for fails ----


def test_an_operation_that_is_not_kept_is_not_there(slimmed: Loader) -> None:
    made = client(slimmed, "ec2")
    assert made.describe_instances
    with pytest.raises(AttributeError, match="terminate_instances"):
        _ = made.terminate_instances
    assert set(made.meta.method_to_api_mapping.values()) == set(slim.OPERATIONS["ec2"])


# ---- what is built is what was tested ----


def test_the_layer_brings_the_versions_that_the_tests_run_with() -> None:
    def pins(lock: Path) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", lock.read_text(), re.MULTILINE))

    layer, ours = pins(LAYER.parent / "requirements.txt"), pins(ROOT / "requirements/dev.txt")
    assert {"aws-lambda-powertools", "botocore"} <= layer.keys()
    assert layer.items() <= ours.items()
    assert botocore.__version__ == layer["botocore"]


def test_the_build_puts_the_kept_data_in_the_place_of_the_whole(tmp_path: Path) -> None:
    data = tmp_path / "botocore/data"
    data.parent.mkdir()
    slim.slim(WHOLE, data)
    (data / "s3").mkdir()
    slim.main(data)
    assert not (data / "s3").exists()
    assert {each.name for each in data.iterdir() if each.is_dir()} == set(slim.OPERATIONS)
    assert sum(each.stat().st_size for each in data.rglob("*")) < 500_000, "what is left is small"
    assert [*tmp_path.rglob("slimmed")] == []


def test_the_template_has_the_layer_built_by_its_makefile() -> None:
    """Without it `sam build` would ship the whole data, and no compiled code."""
    ((name, layer),) = (
        (name, each)
        for name, each in templates.load()["Resources"].items()
        if each["Type"] == "AWS::Serverless::LayerVersion"
    )
    assert layer["Metadata"]["BuildMethod"] == "makefile"
    assert layer["Properties"]["ContentUri"] == str(LAYER.parent.relative_to(ROOT))
    assert f"\nbuild-{name}:\n" in (LAYER.parent / "Makefile").read_text()
