"""Who imports whom among our own modules: circles, and imports that hide within functions."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class Imports:
    """The imports of these modules, those for type checkers and those within functions included.

    Each is imported by its path below one of the `roots`.
    """

    def __init__(self, trees: Mapping[Path, ast.Module], roots: Sequence[Path]) -> None:
        self._trees = trees
        self._paths = {_module(path, roots): path for path in trees}

    def in_cycles(self) -> list[str]:
        """The modules that lead back to themselves."""
        graph = {name: set(self._imported(name)) for name in self._paths}
        return [name for name in graph if name in _reached(graph, name)]

    def within_functions(self) -> list[str]:
        """The import statements within functions, with their places."""
        return [
            f"{module}:{node.lineno}"
            for module, path in self._paths.items()
            for function in ast.walk(self._trees[path])
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]

    def _imported(self, module: str) -> Iterator[str]:
        for node in ast.walk(self._trees[self._paths[module]]):
            if isinstance(node, ast.Import):
                yield from (each.name for each in node.names if each.name in self._paths)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for each in node.names:
                    within = f"{node.module}.{each.name}"
                    if within in self._paths:
                        yield within
                    elif node.module in self._paths and node.module != module:
                        yield node.module


def _module(path: Path, roots: Sequence[Path]) -> str:
    root = next(each for each in roots if path.is_relative_to(each))
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """All to which the imports of a module lead."""
    found: set[str] = set()
    ahead = [start]
    while ahead:
        new = graph[ahead.pop()] - found
        found |= new
        ahead += new
    return found
