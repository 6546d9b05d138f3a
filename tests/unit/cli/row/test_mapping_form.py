"""Mappings as a file: what is written is read back, and what people mistype is told with its place."""

from contextlib import suppress

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rolekeeper.mappings.rows import Attributes, CellError, HomeAccount, row_of
from rolekeeper.model.mapping import MappingKey, MappingSpec, WhenStopped
from rolekeeper_cli.row import files
from rolekeeper_cli.row.edits import from_text, to_text
from rolekeeper_cli.row.files import FILE_COLUMNS, FileError, Reading, read_file
from rolekeeper_cli.row.use import file_row
from strategies.values import row_specs

HOME = HomeAccount("123456789012")
SMALL = "tag_key: workload\n  tag_value: web\n  role: web\n"


def written(specs: list[MappingSpec]) -> bytes:
    return files.write([file_row(row_of(spec), HOME)[0] for spec in specs]).encode()


def read(text: str | bytes) -> Reading:
    return read_file(text if isinstance(text, bytes) else text.encode(), "m.yaml", HOME)


def row(*lines: str) -> Reading:
    """A file of one good row with these further lines."""
    return read(f"mappings:\n- {SMALL}" + "".join(f"  {line}\n" for line in lines))


def only(reading: Reading) -> MappingSpec:
    assert list(reading.problems) == []
    [spec] = reading.specs
    return spec


# ---- written and read back ----

# Tags' values that other readers of YAML take for something else than text.
LIKE_OTHERS = ("no", "on", "007", "1e3", "0x1F", "1_000", "2030-01-01", "null", "~", "=A1", "'x", "-")


@given(specs=st.lists(row_specs, min_size=1, max_size=4, unique_by=lambda spec: spec.key))
@example([MappingSpec(MappingKey("app", "web"), "web", when_stopped=WhenStopped.SWAP)])
@example([MappingSpec(MappingKey("looks-like", text), "web") for text in LIKE_OTHERS])
@settings(max_examples=50)
def test_every_mapping_that_can_be_is_written_and_read_back(specs: list[MappingSpec]) -> None:
    reading = read(written(specs))
    assert list(reading.problems) == []
    assert list(reading.specs) == specs


def test_line_ends_of_windows_and_a_byte_order_mark_change_nothing() -> None:
    spec = MappingSpec(MappingKey("workload", "größe"), "web", description="Prüft")
    data = written([spec]).decode().replace("\n", "\r\n")
    for coded in (data.encode("utf-8-sig"), data.encode("utf-16"), data.encode()):
        assert only(read(coded)) == spec


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "is empty"), (b" \n\n", "is empty"), (b"\xff\xff", "byte 1 is no UTF-8")]
)
def test_what_is_no_text_or_none_at_all_is_told(data: bytes, words: str) -> None:
    with pytest.raises(FileError, match=words):
        read(data)


def test_a_row_that_stands_there_twice_is_told_with_both_lines() -> None:
    spec = MappingSpec(MappingKey("a=b", "c"), "web")
    [problem] = read(written([spec, spec])).problems
    assert problem == r"m.yaml:6: a\=b=c: is the same row as line 2; keep one"


# ---- what people write ----


@pytest.mark.parametrize(
    ("line", "column", "value"),
    [
        ("accounts: [012345678901, 123456789012]", "accounts", frozenset({"012345678901", "123456789012"})),
        ("units: [ou-a1b2-c3d4e5f6, r-a1b2]", "units", frozenset({"ou-a1b2-c3d4e5f6", "r-a1b2"})),
        ("owner: no", "owner", "no"),
        ("owner: 7", "owner", "7"),
        ("owner: ''", "owner", ""),
        ("enabled: false", "enabled", False),
        ("enabled: False", "enabled", False),
        ("priority: 50", "priority", 50),
        ("require_tags: {on: yes, size: 010}", "require_tags", {"on": "yes", "size": "010"}),
        ("require_tags: {a: ''}", "require_tags", {"a": ""}),
        ("description: |\n    two\n    lines", "description", "two\nlines\n"),
    ],
)
def test_text_is_taken_as_it_is_written(line: str, column: str, value: object) -> None:
    assert getattr(only(row(line)), column) == value


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("role: db", "role: is there twice; keep one"),
        ("owner:", "owner: is empty; leave the column out"),
        ("owner: ~", "owner: is empty"),
        ("owner: [a]", "owner: is a list; write one text"),
        ("owner: !!binary aGk=", "owner: has the YAML tag '!!binary'"),
        ("owner: !secret x", "owner: has the YAML tag '!secret'"),
        ("enabled: yes", "enabled: is 'yes'; write true or false"),
        ("enabled: 'true'", "enabled: is 'true'; write true or false, without quotes"),
        ("priority: high", "priority: is the text 'high'"),
        ("priority: 1_000", "priority: is the text '1_000'"),
        ("priority: [1]", "priority: is a list"),
        ("accounts: '123456789012'", "accounts: is one text; write a list, as ['123456789012']"),
        ("accounts: []", "accounts: is empty; remove it for all"),
        ("accounts: [~]", "accounts: an entry is empty"),
        ("accounts: [[a]]", "accounts: an entry is a list"),
        ("require_tags: [a]", "require_tags: is a list; write a map"),
        ("require_tags: {a: 1, a: 2}", "require_tags: names 'a' twice"),
        ("require_tags: {a: }", "the value of 'a' is empty; write ''"),
        ("require_tags: {a: {b: c}}", "the value of 'a' is a map"),
        ("expires_at: 2030-01-01", "expires_at: is '2030-01-01', which has no time zone"),
        ("status: Published", "status: isn't written in a file"),
        ("edited_by: ada", "edited_by: isn't written in a file"),
        ("? [a]\n  : b", "a column's name is a list"),
    ],
)
def test_a_bad_cell_is_told_with_its_line(line: str, words: str) -> None:
    [problem] = row(line).problems
    assert problem.startswith("m.yaml:5: workload=web: ")
    assert words in problem


def test_all_that_is_wrong_is_told_at_once() -> None:
    problems = read("mappings:\n- tag_key: a\n  tag_value: b\n  enabled: maybe\n- x\n-\n- {}\n").problems
    assert [each.split(":", 2)[1:] for each in problems] == [
        ["4", " a=b: enabled: is 'maybe'; write true or false, without quotes"],
        ["2", " a=b: role: is missing; give an IAM role's name of up to 64 characters, or NONE"],
        ["5", " is no mapping; write its columns, as tag_key: workload"],
        ["6", " is no mapping; write its columns, as tag_key: workload"],
        ["7", " is empty; write its columns, or take it out"],
    ]


def test_defaults_can_be_shared_by_an_anchor() -> None:
    text = f"mappings:\n- &first\n  {SMALL}  owner: me\n- <<: *first\n  tag_value: db\n  role: db\n"
    found = [(each.key.tag_value, each.role, each.owner) for each in read(text).specs]
    assert found == [("web", "web", "me"), ("db", "db", "me")]


def test_shared_defaults_dont_nest() -> None:
    text = "x: &a {owner: me}\n"
    with pytest.raises(FileError, match="'x' is unknown here"):
        read(text + "mappings: []")
    nested = f"mappings:\n- &a\n  {SMALL}- &b\n  <<: *a\n  tag_value: b\n- <<: *b\n  tag_value: c\n"
    assert "takes only maps" in read(nested).problems[0]
    assert "takes only maps" in read(f"mappings:\n- {SMALL}  <<: [7]\n").problems[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- tag_key: a", "m.yaml:1: isn't a map with 'mappings'"),
        ("just text", "isn't a map with 'mappings'"),
        ("mapping: []", "'mapping' is unknown here; did you mean mappings?"),
        ("mappings: {a: b}", "m.yaml:1: 'mappings' is no list"),
        ("mappings: []\nmappings: []", "m.yaml:2: 'mappings' is there twice"),
        ("{}", "holds nothing"),
        ("# nothing", "holds only comments"),
        ("mappings:\n\t- a", "m.yaml:2:1: a tab"),
        ("mappings: [", "isn't YAML"),
        ("mappings: []\n---\nmappings: []", "isn't YAML"),
        ("mappings:\n- a: \x00", "isn't YAML"),
        ("mappings: *nowhere", "isn't YAML"),
        ("mappings: " + "[" * 100_000, "nested too deep|isn't YAML"),
    ],
)
def test_a_file_that_isnt_a_list_of_mappings_is_told_where(text: str, words: str) -> None:
    with pytest.raises(FileError, match=words):
        read(text)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader_of_yaml(text: str) -> None:
    with suppress(FileError):
        read(text)


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
def test_with_libyaml_or_without_it_reads_the_same(loader: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_Loader", loader)
    assert only(row("accounts: [012345678901]", "owner: no")).owner == "no"
    with pytest.raises(FileError, match="a tab"):
        read("mappings:\n\t- a")


# ---- a column's value as text: what people write in `mapping set` and see in a difference ----


def _sorted(attribute: Attributes) -> Attributes:
    return {"SS": sorted(attribute["SS"])} if "SS" in attribute else attribute


@given(row_specs)
def test_every_value_is_read_back_as_it_was(spec: MappingSpec) -> None:
    for name, attribute in row_of(spec).items():
        assert _sorted(from_text(FILE_COLUMNS[name], to_text(attribute))) == _sorted(attribute)


@pytest.mark.parametrize(
    ("name", "text", "attribute"),
    [
        ("priority", "7", {"N": "7"}),
        ("enabled", "FALSE", {"BOOL": False}),
        ("enabled", "true", {"BOOL": True}),
        ("accounts", "012345678901;210987654321", {"SS": ["012345678901", "210987654321"]}),
        ("accounts", "012345678901, 210987654321\n", {"SS": ["012345678901", "210987654321"]}),
        ("accounts", ";", {"SS": []}),
        ("halt_on", " web errors; db, api\n", {"SS": ["web errors", "db", "api"]}),
        ("require_tags", "a=1; b= 2", {"M": {"a": {"S": "1"}, "b": {"S": "2"}}}),
        ("require_tags", "a\\=b=c=d;e=", {"M": {"a=b": {"S": "c=d"}, "e": {"S": ""}}}),
        ("require_tags", "a=b\\\\;c=d\\;e", {"M": {"a": {"S": "b\\"}, "c": {"S": "d;e"}}}),
        ("owner", "=HYPERLINK(1)", {"S": "=HYPERLINK(1)"}),
    ],
)
def test_a_text_is_read_as_people_write_it(name: str, text: str, attribute: Attributes) -> None:
    assert from_text(FILE_COLUMNS[name], text) == attribute


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("enabled", "yes", "is 'yes'; write true or false"),
        ("require_tags", "environment", "holds 'environment'; write key=value"),
        ("require_tags", "a=1;a=2", "names 'a' twice"),
        ("require_tags", "a=b\\", "ends with a backslash"),
    ],
)
def test_what_has_no_meaning_is_refused_with_its_reason(name: str, text: str, words: str) -> None:
    with pytest.raises(CellError, match=words):
        from_text(FILE_COLUMNS[name], text)
