"""How large the house is: `make shape`. A table by package, then one line of JSON; exit code 1 beyond a limit.

Counted are the modules of the layer without its packages' `__init__.py`, and the lines of the layer with the functions;
`code` are the lines that aren't blank, comments or docstrings.
"""

import ast
import io
import json
import sys
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYER, FUNCTIONS = ROOT / "layers/rolekeeper/rolekeeper", ROOT / "functions"
# A newcomer keeps the number of modules in mind; the template stays easy to skim. A module is as long as its idea.
MOST_MODULES, LONGEST_TEMPLATE = 40, 1_700
_SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> int:
    """The lines of a module that hold code."""
    lines = {
        number
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in _SILENT
        for number in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            assert body
            lines -= set(range(body[0].lineno, body[0].end_lineno + 1))
    return len(lines)


def main() -> int:
    """Count, show, and say whether a limit is exceeded."""
    modules, lines, code = Counter[str](), Counter[str](), Counter[str]()
    sizes: dict[str, int] = {}
    for path in sorted([*LAYER.rglob("*.py"), *FUNCTIONS.glob("*.py")]):
        source = path.read_text()
        inside = path.relative_to(LAYER).parts if path.is_relative_to(LAYER) else ("functions", path.name)
        package = "/".join(inside[:-1]) or "."
        size = len(source.splitlines())
        lines[package] += size
        code[package] += code_lines(source)
        if path.is_relative_to(LAYER) and path.name != "__init__.py":
            modules[package] += 1
            sizes["/".join(inside)] = size
    print(f"{'package':16}{'modules':>9}{'lines':>9}{'code':>9}")
    for package in sorted(lines):
        print(f"{package:16}{modules[package]:>9,}{lines[package]:>9,}{code[package]:>9,}")
    largest = max(sizes, key=lambda each: sizes[each])
    template = len((ROOT / "template.yaml").read_text().splitlines())
    print(f"\nthe largest module is {largest} with {sizes[largest]} lines")
    shape = {
        "modules": modules.total(),
        "largest": sizes[largest],
        "lines": lines.total(),
        "code": code.total(),
        "template": template,
    }
    print(json.dumps(shape))
    return int(modules.total() > MOST_MODULES or template > LONGEST_TEMPLATE)


if __name__ == "__main__":
    sys.exit(main())
