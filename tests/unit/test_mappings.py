"""Reading rows: what is taken, what is refused, whether the words help; and what differs between two revisions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.mappings.rows import (
    COLUMNS,
    KEYS,
    PASSING,
    HomeAccount,
    ParsedRow,
    changes,
    content,
    fingerprint,
    read_row,
    row_of,
)
from rolekeeper.model.mapping import (
    MappingKey,
    MappingSpec,
    OnHalt,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)
from strategies import values
from strategies.values import NOW, arn, published

HOME = HomeAccount("123456789012", "aws")
GOOD: dict[str, Any] = {"tag_key": {"S": "workload"}, "tag_value": {"S": "web"}, "role": {"S": "web"}}


def read(**columns: Any) -> ParsedRow:
    return read_row({**GOOD, **columns}, HOME)


def refused(*words: str, **columns: Any) -> str:
    """Read a row that must be refused with one problem that says all these words."""
    verdict = read(**columns)
    assert verdict.spec is None
    assert len(verdict.problems) == 1, verdict.problems
    problem = str(verdict.problems[0])
    for word in words:
        assert word in problem, f"{word!r} is not in {problem!r}"
    return problem


def test_a_row_of_three_columns_is_a_mapping_with_the_defaults() -> None:
    assert read() == ParsedRow(MappingSpec(MappingKey("workload", "web"), "web"))
    spec = read().spec
    assert spec
    assert (spec.when_occupied, spec.when_unmatched) == (WhenOccupied.KEEP, WhenUnmatched.DETACH)
    assert row_of(spec) == GOOD


def test_every_column_is_read_and_written_as_its_type() -> None:
    row: dict[str, Any] = {
        **GOOD,
        "instance_profile": {"S": "web-profile"},
        "priority": {"N": "5"},
        "enabled": {"BOOL": False},
        "when_occupied": {"S": "replace"},
        "when_unmatched": {"S": "keep"},
        "when_stopped": {"S": "swap"},
        "allow_broad": {"BOOL": True},
        "require_tags": {"M": {"env": {"S": "prod"}, "team": {"S": "*"}, "note": {"S": ""}}},
        "accounts": {"SS": ["000000000001", "123456789012"]},
        "not_accounts": {"SS": ["000000000002"]},
        "regions": {"SS": ["us-east-1", "us-gov-west-1"]},
        "units": {"SS": ["ou-a1b2-c3d4e5f6", "r-a1b2"]},
        "not_units": {"SS": ["ou-a1b2-d4e5f6a7/*"]},
        "rollout": {"S": "1, 10%, 100% every 15m"},
        "halt_on": {"SS": ["arn:aws:cloudwatch:us-east-1:123456789012:alarm:web errors", "web"]},
        "halt_after": {"N": "3"},
        "on_halt": {"S": "rollback"},
        "expires_at": {"S": "2026-12-31T18:00:00Z"},
        "owner": {"S": "web-team"},
        "description": {"S": "Reads\nthe bucket."},
    }
    spec = MappingSpec(
        key=MappingKey("workload", "web"),
        role="web",
        instance_profile="web-profile",
        priority=5,
        enabled=False,
        when_occupied=WhenOccupied.REPLACE,
        when_unmatched=WhenUnmatched.KEEP,
        when_stopped=WhenStopped.SWAP,
        allow_broad=True,
        require_tags={"env": "prod", "team": "*", "note": ""},
        accounts=frozenset({"000000000001", "123456789012"}),
        not_accounts=frozenset({"000000000002"}),
        regions=frozenset({"us-east-1", "us-gov-west-1"}),
        units=frozenset({"ou-a1b2-c3d4e5f6", "r-a1b2"}),
        not_units=frozenset({"ou-a1b2-d4e5f6a7/*"}),
        rollout="1, 10%, 100% every 15m",
        halt_on=frozenset({"arn:aws:cloudwatch:us-east-1:123456789012:alarm:web errors", "web"}),
        halt_after=3,
        on_halt=OnHalt.ROLLBACK,
        expires_at=datetime(2026, 12, 31, 18, tzinfo=UTC),
        owner="web-team",
        description="Reads\nthe bucket.",
    )
    assert read_row(row, HOME) == ParsedRow(spec)
    assert row_of(spec) == row
    assert read(expires_at={"S": "2026-12-31T19:00:00+01:00"}).spec == read(expires_at=row["expires_at"]).spec


def test_the_definition_names_every_field_of_a_mapping() -> None:
    fields = {name for name in MappingSpec.__dataclass_fields__ if name != "key"}
    assert {column.name for column in COLUMNS} == fields
    assert all(column.kind.range and column.default for column in (*KEYS, *COLUMNS, *PASSING))


def test_all_problems_are_told_at_once() -> None:
    verdict = read(role={"S": "none"}, priority={"N": "0"}, enabled={"S": "false"})
    assert [problem.column for problem in verdict.problems] == ["role", "priority", "enabled"]


# ---- what is still taken, up to each limit; what isn't is in tests/data/bad_rows.yaml ----


@pytest.mark.parametrize(
    ("column", "attribute"),
    [
        ("instance_profile", {"S": "a" * 128}),
        ("priority", {"N": "1"}),
        ("priority", {"N": "50000"}),
        ("priority", {"N": "1E+2"}),
        ("regions", {"SS": ["eu-central-1", "us-iso-east-1", "mx-central-1"]}),
        ("units", {"SS": [f"ou-{'a' * 32}-{'b' * 32}", "ou-a1b2-c3d4e5f6", "r-a1b2/*"]}),
        # The unit itself, and not those below it; those below it, and not the unit itself.
        ("units", {"SS": ["ou-a1b2-c3d4e5f6", "ou-a1b2-c3d4e5f6/*"]}),
        ("require_tags", {"M": {"aws:autoscaling:groupName": {"S": "web"}, "k" * 128: {"S": "v" * 256}}}),
        ("accounts", {"SS": [f"{at:012}" for at in range(1_000)]}),
        ("not_accounts", {"SS": [f"{at:012}" for at in range(1_000)]}),
    ],
)
def test_what_is_within_the_limits_is_taken(column: str, attribute: dict[str, Any]) -> None:
    assert read(**{column: attribute}).spec


# ---- types: those of DynamoDB are in the corpus; a file may hold what is none ----


@pytest.mark.parametrize("attribute", [{}, None, {"S": "x", "N": "1"}], ids=repr)
def test_what_is_no_value_of_dynamodb_is_refused(attribute: Any) -> None:
    assert "is no DynamoDB value" in refused("role: can't be read", role=attribute)


# ---- tags ----


@pytest.mark.parametrize(
    "text",
    ["web", "a b", "сервер", "生産", "עברית", "naïve", "Größe", "web 生産", "aws:x", "a/b=c#d", "µ-service", "🚀"],
)
def test_plain_text_of_any_script_is_a_tag(text: str) -> None:
    verdict = read(tag_value={"S": text})
    assert verdict.spec, verdict.problems
    assert verdict.spec.key.tag_value == text


@pytest.mark.parametrize("between", ["1", "42", "\u0663", "\u0301", "1\u0301"], ids=ascii)
def test_what_all_scripts_have_in_common_parts_no_word(between: str) -> None:
    """Digits and combining marks (Unicode TS 39)."""
    why = refused("mixes alphabets", tag_value={"S": f"n{between}\u043e"})
    assert f"CYRILLIC SMALL LETTER O (U+043E) at position {len(between) + 2} stands among Latin letters" in why
    assert refused("mixes alphabets", tag_value={"S": f"\u043e{between}n"})


@pytest.mark.parametrize(
    "text", ["web1", "\u0441\u043a\u043b\u0430\u04341", "2\u0446", "1-web-2\u0446", "web_\u0446"], ids=ascii
)
def test_a_word_of_one_script_may_have_digits(text: str) -> None:
    assert read(tag_value={"S": text}).problems == ()


# ---- anything at all ----

TEXT = st.text(max_size=80)
NUMBER = st.decimals(allow_nan=False, allow_infinity=False).map(str)
ATTRIBUTE = st.recursive(
    st.one_of(
        st.builds(lambda value: {"S": value}, TEXT),
        st.builds(lambda value: {"N": value}, NUMBER),
        st.builds(lambda value: {"BOOL": value}, st.booleans()),
        st.just({"NULL": True}),
        st.builds(lambda value: {"B": value}, st.binary(max_size=8)),
        st.builds(lambda value: {"SS": value}, st.lists(TEXT, min_size=1, max_size=3, unique=True)),
        st.builds(lambda value: {"NS": value}, st.lists(NUMBER, min_size=1, max_size=3, unique=True)),
    ),
    lambda inner: st.one_of(
        st.builds(lambda value: {"L": value}, st.lists(inner, max_size=3)),
        st.builds(lambda value: {"M": value}, st.dictionaries(TEXT, inner, max_size=3)),
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([column.name for column in (*KEYS, *COLUMNS, *PASSING)]), ATTRIBUTE))
def test_whatever_stands_in_a_row_it_is_a_mapping_or_has_a_problem(columns: dict[str, Any]) -> None:
    verdict = read_row({**GOOD, **columns}, HOME)
    assert bool(verdict.spec) != bool(verdict.problems)
    assert all(str(said).isprintable() for said in (*verdict.problems, *verdict.warnings))
    fingerprint({**GOOD, **columns})


def test_what_is_probably_a_mistake_is_said_beside_what_is_wrong() -> None:
    tags = {"M": {"a*": {"S": "1"}, "b*": {"S": "c*"}}}
    verdict = read(priority={"S": "7"}, require_tags=tags, role={"S": "none"})
    assert [problem.column for problem in verdict.problems] == ["role"]
    assert [str(warning) for warning in verdict.warnings] == [
        "priority: the text '7' was read as a number; use a Number (N)",
        "require_tags: 'c*' matches that very text: only a lone * stands for any value",
        "require_tags: 'a*' is that very key: only a value takes * for any",
        "require_tags: 'b*' is that very key: only a value takes * for any",
    ]


# ---- who edits, beside the mapping ----


@pytest.mark.parametrize("columns", [{}, {"role": {"S": "none"}}], ids=["good", "bad"])
def test_who_edits_is_read_beside_the_mapping(columns: dict[str, Any]) -> None:
    assert read(**columns, edited_by={"S": "ada"}) == replace(read(**columns), edited_by="ada")


# ---- the row of a mapping ----


@given(values.row_specs)
def test_the_row_of_a_mapping_reads_as_the_mapping(spec: MappingSpec) -> None:
    assert read_row(row_of(spec), HOME).spec == spec


# ---- unknown columns, size, likeness ----


def test_unknown_columns_are_warned_of_and_misspelt_ones_recognised() -> None:
    ours = {"status": {"S": "Published"}, "occupied": {"N": "1"}}
    verdict = read(prioritty={"N": "5"}, Enabled={"BOOL": False}, kitten={"S": "red"}, **ours)
    assert verdict.spec == read().spec
    assert list(map(str, verdict.warnings)) == [
        "unknown column 'Enabled' is not used; did you mean enabled?",
        "unknown column 'kitten' is not used",
        "unknown column 'prioritty' is not used; did you mean priority?",
    ]


def test_thousands_of_unknown_columns_are_told_in_a_line() -> None:
    verdict = read(**{f"x{at}": {"S": ""} for at in range(40_000)})
    assert verdict.warnings[-1].what == "and 39,995 more unknown columns"


@pytest.mark.parametrize("column", ["role", "instance_profile", "owner", "description", "when_stopped", "expires_at"])
@pytest.mark.parametrize("character", ["a", "\u200b", "\uff57", "/", " ", "arn:"])
def test_400_kb_of_text_are_refused_shortly(column: str, character: str) -> None:
    verdict = read(**{column: {"S": character * (400_000 // len(character.encode()))}})
    assert verdict.spec is None
    assert len(" ".join(map(str, verdict.problems))) < 600


def test_our_own_columns_and_the_order_of_sets_are_no_change() -> None:
    one = {**GOOD, "accounts": {"SS": ["1", "2"]}, "require_tags": {"M": {"a": {"S": "b"}}}}
    two = {
        **GOOD,
        "accounts": {"SS": ["2", "1"]},
        "require_tags": {"M": {"a": {"S": "b"}}},
        "status": {"S": "Published"},
        "status_reason": {"S": "in effect"},
        "status_revision": {"N": "1"},
        "matched": {"N": "3"},
        "occupied": {"N": "1"},
        "held_revision": {"N": "2"},
        "edited_by": {"S": "ada"},
    }
    assert content(one) == content(two)
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint({**two, "role": {"S": "api"}})
    assert content({"tags": {"L": [{"SS": ["b", "a"]}]}}) == content({"tags": {"L": [{"SS": ["a", "b"]}]}})


def test_the_account_of_an_arn_is_judged_by_where_we_run() -> None:
    row = {**GOOD, "role": {"S": "arn:aws-cn:iam::123456789012:role/web"}}
    assert "not its ARN" in read_row(row, replace(HOME, partition="aws-cn")).problems[0].what


TAG = "a=1"
WEB = published(TAG, "web")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("role", "db", "role: web → db"),
        ("instance_profile", "special", "instance_profile: none → special"),
        ("priority", 7, "priority: 100 → 7"),
        ("enabled", False, "enabled: true → false"),
        ("when_stopped", "swap", "when_stopped: wait → swap"),
        ("require_tags", {"b": "2", "a": "*"}, "require_tags: none → a=*, b=2"),
        ("regions", frozenset({"eu-west-1", "eu-central-1"}), "regions: none → eu-central-1, eu-west-1"),
        ("units", frozenset({"r-a1b2"}), "units: none → r-a1b2"),
        ("expires_at", NOW.astimezone(timezone(timedelta(hours=2))), "expires_at: none → 2026-03-01T09:00:00Z"),
        ("description", "x" * 200, f"description: none → {'x' * 79}…"),
    ],
)
def test_each_column_that_differs_is_told(column: str, value: Any, said: str) -> None:
    after = replace(WEB, spec=replace(WEB.spec, **{column: value}), revision=2)
    assert changes(WEB, after) == [said]


GONE, MOVED = replace(WEB, deleted=True), replace(WEB, profile_arn=arn("new/web"))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (WEB, replace(WEB, revision=2), []),
        (None, published(TAG, "web", priority=7), ["a new row", "role: web", "priority: 7"]),
        (GONE, WEB, ["the row is back", "role: web"]),
        (WEB, GONE, ["the row was deleted"]),
        (WEB, MOVED, [f"the instance profile: {arn('web')} → {arn('new/web')}"]),
    ],
)
def test_a_first_revision_a_deletion_and_another_profile_are_told(
    before: PublishedMapping | None, after: PublishedMapping, said: list[str]
) -> None:
    assert changes(before, after) == said
