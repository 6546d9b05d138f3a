"""What AWS answered in real accounts, by the reports in data/verified, goes through the code. It starts without any."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rolekeeper.aws.errors import ConflictError
from rolekeeper_cli.shell.documents import as_json
from rolekeeper_verify.names import Names
from rolekeeper_verify.redact import redacted
from rolekeeper_verify.view import Answer, Outcome, Probe, Report, Step
from support.replay import REFUSALS, Replay

ROOT = Path(__file__).parents[2]


def test_each_report_of_a_real_account_replays(record_property: Callable[[str, object], None]) -> None:
    replays = [Replay(each) for each in sorted((ROOT / "tests/data/verified").glob("*.json"))]
    counts: Counter[str] = sum((each.counts for each in replays), Counter())
    details = ", ".join(f"{counts[each]} {each}" for each in ("answers", "refusals", "events"))
    record_property("summary", f"replayed {len(replays)} reports of AWS: {details}")
    assert [problem for each in replays for problem in each.problems] == []


def test_the_page_about_the_reports_says_whether_there_are_any() -> None:
    folder = ROOT / "tests/data/verified"
    empty = "**There is none yet.**" in (folder / "README.md").read_text()
    assert empty is not any(folder.glob("*.json"))


# ---- the replay itself, on a report that is made here ----

NAMES = Names("abc123")
ACCOUNT, INSTANCE = "123456789012", "i-0aef5d5ffb60c8615"
A, B = (f"arn:aws:iam::{ACCOUNT}:instance-profile{NAMES.role_path}{NAMES.role(each)}" for each in "ab")
FIRST, SECOND = "iip-assoc-028de94dde8c8ccf0", "iip-assoc-0499952a50fbcbbae"


def row(association: str, profile: str, state: str) -> dict[str, Any]:
    held = {"Arn": profile, "Id": "AIPAJJOHXXHTHDZB5BVFE"}
    return {"AssociationId": association, "InstanceId": INSTANCE, "IamInstanceProfile": held, "State": state}


def answer(operation: str, asked: Mapping[str, Any], answered: Mapping[str, Any]) -> Answer:
    return Answer(at=1, operation=operation, asked=asked, answer=answered)


def change(operation: str, asked: Mapping[str, Any], answered: dict[str, Any]) -> Answer:
    return answer(operation, asked, {"IamInstanceProfileAssociation": answered})


def shows(*rows: dict[str, Any]) -> Answer:
    return answer("DescribeIamInstanceProfileAssociations", {}, {"IamInstanceProfileAssociations": list(rows)})


def refused(operation: str, code: str, message: str) -> Answer:
    error = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return answer(operation, {"AssociationId": FIRST}, error)


def event(source: str, kind: str, **detail: Any) -> dict[str, Any]:
    arn = f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/{INSTANCE}"
    whole = {"source": source, "detail-type": kind, "account": ACCOUNT, "region": "us-east-1", "resources": [arn]}
    return {**whole, "id": "6f1e2d3c-0000-4000-8000-000000000002", "time": "2026-03-02T09:15:04Z", "detail": detail}


RUNNING = {"InstanceId": INSTANCE, "State": {"Code": 16, "Name": "running"}, "Tags": []}
DESCRIBED = answer("DescribeInstances", {"InstanceIds": [INSTANCE]}, {"Reservations": [{"Instances": [RUNNING]}]})
ATTACHED = change(
    "AssociateIamInstanceProfile",
    {"InstanceId": INSTANCE, "IamInstanceProfile": {"Arn": A}},
    row(FIRST, A, "associating"),
)
REPLACED = change(
    "ReplaceIamInstanceProfileAssociation",
    {"AssociationId": FIRST, "IamInstanceProfile": {"Arn": B}},
    row(SECOND, B, "associating"),
)
DETACHED = change("DisassociateIamInstanceProfile", {"AssociationId": SECOND}, row(SECOND, B, "disassociating"))
STALE = refused("DisassociateIamInstanceProfile", "InvalidAssociationID.NotFound", f"'{FIRST}' was given")
STATE = event("aws.ec2", "EC2 Instance State-change Notification", **{"instance-id": INSTANCE, "state": "running"})
TAGS = event(
    "aws.tag",
    "Tag Change on Resource",
    **{
        "changed-tag-keys": [NAMES.tag_key],
        "tags": {NAMES.tag_key: "a"},
        "service": "ec2",
        "resource-type": "instance",
    },
)


def verified(*answers: Answer, events: tuple[dict[str, Any], ...] = (STATE, TAGS)) -> dict[str, Any]:
    """The document of a report with these answers, which is redacted as each is."""
    step = Step(name="retag", what="Another tag gives another role.", outcome=Outcome.PASSED, seconds=12.5, why="")
    fact = {"name": "stale", "fact": "Errors", "expected": "InvalidAssociationID.NotFound"}
    probe = Probe(**fact, outcome=Outcome.SKIPPED, observed="", why="no time")
    known: dict[str, Any] = {"id": NAMES.id, "version": "1.0.0", "region": "us-east-1", "began": "2026-03-02T09:15"}
    report = Report.of([step], **known, probes=[probe], answers=[*answers], events=[*events])
    document: dict[str, Any] = json.loads(as_json(redacted(report)))
    return document


@pytest.fixture
def replayed(tmp_path: Path) -> Callable[[object], Replay]:
    def replay(document: object) -> Replay:
        file = tmp_path / "rolekeeper-verify-abc123.json"
        file.write_text(document if isinstance(document, str) else json.dumps(document))
        return Replay(file)

    return replay


STORY = (
    DESCRIBED, ATTACHED, shows(row(FIRST, A, "associated")), REPLACED,
    shows(row(FIRST, A, "disassociated"), row(SECOND, B, "associating")), DETACHED, STALE,
    shows(row(SECOND, B, "disassociated")), shows(),
)  # fmt: skip


def test_a_report_replays_and_says_how_much(replayed: Callable[[object], Replay]) -> None:
    found = replayed(verified(*STORY, answer("RunInstances", {}, {"Instances": [RUNNING]})))
    assert found.problems == []
    assert found.counts == {"answers": 8, "refusals": 1, "events": 2}


KEPT = change(REPLACED.operation, REPLACED.asked, row(FIRST, B, "associating"))
UNKNOWN = {"Instances": [{**RUNNING, "State": {"Name": "tag-key"}}]}
WITH_USER_DATA = {"at": 0, "operation": "RunInstances", "asked": {"UserData": "x"}, "answer": {}}
UNREDACTED = "it isn't as redaction leaves it"
OTHERWISE = {
    "replace kept the association's id": (verified(DESCRIBED, KEPT), r"answers\[1\].*kept its id iip-assoc-0+1"),
    "a later look shows another profile by the same id": (
        verified(DESCRIBED, shows(row(FIRST, A, "associated")), shows(row(FIRST, B, "associated"))),
        r"answers\[2\].*iip-assoc-0+1 was of",
    ),
    "detaching gave another id": (
        verified(DESCRIBED, change(DETACHED.operation, {"AssociationId": FIRST}, row(SECOND, A, "disassociating"))),
        r"answers\[1\].*iip-assoc-0+1 became iip-assoc-0+2",
    ),
    "attached at once": (
        verified(DESCRIBED, change(ATTACHED.operation, ATTACHED.asked, row(FIRST, A, "associated"))),
        r"answers\[1\].*associated, not associating",
    ),
    "an unknown error code": (
        verified(DESCRIBED, refused("AssociateIamInstanceProfile", "SomethingNew", "words")),
        r"answers\[1\].*AWS_FACTS.md doesn't know SomethingNew with this message: words",
    ),
    "unknown words of an error": (
        verified(DESCRIBED, refused("AssociateIamInstanceProfile", "InvalidParameterValue", "Profile isn't there yet")),
        r"answers\[1\].*AWS_FACTS.md doesn't know InvalidParameterValue with this message: Profile isn't there yet",
    ),
    "an unknown state of an instance": (
        verified(answer("DescribeInstances", {}, {"Reservations": [UNKNOWN]})),
        r"answers\[0\].*can't be read: ValueError\(\"'tag-key' is not a valid InstanceState",
    ),
    "an association without a profile": (
        verified(DESCRIBED, shows({"AssociationId": FIRST, "InstanceId": INSTANCE, "State": "associated"})),
        r"answers\[1\].*can't be read: KeyError\('IamInstanceProfile'\)",
    ),
    "a list that is a text": (
        verified(answer("DescribeInstances", {"InstanceIds": [INSTANCE]}, {"Reservations": "none"})),
        r"answers\[0\].*can't be read: TypeError",
    ),
    "an event of an unknown form": (
        verified(DESCRIBED, events=({**STATE, "detail": {"instance": INSTANCE}},)),
        r"events\[0\]: Rolekeeper drops it: instance-id is missing or not text",
    ),
    "an event of an unknown state": (
        verified(DESCRIBED, events=({**STATE, "detail": {**STATE["detail"], "state": "hibernated"}},)),
        r"events\[0\]: an unknown state: instance hibernated",
    ),
    "no JSON": ("{", "it isn't JSON"),
    "another format": ({**verified(), "rolekeeper_verify": 2}, r"rolekeeper_verify: 1 was expected"),
    "a step without an outcome": ({**verified(), "steps": [{}]}, r"\$\.steps\[0\]: 'outcome' is a required property"),
    "a key that redaction drops": ({**verified(), "answers": [WITH_USER_DATA]}, rf"\$\.answers\[0\]: {UNREDACTED}"),
    "an account": ({**verified(), "outcome": "failed", "left": [ACCOUNT]}, rf"\$\.left\[0\]: {UNREDACTED}"),
    "an outcome that its steps deny": ({**verified(), "outcome": "failed"}, rf"\$\.outcome: {UNREDACTED}"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_report_that_differs_fails_with_its_file_and_place(name: str, replayed: Callable[[object], Replay]) -> None:
    document, problem = OTHERWISE[name]
    found = "\n".join(replayed(document).problems)
    assert re.search(f"^rolekeeper-verify-abc123.json: .*{problem}", found, re.MULTILINE), found


def test_an_error_that_is_taken_for_another_fails(
    replayed: Callable[[object], Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.replay.REFUSALS", ((STALE.answer["Error"]["Code"], "", ConflictError),))
    [problem] = replayed(verified(DESCRIBED, STALE)).problems
    assert "answers[1]: DisassociateIamInstanceProfile: InvalidAssociationID.NotFound is taken for NotFound" in problem


def test_the_refusals_are_those_of_the_page_of_facts() -> None:
    page = (ROOT / "docs/AWS_FACTS.md").read_text()
    section = page.partition("## Errors")[2].partition("\n## ")[0]
    rows = [each.split("|")[1] for each in section.splitlines() if each.startswith("| `")]
    codes = {code for code, _, _ in REFUSALS}
    assert {code for each in rows for code in re.findall(r"`(\w+(?:\.\w+)?)`", each)} <= codes
    assert {code for code in codes if f"`{code}`" not in section} == set()
