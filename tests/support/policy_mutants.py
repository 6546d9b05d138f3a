"""A policy document, weakened in every way: each statement, action, resource, test and value left out once."""

import json
from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]


def mutants(document: Document) -> Iterator[tuple[str, frozenset[str], Document]]:
    """Each with what is left out, in words, and the actions that may be answered otherwise by it."""
    for at, statement in enumerate(document["Statement"]):
        sid, actions = statement["Sid"], frozenset(statement["Action"])
        yield f"{sid}", actions, _without(document, at)
        for element in ("Action", "Resource"):
            if len(statement[element]) > 1:
                for each in statement[element]:
                    touched = frozenset({each}) if element == "Action" else actions
                    yield f"{sid}: {element} {each}", touched, _without(document, at, element, each)
        for operator, tests in statement.get("Condition", {}).items():
            for key, values in tests.items():
                yield f"{sid}: {operator} {key}", actions, _without(document, at, "Condition", operator, key)
                if isinstance(values, list) and len(values) > 1:
                    for each in values:
                        said = f"{sid}: {operator} {key} {each}"
                        yield said, actions, _without(document, at, "Condition", operator, key, each)


def _without(document: Document, *path: Any) -> Document:
    """A copy without what is at the end of the path; lists are walked by a position, and left by a value."""
    copy: Document = json.loads(json.dumps(document))
    at: Any = copy["Statement"]
    for step in path[:-1]:
        at = at[step]
    if isinstance(at, list) and not isinstance(path[-1], int):
        at.remove(path[-1])
    else:
        del at[path[-1]]
    return copy
