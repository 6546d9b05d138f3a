"""Deliberate faults in the real code, each of which the simulation has to find, or the tests that a mutant names.

They are in mutants.txt. A mutant replaces text of modules as they are imported, and of templates and machines as they
are read; a text that isn't there exactly once is an error, so that none outlives the code that it was made for.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from itertools import groupby
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Edit:
    module: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    name: str
    edits: tuple[Edit, ...]
    seed: int = 0
    tests: tuple[str, ...] = ()


def _read(table: str) -> Iterator[Mutant]:
    """The mutants of a table, which says how it is written."""
    module = ""
    for each in re.split(r"^= ", table, flags=re.MULTILINE)[1:]:
        heading, *lines = each.splitlines()
        name, _, seed = heading.removesuffix("]").partition(" [seed ")
        tests: tuple[str, ...] = ()
        edits: list[Edit] = []
        for kind, group in groupby(lines, key=lambda line: line[:1]):
            text = "\n".join(line[1:] for line in group)
            match kind:
                case "?":
                    tests = tuple(text.split())
                case "@":
                    module = text.strip()
                case "-":
                    edits.append(Edit(module, text, ""))
                case "+":
                    edits.append(replace(edits.pop(), new=text))
        yield Mutant(name, tuple(edits), int(seed or 0), tests)


MUTANTS = tuple(_read(Path(__file__).with_suffix(".txt").read_text()))


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002  # importlib's own
        """The mutant's code; never from a cache."""
        text = self.get_data(self.path).decode()
        for edit in self._edits:
            text = edited(text, edit)
        return compile(text, self.path, "exec")


class Finder(MetaPathFinder):
    """Imports the modules of a mutant with its edits; to be put first into `sys.meta_path`."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A module with edits; None for all others."""
        edits = [edit for edit in self._mutant.edits if edit.module == fullname]
        spec = PathFinder.find_spec(fullname, path, target) if edits else None
        if spec is None or spec.origin is None:
            return None
        spec.loader = _Loader(fullname, spec.origin, edits)
        return spec


def edited(text: str, edit: Edit) -> str:
    """A module's text with an edit.

    Raises:
        ValueError: what it replaces isn't there exactly once.
    """
    if (count := text.count(edit.old)) != 1:
        raise ValueError(f"{edit.module} holds this {count} times, not once: {edit.old!r}")
    return text.replace(edit.old, edit.new)


def named(name: str) -> Mutant:
    return next(each for each in MUTANTS if each.name == name)


def become(mutant: Mutant) -> None:
    """Import the code as this mutant from now on.

    Raises:
        ValueError: some of it is imported already.
    """
    if early := [edit.module for edit in mutant.edits if edit.module in sys.modules]:
        raise ValueError(f"imported already: {', '.join(early)}")
    sys.meta_path.insert(0, Finder(mutant))
    _read_edited([edit for edit in mutant.edits if (ROOT / edit.module).is_file()])


def _read_edited(edits: Sequence[Edit]) -> None:
    """Have the files of these edits read as the mutant has them."""
    read_text = Path.read_text

    def edited_text(path: Path, *args: Any, **kwargs: Any) -> str:
        text = read_text(path, *args, **kwargs)
        for edit in edits:
            if path.resolve() == ROOT / edit.module:
                text = edited(text, edit)
        return text

    if edits:
        Path.read_text = edited_text  # type: ignore[method-assign, assignment]
