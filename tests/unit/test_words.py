"""Plain English: words that a person at three in the morning would read twice stay out of messages, help and docs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What is retired, and what to say instead.
RETIRED = {
    r"\b(is|are|was|were|be|been|isn't|aren't) told\b|\btell(s|ing)? of\b|\btold of\b": "is reported, shows, says",
    r"\bwhat became of\b|\bwhat becomes of\b": "the result, the outcome",
    r"\bmend(s|ed|ing)?\b": "fix, repair",
    r"\bamiss\b": "wrong",
    r"\b(lie|lies|lay|stand|stands|stood) (in|there|above|below|beside|under|at|once)\b": "is in, is under",
    r"\b[Ww]hoever\b": "anyone who, a person who",
    r"\b[Ss]omebody else\b": "another actor",
    r"\b[Ss]omebody\b": "a person, another actor",
    r"\bany more\b": "no longer",
    r"\bin vain\b": "without effect",
    r"\bbefall": "happen to",
    r"\b(comes|come|came|coming) (again|good)\b": "is retried, resolves itself",
    r"\b[Ss]o (many|long|often)\b": "this many, this long; the number itself",
    r"\bput(s|ting)? (off|aside)\b|\bkept back\b|\bkeeps? back\b": "retried, dead-lettered, delayed",
    r"\b(serve|serves|served|serving)\b": "published, in effect",
    r"\bNothing of this\b": "No changes will be made",
    r"\binstances (are|were) held\b|\binstance (is|was) held\b|\bwaiting, or held\b|\bholds (those|its) instances\b": (
        "blocked; edits are held"
    ),
    r"\bis through with\b|\bby and by\b|\bat a blow\b": "has finished",
}
# A page that quotes AWS's own words.
LEFT = ("docs/AWS_FACTS.md",)


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module that people may read, with the docstrings of what is deployed and of the command's help."""
    tree = ast.parse(path.read_text())
    deployed = any(ROOT / each in path.parents for each in ("layers", "functions"))
    documented = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    helps = path.name.endswith("command.py") or path.parent == ROOT / "cli/rolekeeper_cli"
    docstrings = {
        id(n.body[0].value)
        for n in documented
        if ast.get_docstring(n)
        and isinstance(n.body[0], ast.Expr)
        and not (helps and isinstance(n, ast.FunctionDef) and n.decorator_list)
    }
    docstrings = set() if deployed else docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def pages() -> list[Path]:
    """Every page, and the template."""
    found = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "template.yaml",
        ROOT / "spoke.yaml",
        ROOT / "tests/README.md",
        ROOT / "layers/rolekeeper/rolekeeper/mails.toml",
    ]
    return sorted(each for each in found if str(each.relative_to(ROOT)) not in LEFT)


def modules() -> list[Path]:
    """Every module with messages."""
    folders = (
        "layers/rolekeeper/rolekeeper",
        "functions",
        "cli/rolekeeper_cli",
        "verify/rolekeeper_verify",
        "local/rolekeeper_local",
    )
    return sorted(each for folder in folders for each in (ROOT / folder).rglob("*.py"))


def retired(where: str, text: str) -> list[str]:
    """The retired words in a text, each with what to say."""
    found = []
    for pattern, instead in RETIRED.items():
        found += [f"{where}: {each[0]!r}: say {instead}" for each in re.finditer(pattern, text)]
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda each: str(each.relative_to(ROOT)))
def test_a_page_uses_plain_words(page: Path) -> None:
    lines = enumerate(page.read_text().splitlines(), 1)
    assert [each for number, line in lines for each in retired(f"{page.name}:{number}", line)] == []


@pytest.mark.parametrize("module", modules(), ids=lambda each: str(each.relative_to(ROOT)))
def test_a_message_uses_plain_words(module: Path) -> None:
    found = [each for line, text in messages(module) for each in retired(f"{module.name}:{line}", text)]
    assert found == []


def test_the_retired_words_are_found() -> None:
    said = "Somebody else mends what was told of, so long as nothing comes again; Rolekeeper serves it."
    assert len(retired("here", said)) == 7


def test_no_module_takes_a_command_apart_that_was_written_for_people() -> None:
    deployed = [each for each in modules() if "local" not in each.relative_to(ROOT).parts]
    splits = [each.name for each in deployed if re.search(r"shlex\.split|from shlex import .*split", each.read_text())]
    assert splits == []
