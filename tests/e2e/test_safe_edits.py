"""Editing mappings without fear, by plain AWS CLI calls: a person's edits, what the row answers, what EC2 shows."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fixtures.aws_cli import Aws, make_role, roles_of
from rolekeeper_local.embedded import EmbeddedAws
from support.waiting import eventually, stays

pytestmark = pytest.mark.emulator

# Above both limits, whatever the fleet of the other stories is.
FLEET = 60
WITHIN = 5


class Editor:
    """Somebody at the AWS CLI with one row, `safe=edits`."""

    def __init__(self, cli: Aws, aws: EmbeddedAws) -> None:
        self.cli = cli
        outputs = aws.stack_outputs()
        self.table, self.state = outputs["MappingTable"], outputs["StateTable"]
        self.key = {"tag_key": {"S": "safe"}, "tag_value": {"S": "edits"}}

    def put(self, **columns: Any) -> None:
        item = {**self.key, **columns}
        self.cli("dynamodb", "put-item", "--table-name", self.table, "--item", json.dumps(item))

    def fill(self, column: str, value: Any) -> None:
        self.cli(
            *("dynamodb", "update-item", "--table-name", self.table, "--key", json.dumps(self.key)),
            *("--update-expression", "SET #c = :v", "--expression-attribute-names", json.dumps({"#c": column})),
            *("--expression-attribute-values", json.dumps({":v": value})),
        )

    def approve(self, number: str) -> None:
        """As docs/mappings.md has it: sign the number, then say so in the row."""
        me = self.cli("sts", "get-caller-identity")
        item = {"pk": f"approval#{me['UserId']}", "sk": f"mapping#4:safe#edits#{number}", "arn": me["Arn"]}
        signed = json.dumps({name: {"S": value} for name, value in item.items()})
        self.cli("dynamodb", "put-item", "--table-name", self.state, "--item", signed)
        self.fill("approved_by", {"S": me["UserId"]})
        self.fill("approve", {"N": number})

    def delete(self) -> None:
        self.cli("dynamodb", "delete-item", "--table-name", self.table, "--key", json.dumps(self.key))

    def row(self) -> Any:
        asked = ("--table-name", self.table, "--key", json.dumps(self.key), "--consistent-read")
        return (self.cli("dynamodb", "get-item", *asked) or {}).get("Item", {})

    def shows(self, status: str) -> Any:
        """The row, once it shows this status, which is soon."""
        return eventually(lambda: row if (row := self.row()).get("status") == {"S": status} else None, WITHIN)

    def roles(self) -> set[str]:
        return set(roles_of(self.cli, "safe", "edits").values())

    def control(self, **attributes: Any) -> None:
        item = {"pk": {"S": "control"}, "sk": {"S": "control"}, **attributes}
        self.cli("dynamodb", "put-item", "--table-name", self.state, "--item", json.dumps(item))


@pytest.fixture(scope="module")
def editor(cli: Aws, aws: EmbeddedAws) -> Iterator[Editor]:
    made = Editor(cli, aws)
    make_role(cli, "safe-reader", "s3:GetObject", "s3:ListBucket")
    make_role(cli, "safe-writer", "s3:GetObject", "s3:PutObject")
    yield made
    made.control()


def test_a_good_edit_is_published_and_a_launch_of_many_is_never_held(editor: Editor) -> None:
    editor.put(role={"S": "safe-reader"})
    row = editor.shows("Published")
    assert (row["status_revision"], row["matched"]) == ({"N": "1"}, {"N": "0"})
    tags = "ResourceType=instance,Tags=[{Key=safe,Value=edits}]"
    launch = ("--image-id", "ami-12345678", "--count", str(FLEET), "--tag-specifications", tags)
    editor.cli("ec2", "run-instances", *launch)
    eventually(lambda: editor.roles() == {"safe-reader"}, 90)
    assert len(roles_of(editor.cli, "safe", "edits")) == FLEET


def test_a_bad_edit_is_rejected_with_the_reason_while_the_old_role_stays(editor: Editor) -> None:
    editor.put(role={"S": "safe-reeder"})
    row = editor.shows("Rejected")
    assert row["status_reason"]["S"].startswith("role 'safe-reeder' doesn't exist in account")
    assert row["status_reason"]["S"].endswith("(revision 1 stays in effect)")
    assert (row["status_revision"], row["matched"]) == ({"N": "1"}, {"N": str(FLEET)})
    assert editor.roles() == {"safe-reader"}


def test_an_edit_that_touches_too_many_is_held_with_counts_and_permissions(editor: Editor) -> None:
    editor.put(role={"S": "safe-writer"})
    row = editor.shows("Held")
    reason = row["status_reason"]["S"]
    assert f"replace {FLEET}" in reason
    assert "s3:PutObject" in reason[reason.index("gain") : reason.index("lose")]
    assert "s3:ListBucket" in reason[reason.index("lose") :]
    assert (row["status_revision"], row["held_revision"]) == ({"N": "1"}, {"N": "2"})
    stays(lambda: editor.roles() == {"safe-reader"}, 3)


def test_another_number_approves_nothing(editor: Editor) -> None:
    editor.fill("approve", {"N": "7"})
    eventually(lambda: "7" in editor.row()["status_reason"]["S"], WITHIN)
    assert editor.shows("Held")["held_revision"] == {"N": "2"}
    assert editor.roles() == {"safe-reader"}


def test_the_number_alone_approves_nothing_and_is_told(editor: Editor) -> None:
    editor.fill("approve", {"N": "2"})
    eventually(lambda: "nobody has signed it" in editor.row()["status_reason"]["S"], WITHIN)
    assert editor.shows("Held")["held_revision"] == {"N": "2"}
    assert editor.roles() == {"safe-reader"}


def test_approved_it_is_served_and_the_instances_follow(editor: Editor) -> None:
    editor.approve("2")
    row = editor.shows("Published")
    assert row["status_revision"] == {"N": "2"}
    assert not {"held_revision", "approve", "approved_by"} & row.keys()
    eventually(lambda: editor.roles() == {"safe-writer"}, 90)


def test_paused_nothing_moves_and_resumed_everything_does(editor: Editor) -> None:
    editor.control(paused={"BOOL": True})
    instances = sorted(roles_of(editor.cli, "safe", "edits"))[:5]
    editor.cli("ec2", "delete-tags", "--resources", *instances, "--tags", "Key=safe")
    editor.cli("ec2", "create-tags", "--resources", *instances, "--tags", "Key=unsafe,Value=edits")
    stays(lambda: set(roles_of(editor.cli, "unsafe", "edits").values()) == {"safe-writer"}, 3)
    editor.control(paused={"BOOL": False})
    eventually(lambda: set(roles_of(editor.cli, "unsafe", "edits").values()) == {""}, 20)


def test_a_deletion_that_touches_too_many_is_put_back_and_held_until_approved(editor: Editor) -> None:
    editor.delete()
    row = editor.shows("Held")
    assert f"detach {FLEET - 5}" in row["status_reason"]["S"]
    assert row["role"] == {"S": "safe-writer"}
    stays(lambda: editor.roles() == {"safe-writer"}, 3)
    editor.approve(row["held_revision"]["N"])
    eventually(lambda: not editor.row(), WITHIN)
    eventually(lambda: editor.roles() == {""}, 90)
