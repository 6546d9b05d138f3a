"""Redaction of a verification's report: whatever a secret is disguised as, and wherever it hides, nobody reads it."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rolekeeper_cli.shell.documents import as_json
from rolekeeper_verify import report as reports
from rolekeeper_verify.names import Names
from rolekeeper_verify.redact import MARK, Redacted, Redactor, redacted
from rolekeeper_verify.view import Answer, Outcome, Probe, Report, Step

NAMES = Names("abc123")
ACCOUNT = "123456789012"
CALLER = f"arn:aws:sts::{ACCOUNT}:assumed-role/PlatformAdmin/jane.doe"
INSTANCE = "i-0aef5d5ffb60c8615"
OWN = f"arn:aws:iam::{ACCOUNT}:instance-profile{NAMES.role_path}{NAMES.role('a')}"
OWN_TAGS = [{"Key": "rolekeeper:verify", "Value": "abc123"}, {"Key": NAMES.tag_key, "Value": "a"}]


def published(**parts: Any) -> Redacted:
    """A report, redacted."""
    known: dict[str, Any] = {"id": NAMES.id, "version": "1.0.0", "region": "us-east-1", "began": "2026-03-02T09:15"}
    return redacted(Report.of(**known, **parts), CALLER)


def plain(text: str) -> str:
    return Redactor(NAMES, CALLER).text(text)


# ---- what hostile documents hide ----

HEX, DIGITS, UPPER = "123456789abcdef", "123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def of(alphabet: str, length: int) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=length, max_size=length)


def made(template: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda each: template.format(*each))


octet = st.integers(1, 255).map(str)
accounts = of(DIGITS, 12)
SECRETS = {
    "account": accounts,
    "account as the console shows it": made("{}-{}-{}", of(DIGITS, 4), of(DIGITS, 4), of(DIGITS, 4)),
    "ARN": made("arn:aws:iam::{}:role/{}", accounts, st.sampled_from(["Payroll", "prod,eu", "a.b@c", "x"])),
    "session": made("arn:aws-us-gov:sts::{}:assumed-role/Ops/{}", accounts, st.sampled_from(["bob", "bob@ex.org"])),
    "bucket": st.just("arn:aws:s3:::payroll-of-example"),
    "IPv4": made("{}.{}.{}.{}", octet, octet, octet, octet),
    "IPv6": st.ip_addresses(v=6).map(str).filter(lambda each: len(each) > 5),
    "DNS": made("ip-{}-{}-{}-{}.us-west-2.compute.internal", octet, octet, octet, octet),
    "public DNS": made("ec2-{}-{}-{}-{}.compute-1.amazonaws.com", octet, octet, octet, octet),
    "MAC": made("{}:{}:{}:{}:{}:{}", *[of(HEX, 2)] * 6),
    "request": st.uuids(version=4).map(str),
    "trace": made("1-{}-{}", of(HEX, 8), of(HEX, 24)),
    "access key": made("{}{}", st.sampled_from(["AKIA", "ASIA"]), of(UPPER, 16)),
    "user's id": made("AIDA{}", of(UPPER, 17)),
    "secret key": made("{}+{}/{}", of(BASE64, 12), of(BASE64, 12), of(BASE64, 14)),
    "session token": st.binary(min_size=60, max_size=90).map(lambda each: base64.b64encode(each).decode()),
    "denial": made("{}_-{}", of(BASE64, 40), of(BASE64, 60)),
    "session without its ARN": made("assumed-role/{}/{}", st.just("Ops"), st.sampled_from(["bob", "bob@example.org"])),
    "organization": made("o-{}", of("abcdefghij" + DIGITS, 10)),
    "root": made("r-{}", of("ghijkl" + DIGITS, 4)),
    "path of units": made("o-{0}/r-{0}/ou-{0}-{0}", of("ghijkl" + DIGITS, 10)),
    "home": st.sampled_from(["/home/bob", "C:\\Users\\bob", "/Users/bob"]),
    "mail": st.just("jane@example.org"),
    "resource": made(
        "{}-{}",
        st.sampled_from(["i", "vol", "subnet", "vpc", "sg", "ami", "eni", "r", "iip-assoc", "eni-attach"]),
        of(HEX, 17) | of(HEX, 8),
    ),
    "queue": made("https://sqs.us-east-1.amazonaws.com/{}/payroll", accounts),
    "caller": st.sampled_from(["jane.doe", "PlatformAdmin"]),
}
secrets = st.one_of(*SECRETS.values())


def in_base64(text: str) -> str:
    return base64.b64encode(json.dumps({"context": text}).encode()).decode()


DISGUISES: dict[str, Callable[[str], str]] = {
    "none": str,
    "upper case": str.upper,
    "URL": lambda text: quote(text, safe=""),
    "URL, each character": lambda text: "".join(f"%{ord(each):02x}" for each in text),
    "URL, twice": lambda text: quote(quote(text, safe=""), safe=""),
    "JSON": lambda text: "".join(f"\\u{ord(each):04x}" for each in text),
    "JSON in JSON": lambda text: json.dumps(json.dumps({"a": f"\\u{ord(text[0]):04x}{text[1:]}"})),
    "HTML": lambda text: "".join(f"&#{ord(each)};" for each in text),
    "full width": lambda text: "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text),
    "unseen characters": "\u200b".join,
    "base64": in_base64,
}
disguises = st.sampled_from(list(DISGUISES.values()))
marks = ["", " ", '"', "'", "(", ": ", "/", "=", ", ", "\n", "%22"]
before = st.sampled_from([*marks, "the text ", f"{NAMES.stack}-", f"arn:aws:iam::{ACCOUNT}:role/"])
after = st.sampled_from([*marks, " is denied"])
hidden = st.tuples(secrets, disguises, before, after).map(lambda each: (each[0], each[1](each[0]), each[2], each[3]))


def anywhere(text: str) -> Redacted:
    """A report with a text at every place at which one can be."""
    answer: dict[str, Any] = {
        text: 1,
        "InstanceId": text,
        "UserData": text,
        "State": {"Name": text, "Reason": {text: text}},
        "IamInstanceProfile": {"Arn": text, "Id": text, "Name": text},
        "Tags": [{"Key": "Owner", "Value": text}, {"Key": NAMES.tag_key, "Value": text}, text],
        "Error": {"Code": "UnauthorizedOperation", "Message": f"You are not authorized. {text}"},
        "Values": [text, text.encode(), {text}, (text, [text])],
        "NetworkInterfaces": [{"PrivateIpAddress": text}],
        "ResponseMetadata": {"RequestId": text, "HTTPHeaders": {"x-amzn-requestid": text}, "RetryAttempts": 0},
        "OwnerId": text,
        "KeyName": text,
    }
    event = {
        "detail": {"tags": {text: text, NAMES.tag_key: text}, "changed-tag-keys": [text, "Owner"], text: 1},
        "resources": [text, INSTANCE],
        "id": text,
        "account": text,
    }
    step = dict.fromkeys(("name", "what", "why"), text)
    probe = dict.fromkeys(("name", "fact", "expected", "observed", "why"), text)
    return published(
        steps=[Step(**step, outcome=Outcome.FAILED, seconds=1.5)],
        probes=[Probe(**probe, outcome=Outcome.FAILED)],
        answers=[Answer(at=1, operation=text, asked={**answer, "InstanceId": INSTANCE}, answer=answer)],
        events=[event],
        left=[text],
    )


@settings(max_examples=60)
@given(hidden)
@example(("123456789012", "MTIzNDU2Nzg5MDEy", "", ""))
@example(("123456789012", "MTIwMTIwMTIwMTIw", "", ""))
def test_a_secret_is_in_no_form_of_a_report(found: tuple[str, str, str, str]) -> None:
    secret, disguised, left, right = found
    shown = anywhere(f"{left}{disguised}{right}")
    for written in (as_json(shown), reports.markdown(shown), reports.plot(shown)):
        assert secret.lower() not in written.lower()
        assert disguised.lower() not in written.lower()


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("disguise", DISGUISES)
def test_each_kind_of_secret_goes_in_each_disguise(kind: str, disguise: str) -> None:
    @settings(max_examples=3)
    @given(SECRETS[kind])
    def goes(secret: str) -> None:
        shown = plain(f"AWS says: {DISGUISES[disguise](secret)}. That is all")
        assert secret.lower() not in shown.lower()
        assert shown.startswith("AWS says: ")
        assert shown.endswith(" That is all")

    goes()


@settings(max_examples=60)
@given(hidden, hidden)
def test_what_was_redacted_stays_as_it_is(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    shown = anywhere("".join((one[2], one[1], one[3], other[1], other[3])))
    assert redacted(shown) == shown


# ---- pseudonyms ----


@given(st.lists(SECRETS["resource"] | accounts | SECRETS["user's id"] | SECRETS["request"], min_size=2))
def test_an_id_has_one_pseudonym_which_no_other_id_has(ids: list[str]) -> None:
    redactor = Redactor(NAMES)
    pseudonyms = [redactor.text(each) for each in ids]
    assert [redactor.text(f"the id {each} again") for each in ids] == [f"the id {each} again" for each in pseudonyms]
    assert len(set(pseudonyms)) == len(set(ids))
    assert [len(each) for each in pseudonyms] == [len(each) for each in ids]


def test_an_id_that_looks_like_a_pseudonym_is_taken_for_no_other() -> None:
    redactor = Redactor(NAMES)
    ids = ("iip-assoc-028de94dde8c8ccf0", "iip-assoc-00000000000000001")
    assert [redactor.text(each) for each in ids] == ["iip-assoc-00000000000000001", "iip-assoc-00000000000000002"]


@pytest.mark.parametrize("account", ["123456789012", "1234-5678-9012", "1234 5678 9012", "%31234567890%31%32"])
def test_an_account_is_the_same_however_it_is_written(account: str) -> None:
    redactor = Redactor(NAMES)
    assert redactor.text(OWN) == OWN.replace(ACCOUNT, "000000000001")
    assert redactor.text(account) == "000000000001"


# ---- what stays ----


@pytest.mark.parametrize(
    "text",
    [
        "IncorrectState: There is an existing association for instance",
        "Value (x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
        "Could not find InstanceIdentityProfileNotFound for instance",
        *("ReplaceIamInstanceProfileAssociation", "DescribeIamInstanceProfileAssociations", "EC2ThrottledException"),
        *("EC2 Instance State-change Notification", "AWS::EC2::SecurityGroup", "ap-southeast-2", ""),
        "2026-03-02T09:15:04.123456+00:00",
        *(NAMES.scene, NAMES.role_path, NAMES.role("a"), f"{NAMES.stack}-OnInstanceEventRole-1AB2CD3EF4GH"),
    ],
)
def test_what_says_nothing_about_the_account_stays(text: str) -> None:
    assert plain(text) == text


def test_an_answer_keeps_what_rolekeeper_reads_of_it() -> None:
    names = ("tag:rolekeeper:verify", "tag:Name", "tag-key", "instance-id")
    asked = {"InstanceIds": [INSTANCE], "Filters": [{"Name": each, "Values": ["abc123"]} for each in names]}
    shown = published(answers=[Answer(at=1.23456, operation="DescribeInstances", asked=asked, answer=DESCRIBED)])
    [answer] = shown.answers
    assert answer.at == 1.235
    assert answer.asked == {**asked, "InstanceIds": ["i-00000000000000001"]}
    [instance] = answer.answer["Reservations"][0]["Instances"]
    assert instance == {
        "InstanceId": "i-00000000000000001",
        "State": {"Code": 16, "Name": "running"},
        "Tags": OWN_TAGS,
        "IamInstanceProfile": {"Arn": OWN.replace(ACCOUNT, "000000000001"), "Id": "AIPA00000000000000001"},
        "Operator": {"Managed": False},
    }


DESCRIBED: dict[str, Any] = {
    "Reservations": [
        {
            "OwnerId": ACCOUNT,
            "Instances": [
                {
                    "InstanceId": INSTANCE,
                    "KeyName": "jane",
                    "LaunchTime": datetime(2026, 3, 2, tzinfo=UTC),
                    "State": {"Code": 16, "Name": "running"},
                    "Tags": [*OWN_TAGS, {"Key": "CostCenter", "Value": "payroll"}],
                    "IamInstanceProfile": {"Arn": OWN, "Id": "AIPAJJOHXXHTHDZB5BVFE"},
                    "Operator": {"Managed": False},
                }
            ],
        }
    ],
    "NextToken": "abc",
}


def test_a_profile_that_is_named_without_its_arn_stays_only_if_it_is_its_own() -> None:
    names = [NAMES.role("a"), "payroll", "payroll"]
    shown = Redactor(NAMES).value([{"IamInstanceProfile": {"Name": each}} for each in names])
    assert [each["IamInstanceProfile"]["Name"] for each in shown] == [NAMES.role("a"), "name-1", "name-1"]


def test_an_event_keeps_its_own_tags_only() -> None:
    detail = {"changed-tag-keys": ["CostCenter", NAMES.tag_key], "tags": {"CostCenter": "payroll", NAMES.tag_key: "a"}}
    shown = Redactor(NAMES).value({"detail": {**detail, "version": 4.0, "tag-policy-compliant": "true"}})
    own = {"changed-tag-keys": [NAMES.tag_key], "tags": {NAMES.tag_key: "a"}}
    assert shown == {"detail": {**own, "version": 4.0}}


def test_a_value_that_is_no_text_stays_if_it_says_nothing() -> None:
    values = [80, 0.5, True, None, datetime(2026, 3, 2, tzinfo=UTC), 123456789012, b"123456789012", object()]
    shown = Redactor(NAMES).value(values)
    assert shown == [80, 0.5, True, None, "2026-03-02T00:00:00Z", MARK, MARK, MARK]


def test_an_event_of_another_instance_is_left_out() -> None:
    described = Answer(at=1, operation="DescribeInstances", asked={}, answer=DESCRIBED)
    plain, arn = "i-00000000000000001", "arn:aws:ec2:us-east-1:{}:instance/{}"
    ours, other = (
        {"account": ACCOUNT, "detail": {"instance-id": each}, "resources": [arn.format(ACCOUNT, each)]}
        for each in (INSTANCE, "i-0123456789abcdef0")
    )
    [shown] = published(answers=[described], events=[ours, other]).events
    redacted_account = "000000000001"
    assert shown == {
        "account": redacted_account,
        "detail": {"instance-id": plain},
        "resources": [arn.format(redacted_account, plain)],
    }


def test_names_of_the_caller_and_of_others_roles_go_and_its_own_stay() -> None:
    denied = f"User: {CALLER} is not authorized to perform: iam:PassRole on resource: {OWN}"
    hidden_names = "User: arn:aws:sts::000000000001:assumed-role/name-1/name-2 is not"
    assert plain(denied).startswith(hidden_names)
    assert plain(denied).endswith(f"{NAMES.role_path}{NAMES.role('a')}")
    assert published(left=["a bucket of jane.doe"]).left == ["a bucket of name-1"]
    assert plain("jane.doe took PlatformAdmin, not jane.doer") == "name-1 took name-2, not jane.doer"


def test_a_caller_that_is_called_like_a_state_or_a_tag_changes_neither() -> None:
    redactor = Redactor(NAMES, f"arn:aws:sts::{ACCOUNT}:assumed-role/running/rolekeeper")
    tagged = {"State": {"Name": "running"}, "Tags": [{"Key": "rolekeeper:verify", "Value": "abc123"}]}
    assert redactor.value(tagged) == tagged
    assert redactor.text("rolekeeper is running") == "name-1 is name-2"
