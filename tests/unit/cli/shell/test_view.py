"""A view: its fields are declared once, and JSON, the help and a schema have them from there."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import pytest
from jsonschema import Draft202012Validator

from rolekeeper_cli.shell.documents import as_json
from rolekeeper_cli.shell.view import View, document_schema, schema_of, shapes


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Wheel(View):
    size: Annotated[Size, "how large it is"]
    from_: Annotated[str | None, "who made it"]


class Vehicle(View):
    name: Annotated[str, "its name"]
    wheels: Annotated[Sequence[Wheel], "its wheels"]
    tags: Annotated[Mapping[str, int], "its tags"]
    spare: Annotated[Wheel | None, "the spare wheel"]
    seen: Annotated[datetime | None, "when it was seen"] = None
    more: Annotated[Any, "anything"] = None


class Car(Vehicle):
    doors: Annotated[int, "how many doors it has"]


WHEEL = Wheel(size=Size.SMALL, from_=None)
CAR = Car(name="a", wheels=[WHEEL], tags={}, spare=None, doors=4)


def test_a_schema_has_each_field_with_its_type_and_what_it_is_and_no_other_field() -> None:
    assert schema_of(Wheel) == {
        "type": "object",
        "properties": {
            "size": {"enum": ["small", "large"], "description": "how large it is"},
            "from": {"type": ["string", "null"], "description": "who made it"},
        },
        "required": ["size", "from"],
        "additionalProperties": False,
    }
    car = document_schema("car", list[Car])
    assert (car["$schema"], car["type"]) == ("https://json-schema.org/draft/2020-12/schema", "array")
    fields = car["items"]["properties"]
    assert list(fields) == ["name", "wheels", "tags", "spare", "seen", "more", "doors"]
    assert car["items"]["required"] == ["name", "wheels", "tags", "spare", "doors"], (
        "what has a default may be left out"
    )
    assert fields["wheels"]["items"] == schema_of(Wheel)
    assert fields["tags"]["additionalProperties"] == {"type": "integer"}
    assert fields["spare"]["anyOf"] == [schema_of(Wheel), {"type": "null"}]
    assert fields["seen"]["anyOf"] == [{"type": "string", "format": "date-time"}, {"type": "null"}]
    assert fields["more"] == {"description": "anything"}
    Draft202012Validator.check_schema(car)


def test_the_names_of_all_fields_are_found_by_where_they_are() -> None:
    wheel = ["size", "from"]
    assert list(shapes(list[Vehicle] | Wheel)) == [
        ("[]", ["name", "wheels", "tags", "spare", "seen", "more"]),
        ("[].wheels[]", wheel),
        ("[].spare", wheel),
        ("", wheel),
    ]
    assert list(shapes(Mapping[str, Wheel])) == [(".*", wheel)]


def test_json_has_the_fields_in_their_order_null_too_and_leaves_out_what_is_as_by_default() -> None:
    whole = '{"name": "a", "wheels": [{"size": "small", "from": null}], "tags": {}, "spare": null, "doors": 4}'
    assert as_json(CAR, indent=None) == whole
    assert '"more": 0' in as_json(CAR.but(more=0), indent=None)


def test_a_view_has_all_its_fields_no_other_one_and_doesn_t_change() -> None:
    assert (CAR.seen, CAR.doors, WHEEL.from_) == (None, 4, None)
    with pytest.raises(TypeError, match="Wheel lacks, or doesn't have, from_"):
        Wheel(size=Size.SMALL)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="colour"):
        WHEEL.but(colour="red")
    with pytest.raises(AttributeError, match="a view doesn't change"):
        WHEEL.size = Size.LARGE  # type: ignore[misc]
    assert WHEEL == Wheel(size=Size.SMALL, from_=None) != WHEEL.but(from_="x")
    assert "from_" in repr(WHEEL)
