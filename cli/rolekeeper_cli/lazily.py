"""Imports whose modules run at their first use, as `lazy import` has it (PEP 810): a `--help` needs few of them.

```python
with lazily():
    from rolekeeper_cli.instance import seen
```

Type checkers, linters and readers see a plain import of a module; what it has is written after its name: `seen.pages`.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import LazyLoader
from types import ModuleType

_OURS = ("rolekeeper_cli.", "rolekeeper_verify.")


class _Finder:
    """Finds a module of ours as others do, and has it run when an attribute of it is read. Packages run at once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_OURS):
            return None
        others = (each for each in sys.meta_path if each is not self)
        found = next(filter(None, (each.find_spec(fullname, path, target) for each in others)), None)
        if found and found.loader and found.submodule_search_locations is None:
            found.loader = LazyLoader(found.loader)
        return found


@contextmanager
def lazily() -> Iterator[None]:
    """Have the modules that are imported meanwhile run at their first use."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
