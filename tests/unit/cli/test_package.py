"""The command installs on its own (`pipx install .`): its wheel, and beside it what it declares, and nothing else.

The wheel is built here, without a network. What it declares is linked from this environment into a folder of its own.
"""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
PACKAGES = {
    "rolekeeper": ROOT / "layers/rolekeeper/rolekeeper",
    "rolekeeper_cli": ROOT / "cli/rolekeeper_cli",
    "rolekeeper_verify": ROOT / "verify/rolekeeper_verify",
    "rolekeeper_local": ROOT / "local/rolekeeper_local",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
# What the extra `local` brings for the emulator's process, which nothing else imports; hypercorn is ministack's.
EMULATOR = {"ministack", "hypercorn"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's contents, as an installer unpacks them."""
    made, unpacked = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("unpacked")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(made)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    [file] = made.iterdir()
    with zipfile.ZipFile(file) as opened:
        opened.extractall(unpacked)
    return unpacked


@pytest.fixture(scope="module")
def needed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel declares, with what that needs in turn."""
    folder = tmp_path_factory.mktemp("needed")
    for name in _with_their_own(DECLARED):
        there = distribution(name)
        for top in {file.parts[0] for file in there.files or () if file.parts[0] != ".."} - {"__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(there.locate_file(top))))
    return folder


def _with_their_own(names: Iterable[str]) -> set[str]:
    """Distributions, with those that they need in turn."""
    found = set(names)
    for name in names:
        wanted = [Requirement(text) for text in distribution(name).requires or ()]
        plain = [each for each in wanted if not each.marker or each.marker.evaluate({"extra": ""})]
        found |= _with_their_own([canonicalize_name(each.name) for each in plain])
    return found


def run(code: str, *arguments: str, only: tuple[Path, ...]) -> str:
    """Run a process that sees Python's own library and these folders."""
    start = f"import sys; sys.path += {[str(each) for each in only]}; sys.argv[0] = 'rolekeeper'\n"
    # -I: no variables and no folder of ours; -S: no site-packages.
    line = [sys.executable, "-I", "-S", "-c", start + code, *arguments]
    ran = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def modules(folder: Path) -> list[str]:
    """The wheel's modules, by name."""
    names = [".".join(each.relative_to(folder).with_suffix("").parts) for each in folder.glob("rolekeeper*/**/*.py")]
    return [name.removesuffix(".__init__") for name in names]


def needs_the_emulator(file: Path) -> bool:
    """Whether a module is one of the emulator's process."""
    return bool(EMULATOR & set(_imported(ast.parse(file.read_text()))))


def test_it_holds_the_packages_whole_and_nothing_else(wheel: Path) -> None:
    [info] = wheel.glob("*.dist-info")
    assert {each.name for each in wheel.iterdir()} == {*PACKAGES, info.name}
    for name, source in PACKAGES.items():
        ours = {each.relative_to(source) for each in source.rglob("*") if each.is_file() and each.suffix != ".pyc"}
        assert {each.relative_to(wheel / name) for each in (wheel / name).rglob("*") if each.is_file()} == ours


def test_it_declares_what_it_imports_and_nothing_else(wheel: Path) -> None:
    distributions = packages_distributions()
    imported = {name for file in wheel.rglob("*.py") for name in _imported(ast.parse(file.read_text()))}
    others = imported - sys.stdlib_module_names - PACKAGES.keys() - EMULATOR
    # botocore is boto3's, which wants the very version; jinja2's templates are made of markupsafe, and a connection of
    # uvicorn's of h11.
    theirs = {"botocore": "boto3", "markupsafe": "jinja2", "h11": "uvicorn"}
    assert {canonicalize_name(distributions[name][0]) for name in others} == {*DECLARED, *theirs}
    for name, owner in theirs.items():
        assert name in _with_their_own({owner})
    assert {file.parent.name for file in wheel.rglob("*.py") if needs_the_emulator(file)} == {"rolekeeper_local"}


def test_the_extra_is_the_emulator_that_the_clone_has() -> None:
    text = (ROOT / "local/requirements.in").read_text()
    wanted = {line for line in text.splitlines() if line and not line.startswith("#")}
    assert set(PROJECT["optional-dependencies"]["local"]) == wanted - {"boto3"}
    assert "boto3" in DECLARED


def _imported(node: ast.AST) -> Iterator[str]:
    """The first names of what is imported anywhere, but for types alone."""
    match node:
        case ast.If(test=ast.Name("TYPE_CHECKING")):
            return
        case ast.Import(names):
            yield from (each.name.partition(".")[0] for each in names)
        case ast.ImportFrom(module=str(module), level=0):
            yield module.partition(".")[0]
    for child in ast.iter_child_nodes(node):
        yield from _imported(child)


def test_every_module_is_there_for_who_imports_it(wheel: Path, needed: Path) -> None:
    """All of them, as functions import more when they run. What only Lambda has isn't there, and isn't missed."""
    local = (wheel / "rolekeeper_local").glob("*.py")
    emulator = {f"rolekeeper_local.{file.stem}" for file in local if needs_the_emulator(file)}
    assert "rolekeeper_local.embedded" not in emulator
    names = [name for name in modules(wheel) if name not in emulator]
    code = f"import importlib; [importlib.import_module(each) for each in {names}]"
    run(f"{code}; assert 'aws_lambda_powertools' not in sys.modules", only=(wheel, needed))
    assert not list(needed.glob("aws_lambda_powertools*"))


def test_where_files_are_is_known_in_few_places(wheel: Path) -> None:
    """Modules beside which something has to be would find nothing once installed: two look for it, three bring it."""
    finding = {
        file.name for file in wheel.rglob("*.py") if re.search(r"\b__file__\b|importlib.resources", file.read_text())
    }
    assert finding == {"installed.py", "place.py", "comparison.py", "mail.py", "names.py"}
    assert all((wheel / "rolekeeper" / each).is_file() for each in ("permissions/broad.json", "mails.toml"))


def test_without_artifacts_it_says_what_to_do(wheel: Path, needed: Path) -> None:
    """`pipx install .` builds a wheel with the command alone."""
    code = f"import sys; sys.path += {[str(wheel), str(needed)]}\nfrom rolekeeper_cli.main import main; main()"
    line = [sys.executable, "-I", "-S", "-c", code, "deploy", "--yes"]
    ran = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, "make wheel" in ran.stderr) == (253, "", True)
