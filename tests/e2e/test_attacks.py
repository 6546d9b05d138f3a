"""Attacks, each as it would be made, and each ends refused and visible: docs/security.md, "Threat model"."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount
from support.buses import Bus, Queue
from support.fleets import launch_many
from support.pages import Shell
from support.roles import ANYBODY, assumed, make_role, variables
from support.waiting import eventually

pytestmark = pytest.mark.emulator

DOCS = Path(__file__).parents[2] / "docs" / "mappings.md"


@pytest.fixture(scope="module")
def mails(deployed: EmulatedAccount) -> Iterator[Callable[[], list[str]]]:
    """The mails so far, as a queue at the alarm topic gets them."""
    session, topic = deployed.aws.session(), deployed.aws.stack_outputs()["AlarmTopic"]
    queue, sns = Queue(session).lets_send("sns", ArnEquals={"aws:SourceArn": topic}), session.client("sns")
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn, ReturnSubscriptionArn=True)
    yield queue.taken
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])


# ---- rows ----


def held_because(world: EmulatedAccount, value: str, words: str) -> bool:
    row = world.mapping("wide", value)
    return row.get("status") == "Held" and words in row["status_reason"]


def test_who_edits_cannot_approve_their_own_edit(deployed: EmulatedAccount, rolekeeper: Command, shell: Shell) -> None:
    aws, sessions, tables = deployed.aws, {}, {}
    deployed.make_role("wide")
    launch_many(deployed, 26, wide="x")  # more than an edit may change without approval
    for part, person in (("editors", "mallory"), ("approvers", "grace"), ("approvers", "mallory")):
        policy = json.loads(rolekeeper("guard", part).stdout)
        role = make_role(aws, deployed.account, ANYBODY, *policy["Statement"], name=f"{part}-{person}", path="/")
        sessions[part, person] = assumed(aws, role, name=person)
        tables[part, person] = sessions[part, person].client("dynamodb")
    key = {"tag_key": {"S": "wide"}, "tag_value": {"S": "x"}}
    row: Any = {"TableName": deployed.mapping_table, "Item": {**key, "role": {"S": "wide"}}}
    editor, approver = tables["editors", "mallory"], tables["approvers", "grace"]
    editor.put_item(**row)
    eventually(lambda: deployed.mapping("wide", "x").get("status") == "Held")

    # The editor can't approve, not even in another's name.
    grace = sessions["approvers", "grace"].client("sts").get_caller_identity()["UserId"]
    forged = {"pk": {"S": f"approval#{grace}#wide"}, "sk": {"S": "x"}, "revision": {"N": "1"}}
    sign: Any = {"TableName": deployed.state_table, "Item": forged}
    refused(editor.put_item, sign)
    assert deployed.mapping("wide", "x")["status"] == "Held"

    # An approver can't edit, nor approve for another; and what they weren't shown they don't approve.
    refused(tables["approvers", "mallory"].put_item, row)
    refused(tables["approvers", "mallory"].put_item, sign)
    approver.put_item(**sign)
    eventually(lambda: held_because(deployed, "x", f"'{grace}' approved another content or other accounts"))

    # By hand, as docs/mappings.md shows it.
    lines = DOCS.read_text().partition("an approval is one `put-item`")[2].partition("```sh\n")[2].partition("```")[0]
    lines = lines.replace("8:workload#web", "4:wide#x").replace("workload", "wide").replace('"web"', '"x"')
    tables_named = {"mappings": deployed.mapping_table, "state": deployed.state_table}
    shell.export({**aws.env, **variables(sessions["approvers", "grace"]), **tables_named})
    shell(lines)
    eventually(lambda: deployed.mapping("wide", "x").get("status") == "Published")
    newest = rolekeeper.json("mapping", "history", "wide=x")[0]
    assert (newest["event"], newest["approved_by"]) == ("Mapping Published", grace)
    assert newest["approver_claims"].endswith("/approvers-grace/grace")


def refused(call: Callable[..., object], asked: Any) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        call(**asked)


# ---- the state table ----


def test_a_pause_by_a_plain_call_is_mailed_and_in_the_history_and_a_forged_event_is_no_mail(
    deployed: EmulatedAccount, rolekeeper: Command, mails: Callable[[], list[str]], bus: Bus
) -> None:
    forged = json.dumps({"tag-key": "team", "tag-value": "x", "reason": "call this number", "to": "observe"})
    kinds = ("Mapping Held", "Mode Changed", "Permission Missing")
    entries: Any = [{"Source": "rolekeeper", "DetailType": kind, "Detail": forged} for kind in kinds]
    deployed.aws.session().client("events").put_events(Entries=entries)
    key: Any = {"pk": {"S": "control"}, "sk": {"S": "control"}}
    try:
        paused = {**key, "paused": {"BOOL": True}, "reason": {"S": "quiet night\u2028"}}
        deployed.dynamodb.put_item(TableName=deployed.state_table, Item=paused)
        eventually(lambda: any("Control Changed" in each and "paused, mode as deployed" in each for each in mails()))
        eventually(lambda: any(each["detail-type"] == "Control Changed" for each in bus.heard()))
        [told] = json.loads(rolekeeper("history", "--control", "--limit", "1", "--output", "json").stdout)
        assert (told["to"], told["claimed_reason"]) == ("paused, mode as deployed", r"quiet night\u2028")
    finally:
        deployed.dynamodb.delete_item(TableName=deployed.state_table, Key=key)
    eventually(lambda: any(each["detail"].get("from", "").startswith("paused") for each in bus.heard()))
    assert not any("call this number" in each for each in mails())
