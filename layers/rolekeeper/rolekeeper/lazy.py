"""Packages that import a module when it is first asked for (PEP 562): a cold start, or a `--help`, needs few."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def modules_of(package: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package that imports its own modules."""

    def get(name: str) -> Any:
        module = f"{package}.{name}"
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from error

    return get
