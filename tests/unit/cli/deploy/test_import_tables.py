"""deploy --import-tables: a new deployment begins with restored tables, and nobody writes into a live one."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.cloudformation import FakeCloudFormation, change
from fakes.dynamodb import FakeDynamoDB
from fakes.ec2 import client_error
from fixtures.state_table import table_keys
from fixtures.terminal import Terminal
from rolekeeper.fleet.targets import Registry, ServedTarget
from rolekeeper.model.instance import Target
from rolekeeper.storage import Store, layout
from rolekeeper_cli.deploy import deploy
from support.templates import of_type

MAPPINGS, STATE = "restored-mappings", "restored-state"
LINE = ("deploy", "--import-tables", MAPPINGS, STATE, "--yes")
ACCOUNT, OWN, OTHER, FORMER = "123456789012", "us-east-1", "eu-west-1", "eu-west-2"
KEPT = {"pk": "mapping#4:team#a", "sk": "held"}


class Restored(FakeDynamoDB):
    """Two tables that AWS Backup restored. `streams` has the names of those that have one."""

    def __init__(self) -> None:
        self.keys = {MAPPINGS: table_keys("MappingTable"), STATE: table_keys("StateTable")}
        super().__init__(self.keys)
        self.streams: set[str] = set()

    def describe_table(self, TableName: str) -> Any:  # noqa: N803  # boto3's own name
        """Describe it as DynamoDB does, as far as the command looks."""
        if TableName not in self.keys:
            raise client_error("ResourceNotFoundException", f"Requested resource not found: Table: {TableName}")
        names, kinds = self.keys[TableName], ("HASH", "RANGE")
        schema = [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, kinds, strict=True)]
        return {"Table": {"KeySchema": schema, **({"LatestStreamArn": "arn"} if TableName in self.streams else {})}}


@pytest.fixture
def stack(terminal: Terminal) -> FakeCloudFormation:
    made = FakeCloudFormation()
    made.changes = [change("Import", "StateTable", "AWS::DynamoDB::Table")]
    terminal.clients |= {"cloudformation": made, "s3": None}
    return made


@pytest.fixture
def restored(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Restored:
    monkeypatch.setattr(deploy, "built", lambda: nullcontext(tmp_path))
    monkeypatch.setattr(deploy, "upload", lambda _folder, _bucket: "https://s3/template")
    made = Restored()
    terminal.clients["dynamodb"] = made
    return made


def test_a_new_stack_imports_the_tables_and_is_then_updated_to_all_that_is_deployed(
    terminal: Terminal, stack: FakeCloudFormation, restored: Restored
) -> None:
    ran = terminal(*LINE, "--mode", "observe")
    assert ran.exit_code == 0, ran.output
    assert stack.calls == ["create_change_set", "execute_change_set"] * 2
    imported, updated = (given for name, given in stack.made if name == "create_change_set")
    assert imported["ChangeSetName"] != updated["ChangeSetName"], "both may be made within a second"
    assert (imported["ChangeSetType"], updated["ChangeSetType"]) == ("IMPORT", "UPDATE")
    assert [
        (each["LogicalResourceId"], each["ResourceIdentifier"]["TableName"]) for each in imported["ResourcesToImport"]
    ] == [("MappingTable", MAPPINGS), ("StateTable", STATE)]
    resources = yaml.safe_load(imported["TemplateBody"])["Resources"]
    assert {each["DeletionPolicy"] for each in resources.values()} == {"Retain"}
    for name, declared in of_type("AWS::DynamoDB::Table").items():
        assert resources[name]["Properties"].items() <= declared.items(), f"an update would replace {name}"
        assert "TableName" not in declared
    assert restored.items(MAPPINGS) == []


def test_all_of_the_state_goes_over_but_the_former_hubs_switch_and_sweep_and_the_own_place(
    terminal: Terminal, stack: FakeCloudFormation, restored: Restored
) -> None:
    store = Store(restored, STATE)  # type: ignore[arg-type]  # a fake
    registry = Registry(store)
    for region in (OWN, OTHER):
        registry.add(ServedTarget(Target(ACCOUNT, region), "1.2.3"))
    registry.add(ServedTarget(Target(ACCOUNT, FORMER), fleet=0))
    for item in ({**layout.key_attributes(layout.CONTROL), "mode": "enforce"}, KEPT):
        store.write(store.put(item))
    assert terminal(*LINE).exit_code == 0
    assert stack.calls
    assert [each.target.region for each in registry.all()] == [OTHER]
    assert {item["pk"]["S"] for item in restored.items(STATE)} == {layout.TARGETS, KEPT["pk"]}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("exchanged", "restored-state is no MappingTable"),
        ("elsewhere", "there is no table restored-mappings here"),
        ("in use", "restored-state has a stream, as one that a deployment uses"),
        ("deployed", "stack 'rolekeeper' has tables"),
        ("dry run", "--import-tables can't be shown without importing"),
    ],
)
def test_nothing_is_written_or_imported_where_something_is_wrong(
    terminal: Terminal, stack: FakeCloudFormation, restored: Restored, case: str, said: str
) -> None:
    store = Store(restored, STATE)  # type: ignore[arg-type]  # a fake
    store.write(store.put({**layout.key_attributes(layout.CONTROL), "paused": True}))
    line = list(LINE)
    if case == "exchanged":
        line[2:4] = STATE, MAPPINGS
    elif case == "elsewhere":
        del restored.keys[MAPPINGS]
    elif case == "in use":
        restored.streams = {STATE}
    elif case == "deployed":
        stack.deployed()
    else:
        line[-1] = "--dry-run"
    ran = terminal(*line)
    assert (ran.exit_code != 0, said in ran.stderr) == (True, True), ran.output
    assert (stack.calls, len(restored.items(STATE))) == ([], 1)
