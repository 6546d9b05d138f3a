"""How large the code is: `make shape` prints figures with their limits and goals, and fails beyond a limit.

`bench/limits.toml` has the limits, which only fall: one that is higher than in a version of that file in git fails too,
unless that was allowed since. Lines are those of the files, as `ruff format` leaves them.
"""

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.imports import Imports
from bench.walks import walks

ROOT = Path(__file__).parents[1]
LAYER, FUNCTIONS, COMMAND, VERIFY, EMBEDDED, TESTS = (
    ROOT / name for name in ("layers", "functions", "cli", "verify", "local", "tests")
)
# What tests those, and what tests share.
_NOT_OF_THE_CORE = [
    TESTS / name for name in ("e2e", "fixtures", "local", "simulation", "support", "transcripts", "unit/cli")
]
LIMITS_FILE = "bench/limits.toml"
LONGEST_FUNCTION, POSITIONAL = 45, 3


@dataclass(frozen=True)
class Limit:
    """The most that a figure may be, what it should become, and what an issue `allowed` it more, and why."""

    limit: int
    goal: int
    allowed: Mapping[str, int] = field(default_factory=dict)


type Limits = Mapping[str, Limit]


def read_limits(text: str) -> Limits:
    return {name: Limit(**values) for name, values in tomllib.loads(text).items()}


def earlier_limits(repository: Path) -> Iterator[Limits]:
    """Yield the limits of each commit that changed them."""
    for commit in _git(repository, "log", "--format=%H", "--", LIMITS_FILE).split():
        text = _git(repository, "show", f"{commit}:{LIMITS_FILE}")
        if text:  # else the commit deleted them
            yield read_limits(text)


def raised(now: Limits, earlier: Limits) -> list[str]:
    """Return the figures whose limit was lower than what is allowed since explains."""
    return [
        name
        for name in now.keys() & earlier.keys()
        if now[name].limit - earlier[name].limit > sum(now[name].allowed.values()) - sum(earlier[name].allowed.values())
    ]


def _git(repository: Path, *arguments: str) -> str:
    """Return what git answers; nothing where there is no git or no history, as in a source archive."""
    try:
        ran = subprocess.run(["git", "-C", repository, *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        return ""
    return "" if ran.returncode else ran.stdout


class Source:
    """The modules below some folders, parsed; each is imported by its path below its folder."""

    def __init__(self, *folders: Path) -> None:
        found = sorted(path for folder in folders for path in folder.rglob("*.py"))
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
            starred = any(isinstance(argument, ast.Starred) for argument in node.args)
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


def _lines(folder: Path, suffix: str = ".py", *, apart_from: Sequence[Path] = ()) -> int:
    files = (path for path in folder.rglob(f"*{suffix}") if not any(map(path.is_relative_to, apart_from)))
    return sum(len(path.read_text().splitlines()) for path in files)


def measured() -> dict[str, list[str] | int]:
    """Return each figure: a number, or what it counts."""
    source = Source(LAYER / "rolekeeper", FUNCTIONS, COMMAND, VERIFY, EMBEDDED)
    found = walks()
    return {
        "layers, lines": _lines(LAYER),
        "command and console, lines": _lines(COMMAND) + _lines(VERIFY),
        "command and console, files": len([*COMMAND.rglob("*.py"), *VERIFY.rglob("*.py")]),
        "embedded AWS, lines": _lines(EMBEDDED),
        "tests, lines": _lines(TESTS),
        "tests of the core, lines": _lines(TESTS, apart_from=_NOT_OF_THE_CORE),
        "docs, lines": _lines(ROOT / "docs", ".md"),
        "template.yaml, bytes": (ROOT / "template.yaml").stat().st_size,
        **{f"functions: {name}": sorted(walk) for name, walk in found.items()},
        **{f"calls: {name}": walk.total() for name, walk in found.items()},
        f"functions longer than {LONGEST_FUNCTION} lines": list(source.long_functions()),
        "constructors called with *parts": list(source.constructed_by_parts()),
        f"calls of our own with more than {POSITIONAL} positional arguments": list(source.positional_calls()),
        "files in import cycles": source.imports.in_cycles(),
        "imports within functions": source.imports.within_functions(),
    }


def main(arguments: list[str]) -> int:
    """Measure, show, and say which limits are exceeded or raised; a word of a figure's name lists what it counts."""
    limits, found = read_limits((ROOT / LIMITS_FILE).read_text()), measured()
    counts = {name: figure if isinstance(figure, int) else len(figure) for name, figure in found.items()}
    too_high = {name for earlier in earlier_limits(ROOT) for name in raised(limits, earlier)}
    print(f"{'':62}{'now':>8}{'limit':>8}{'goal':>8}")
    for name, limit in limits.items():
        wrong = "  beyond its limit" if counts[name] > limit.limit else ""
        wrong += f"  raised: {LIMITS_FILE} says what to do" if name in too_high else ""
        print(f"{name:62}{counts[name]:>8,}{limit.limit:>8,}{limit.goal:>8,}{wrong}")
        listed = found[name]
        if not isinstance(listed, int) and any(word in name for word in arguments):
            print(*(f"  {line}" for line in listed), sep="\n")
    print(json.dumps(counts))
    return int(bool(too_high) or any(counts[name] > limit.limit for name, limit in limits.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
