"""How ministack is corrected: a function of ours takes the place of one of its own, which it is given first.

ministack has no public API inside its process; the release is pinned. What is corrected later sees the calls earlier.
"""

import functools
from collections.abc import Callable, MutableMapping
from types import ModuleType
from typing import Any


def correct(ours: Callable[..., Any], name: str, *places: ModuleType | type | MutableMapping[str, Any]) -> None:
    """Have `ours(original, ...)` called for `original(...)`, by its name in a module, a class or a table of handlers.

    A function that several modules have imported is corrected in each of these places.
    """
    first = places[0]
    original = first[name] if isinstance(first, MutableMapping) else getattr(first, name)

    @functools.wraps(original)
    def corrected(*arguments: Any, **named: Any) -> Any:
        return ours(original, *arguments, **named)

    for place in places:
        if isinstance(place, MutableMapping):
            place[name] = corrected
        else:
            setattr(place, name, corrected)
