"""A column's value as text: what people write in `mapping set` and see in a difference."""

import pytest
from hypothesis import given

from rolekeeper.mappings.rows.columns import CellError
from rolekeeper.mappings.rows.reader import row_of
from rolekeeper.model.mapping import MappingSpec
from rolekeeper_cli.uses.files import FILE_COLUMNS, Attribute, from_text, to_text
from strategies.values import row_specs


def _sorted(attribute: Attribute) -> Attribute:
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
        ("require_tags", "a=1; b= 2", {"M": {"a": {"S": "1"}, "b": {"S": "2"}}}),
        ("require_tags", "a\\=b=c=d;e=", {"M": {"a=b": {"S": "c=d"}, "e": {"S": ""}}}),
        ("require_tags", "a=b\\\\;c=d\\;e", {"M": {"a": {"S": "b\\"}, "c": {"S": "d;e"}}}),
        ("owner", "=HYPERLINK(1)", {"S": "=HYPERLINK(1)"}),
    ],
)
def test_a_text_is_read_as_people_write_it(name: str, text: str, attribute: Attribute) -> None:
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
