"""Packages whose modules are imported when they are first used (PEP 562), so that `--help` imports none of them."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType


def modules_of(package: str, names: list[str]) -> Callable[[str], ModuleType]:
    """The `__getattr__` of a package that imports these modules of its own."""

    def imported(name: str) -> ModuleType:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return import_module(f"{package}.{name}")

    return imported
