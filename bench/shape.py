"""How large the code is: `make shape` prints figures with their limits and goals, and fails beyond a limit.

A limit is what the code has reached: whoever lowers a figure lowers its limit too, and whoever adds a feature raises it
by what that is worth, and says why in the commit. Lines are those of the files, as `ruff format` leaves them.
"""

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.imports import Imports
from bench.walks import walks

ROOT = Path(__file__).parents[1]
LAYER, FUNCTIONS, COMMAND, EMBEDDED = (ROOT / each for each in ("layers", "functions", "cli", "local"))
LONGEST_FUNCTION, POSITIONAL = 45, 3


@dataclass(frozen=True)
class Limit:
    """The most that a figure may be, and what it should become."""

    limit: int
    goal: int


LIMITS: Mapping[str, Limit] = {
    "layers, lines": Limit(11_405, 8_000),
    "command and console, lines": Limit(28_940, 14_000),
    "command and console, files": Limit(142, 95),
    "embedded AWS, lines": Limit(6_690, 4_800),
    "tests, lines": Limit(78_820, 46_000),
    "docs, lines": Limit(5_050, 4_200),
    "template.yaml, lines": Limit(1_590, 1_500),
    "files entered: instance attached": Limit(14, 14),
    "files entered: row published": Limit(24, 20),
    "files entered: mapping set": Limit(36, 30),
    "files entered: console's instance page": Limit(29, 25),
    f"functions longer than {LONGEST_FUNCTION} lines": Limit(0, 0),
    "constructors called with *parts": Limit(0, 0),
    f"calls of our own with more than {POSITIONAL} positional arguments": Limit(0, 0),
    "files in import cycles": Limit(0, 0),
    "imports within functions": Limit(10, 10),
}


class Source:
    """The modules below some folders, parsed; each is imported by its path below its folder."""

    def __init__(self, *folders: Path) -> None:
        found = sorted(path for each in folders for path in each.rglob("*.py"))
        self.trees = {path: ast.parse(path.read_text()) for path in found}
        self.imports = Imports(self.trees, folders)

    def long_functions(self) -> Iterator[str]:
        """The functions that are longer than a screen."""
        found: list[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]] = []
        found += [*self._nodes(ast.FunctionDef), *self._nodes(ast.AsyncFunctionDef)]
        for path, node in found:
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"{_place(path, node)} {node.name}: {lines} lines"

    def constructed_by_parts(self) -> Iterator[str]:
        """The calls of classes of our own that pass a tuple on as positional arguments; not as names of an option."""
        classes = self._defined(ast.ClassDef) - {"CommonOption"}
        for path, node in self._nodes(ast.Call):
            starred = any(isinstance(each, ast.Starred) for each in node.args)
            if starred and _name(node.func) in classes:
                yield f"{_place(path, node)} {ast.unparse(node.func)}"

    def positional_calls(self) -> Iterator[str]:
        """The calls of our own classes and functions with too many positional arguments to tell them apart."""
        variadic = {node.name for _, node in self._nodes(ast.FunctionDef) if node.args.vararg}
        ours = (self._defined(ast.ClassDef) | self._defined(ast.FunctionDef)) - variadic
        for path, node in self._nodes(ast.Call):
            if len(node.args) > POSITIONAL and _name(node.func) in ours:
                yield f"{_place(path, node)} {ast.unparse(node.func)}"

    def _nodes[Node: ast.AST](self, kind: type[Node]) -> Iterator[tuple[Path, Node]]:
        for path, tree in self.trees.items():
            yield from ((path, node) for node in ast.walk(tree) if isinstance(node, kind))

    def _defined(self, kind: type[ast.ClassDef | ast.FunctionDef]) -> set[str]:
        return {node.name for _, node in self._nodes(kind)}


def _name(callee: ast.expr) -> str:
    """The last part of what is called: a function's or a class's own name."""
    if isinstance(callee, ast.Attribute):
        return callee.attr
    return callee.id if isinstance(callee, ast.Name) else ""


def _place(path: Path, node: ast.stmt | ast.expr) -> str:
    return f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name}:{node.lineno}"


def _lines(folder: Path, suffix: str = ".py") -> int:
    files = (path for path in folder.rglob(f"*{suffix}"))
    return sum(len(path.read_text().splitlines()) for path in files)


def measured() -> dict[str, list[str] | int]:
    """Each figure: a number, or what it counts."""
    source = Source(LAYER / "rolekeeper", FUNCTIONS, COMMAND, EMBEDDED)
    figures: list[list[str] | int] = [
        _lines(LAYER),
        _lines(COMMAND),
        len(list(COMMAND.rglob("*.py"))),
        _lines(EMBEDDED),
        _lines(ROOT / "tests"),
        _lines(ROOT / "docs", ".md"),
        len((ROOT / "template.yaml").read_text().splitlines()),
        *walks().values(),
        list(source.long_functions()),
        list(source.constructed_by_parts()),
        list(source.positional_calls()),
        source.imports.in_cycles(),
        source.imports.within_functions(),
    ]
    return dict(zip(LIMITS, figures, strict=True))


def main(arguments: list[str]) -> int:
    """Measure, show, and say whether a limit is exceeded; a word of a figure's name has what it counts listed."""
    found = measured()
    counts = {name: each if isinstance(each, int) else len(each) for name, each in found.items()}
    print(f"{'':62}{'now':>8}{'limit':>8}{'goal':>8}")
    beyond = []
    for name, limit in LIMITS.items():
        over = counts[name] > limit.limit
        print(f"{name:62}{counts[name]:>8,}{limit.limit:>8,}{limit.goal:>8,}{'  beyond its limit' if over else ''}")
        beyond += [name] if over else []
        listed = found[name]
        if not isinstance(listed, int) and any(word in name for word in arguments):
            print(*(f"  {each}" for each in listed), sep="\n")
    print(json.dumps(counts))
    return int(bool(beyond))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
