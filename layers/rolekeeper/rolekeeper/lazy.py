"""Packages that import a module when it is first asked for (PEP 562): a cold start, or a `--help`, needs few."""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any


def modules_of(package: str, names: Iterable[str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package that imports these modules of its own."""

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return import_module(f"{package}.{name}")

    return get
