"""Text from outside, where people and programs read it: nothing in it moves a cursor, ends a line or turns it round."""

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fixtures.account import ACCOUNT
from fixtures.mappings import Desk
from rolekeeper.instances.requests import parse
from rolekeeper.model.instance import Action, Decision
from rolekeeper.model.text import escaped, escaped_json, in_words, key_text, shown, split_key
from rolekeeper.telemetry import log_line
from rolekeeper_cli.row import files
from strategies.values import KEY, NOW

# Control (a new line, an escape, C1), bidirectional, separators, format, and a letter that is drawn as nothing.
RAW = "\n\r\t\x1b\x7f\x85\u200e\u200f\u202a\u202e\u2066\u2069\u061c\u2028\u2029\u00a0\ufeff\u3164\U000e0001"
EVIL = f"paid\x1b[2J\u202e\u2028{RAW}"


def is_clean(text: str) -> bool:
    return not set(text) & set(RAW)


@pytest.mark.parametrize("character", RAW)
def test_what_isnt_seen_is_written_as_its_number(character: str) -> None:
    written = escaped(f"a{character}b")
    assert written.isascii()
    assert (written[:2], written[-1]) == ("a\\", "b")


@given(st.text())
def test_an_escaped_text_is_printable_and_escaped_once(text: str) -> None:
    assert escaped(text).isprintable()
    assert escaped(escaped(text)) == escaped(text)


@pytest.mark.parametrize(
    "text", ["plain words", "\u4ed3\u5e93 \u0645\u0633\u062a\u0648\u062f\u0639 \u00e9", "\U0001f600", 'a "b" \\ c']
)
def test_what_is_seen_stays(text: str) -> None:
    assert escaped(text) == text


@given(st.text(), st.integers(1, 40))
def test_a_shown_text_is_no_longer_than_it_may_be(text: str, longest: int) -> None:
    assert len(shown(text, longest)) <= longest


@given(st.recursive(st.text() | st.integers(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)))
def test_json_and_log_lines_read_back_as_the_same_and_hold_nothing_raw(value: Any) -> None:
    for text in (escaped_json(json.dumps(value, ensure_ascii=False, indent=2)), log_line(value)):
        assert json.loads(text) == value
        assert all(line.isprintable() for line in text.split("\n"))
    assert "\n" not in log_line(value)


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text())))
def test_yaml_reads_back_as_the_same_and_holds_nothing_raw(value: Any) -> None:
    value = json.loads(json.dumps(value).replace("\\ud", "\\u0"))  # no half characters, which no file can hold
    text = files.dumped(value)
    assert yaml.safe_load(text) == value
    assert all(line.isprintable() for line in text.split("\n"))


# ---- where it enters ----

FORGED = {
    "source": "rolekeeper",
    "detail-type": "Reconcile Requested",
    "account": KEY.account,
    "region": KEY.region,
    "detail": {"instance-id": KEY.id, "cause": EVIL, "correlation-id": EVIL * 1_000},
}


def test_a_messages_cause_and_correlation_id_are_escaped_and_bounded() -> None:
    read = parse(FORGED, only=KEY.target, now=NOW)
    assert read.cause.startswith(r"paid\u001b[2J\u202e\u2028\n\r\t")
    assert is_clean(read.correlation_id)
    assert len(read.correlation_id) == 300


def test_reasons_are_escaped_and_bounded_whatever_they_repeat() -> None:
    decision = Decision(Action.HOLD, "tie", EVIL * 1_000)
    for reason in (decision.reason, replace(decision, reason=f"{decision.reason}{EVIL}").reason):
        assert is_clean(reason)
        assert len(reason) == 2_000


def test_a_rows_editor_is_escaped_in_history_event_mail_and_log(desk: Desk) -> None:
    desk.edit("workload=web", role="no-such-role", edited_by=EVIL)
    (event,) = desk.world.events.named("Mapping Rejected")
    ((_, mail),) = desk.world.topic.mails
    told = json.dumps([event, mail, *desk.history("workload=web")], default=str, ensure_ascii=False)
    assert r"paid\\u001b[2J\\u202e" in told
    assert is_clean(told)
    assert all(is_clean(line) for line in desk.world.log.getvalue().splitlines())
    assert ACCOUNT in mail


def test_a_value_is_said_in_words_and_not_in_pythons() -> None:
    assert [in_words(value) for value in (None, True, 7)] == ["", "true", "7"]
    assert in_words(NOW.replace(microsecond=0)) == f"{NOW:%Y-%m-%dT%H:%M:%S}Z"
    assert in_words(["us-east-1", "eu-west-1"]) == "us-east-1, eu-west-1"
    assert in_words(frozenset({"b", "a"})) == "a, b"
    assert in_words({"team": "x", "environment": "production"}) == "environment=production, team=x"
    assert in_words([{"a": None}, False]) == "a=, false"


@given(st.text(), st.text(min_size=1))
def test_a_tag_is_split_where_its_text_says(tag_key: str, tag_value: str) -> None:
    assert split_key(key_text(tag_key, tag_value)) == (tag_key, "=", tag_value)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("a=b=c", ("a", "=", "b=c")),
        (r"a\=b=c", ("a=b", "=", "c")),
        (r"a\\=b", ("a\\", "=", "b")),
        (r"domain\group=a\=b", (r"domain\group", "=", r"a\=b")),
        (r"a\=b", ("a=b", "", "")),
        ("a\\", ("a\\", "", "")),
    ],
)
def test_a_backslash_escapes_an_equals_sign_of_the_key_and_itself(text: str, tag: tuple[str, str, str]) -> None:
    assert split_key(text) == tag
