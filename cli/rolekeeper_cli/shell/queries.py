"""What a `--query` (JMESPath) asks of a document, held against the document's schema: without a document.

So a name that no row has is refused for an empty list too, and before anything is read.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from rolekeeper.model.text import escaped
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.shell.suggest import did_you_mean
from rolekeeper_cli.shell.view import Schema

type Node = Mapping[str, Any]

# What may hold anything, such as what a function returns.
_ANYTHING: Schema = {}
_CONDITIONS = frozenset({"comparator", "and_expression", "or_expression", "not_expression"})
# Functions that return what they were given, in another order; and those that apply an expression to each row.
_SAME, _EACH = frozenset({"sort_by", "sort", "reverse"}), frozenset({"sort_by", "min_by", "max_by", "map"})


def refuse_unknown(query: str, schemas: Sequence[Schema]) -> None:
    """Raise UsageError if a query is no JMESPath, or asks for a field that none of these schemas has."""
    try:
        # Of a text in backticks, as the AWS CLI takes it.
        with warnings.catch_warnings(action="ignore", category=PendingDeprecationWarning):
            parsed = jmespath.compile(query).parsed
    except JMESPathError as error:
        # Its next lines show the expression again, and point into it.
        [first, *_] = str(error).split("\n")
        why = first.rpartition("jmespath expression: ")[2].removesuffix(", for expression:").rstrip(":")
        raise UsageError(f"--query: {query!r} is no JMESPath expression: {why}", "see https://jmespath.org") from error
    _find(parsed, _one_of(schemas))


def schema_like(document: Any) -> Schema:
    """Return a schema of a document of another program's: of the fields that are there, and of those of its rows."""
    if isinstance(document, list):
        rows = [row for row in document if isinstance(row, dict)]
        return _list_of({"properties": {name: _ANYTHING for row in rows for name in row}} if rows else _ANYTHING)
    return {"properties": dict.fromkeys(document, _ANYTHING)} if isinstance(document, dict) else _ANYTHING


def _one_of(schemas: Sequence[Schema]) -> Schema:
    if not schemas or _ANYTHING in schemas:
        return _ANYTHING
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _options(schema: Schema) -> Iterator[Schema]:
    if "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _options(each)
    else:
        yield schema


def _find(node: Node, schema: Schema) -> Schema:
    return _VISITS.get(node["type"], _all)(node["children"], schema, node.get("value"))


def _all(below: Sequence[Node], schema: Schema, _: Any) -> Schema:
    for child in below:
        _find(child, schema)
    return _ANYTHING


def _in_turn(below: Sequence[Node], schema: Schema, _: Any) -> Schema:
    for child in below:
        schema = _find(child, schema)
    return schema


def _projection(below: Sequence[Node], schema: Schema, _: Any) -> Schema:
    """Apply the second part, and a filter if there is one, to each row of the first."""
    rows, of_row, *condition = below
    row = _rows(_find(rows, schema))
    _all(condition, row, None)
    return _list_of(_find(of_row, row))


def _field(name: str, schema: Schema) -> Schema:
    options = [each for each in _options(schema) if each.get("type") != "null"]
    objects = [each["properties"] for each in options if "properties" in each]
    rows = [each for each in options if each.get("type") == "array"]
    if found := [each[name] for each in objects if name in each]:
        return _one_of(found)
    if len(objects) + len(rows) < len(options) or not options:
        return _ANYTHING
    names = list(dict.fromkeys(known for each in objects for known in each))
    if rows and not objects:
        names = list(dict.fromkeys(known for each in rows for known in _rows(each).get("properties", ())))
        if name in names or not names:
            raise UsageError(f"--query: {escaped(name)} is asked of a list", f"ask each of its rows: [].{name}")
    meant = f"{did_you_mean(name, names)} its fields: {', '.join(names)}".lstrip()
    raise UsageError(f"--query: the output has no field {escaped(name)}", meant)


def _rows(schema: Schema) -> Schema:
    options = list(_options(schema))
    rows = [each["items"] for each in options if each.get("type") == "array"]
    names = [name for each in options for name in each.get("properties", ())]
    if names and not rows:
        raise UsageError("--query: [] needs a list", f"ask one of its fields: {', '.join(names)}")
    return _one_of(rows)


def _list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _flatten(below: Sequence[Node], schema: Schema, _: Any) -> Schema:
    """Return a list without the lists that are directly in it."""
    items = _options(_rows(_find(below[0], schema)))
    return _list_of(_one_of([_rows(item) if item.get("type") == "array" else item for item in items]))


def _function(below: Sequence[Node], schema: Schema, name: str) -> Schema:
    if name == "not_null":
        return _ANYTHING
    lists = [found for found in (_find(child, schema) for child in below) if found.get("type") == "array"]
    if name in _EACH and lists:
        for child in below:
            if child["type"] == "expref":
                _find(child["children"][0], lists[0]["items"])
    return lists[0] if name in _SAME and lists else _ANYTHING


# By the type of a node of JMESPath's tree; what isn't here is an expression of its children, such as a comparison.
_VISITS: Mapping[str, Callable[[Sequence[Node], Schema, Any], Schema]] = {
    "field": lambda _, schema, name: _field(name, schema),
    "current": lambda _, schema, __: schema,
    "identity": lambda _, schema, __: schema,
    "slice": lambda _, schema, __: schema,
    "index": lambda _, schema, __: _rows(schema),
    "subexpression": _in_turn,
    "index_expression": _in_turn,
    "pipe": _in_turn,
    "projection": _projection,
    "filter_projection": _projection,
    "value_projection": lambda _, __, ___: _ANYTHING,
    "expref": lambda _, __, ___: _ANYTHING,
    "flatten": _flatten,
    "function_expression": _function,
    # Of alternatives not all have to be there; of conditions all do.
    "or_expression": lambda below, schema, _: _all([one for one in below if one["type"] in _CONDITIONS], schema, _),
}
