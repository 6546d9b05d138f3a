"""The docs are complete and true: their tables are compared with the code that they tell of."""

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tools.diagrams import DIAGRAMS, svg

from rolekeeper.mappings.rows import COLUMNS, KEYS, OURS, PASSING, HomeAccount, read_row
from rolekeeper.mappings.verdict import Status
from rolekeeper_cli.errors import ExitCode
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.settings import ACCOUNTS_VARIABLE, PORT_VARIABLE, as_environment
from spec import telemetry_scan as told
from spec.telemetry_scan import LAYER, constants, parsed
from strategies.situations import SITUATIONS, STATES
from support import templates

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "local/rolekeeper_local"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATIONS, MAPPINGS, CONCEPTS = (f"docs/{page}.md" for page in ("operations", "mappings", "concepts"))

TEMPLATE = templates.load()


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next of its level."""
    _, _, after = text_of(page).partition(f"\n## {heading}\n")
    assert after, f"{page} has no section '{heading}'"
    return after.partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The rows of the tables in a text, without those that head them."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    heads = {before for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False) if "|---" in line}
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line not in heads]


def named(text: str) -> list[str]:
    """The names in the first cells of the tables in a text."""
    return [name for first, *_ in rows(text) for name in re.findall(r"`([^`]+)`", first)]


def blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of one kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


def test_the_table_of_exit_codes_is_what_the_helps_say() -> None:
    assert rows(text_of("docs/cli.md")) == [[str(int(code)), code.says] for code in ExitCode]


# ---- mappings ----


@pytest.mark.parametrize("column", [*KEYS, *COLUMNS, *PASSING], ids=lambda column: column.name)
def test_a_column_is_explained_with_its_type_and_default(column: Any) -> None:
    [row] = [row for row in rows(section(MAPPINGS, "Columns")) if row[0] == f"`{column.name}`"]
    assert (row[1], row[2].strip("`")) == (column.kind.type, column.default)
    assert all(row[3:])


def test_every_status_says_what_it_means_and_what_to_do() -> None:
    table = rows(section(MAPPINGS, "Status"))
    assert sorted(name for row in table for name in re.findall(r"`([\w ]+)`", row[0])) == sorted(Status)
    assert all(len(row) == 3 and all(row) for row in table)


@pytest.mark.parametrize("example", blocks(MAPPINGS, "json"))
def test_an_example_of_a_mapping_is_read_without_a_warning(example: str) -> None:
    verdict = read_row(json.loads(example), HomeAccount("123456789012"))
    assert verdict.spec
    assert not verdict.warnings


def test_the_bad_example_says_what_the_page_says() -> None:
    [row], [said] = blocks(MAPPINGS, "json bad"), blocks(MAPPINGS, "text")
    verdict = read_row(json.loads(row), HomeAccount("123456789012"))
    assert [str(each) for each in verdict.problems] == said.splitlines()


# ---- deploying ----


def test_what_a_deployer_must_be_allowed_names_every_type_of_resource() -> None:
    types = {each["Type"] for each in TEMPLATE["Resources"].values()}
    made_by_sam = {
        "AWS::Serverless::Function": {
            "AWS::Lambda::Function",
            "AWS::Lambda::EventInvokeConfig",
            "AWS::Lambda::EventSourceMapping",
            "AWS::Lambda::Permission",
            "AWS::Events::Rule",
        },
        "AWS::Serverless::LayerVersion": {"AWS::Lambda::LayerVersion"},
        "AWS::Serverless::StateMachine": {"AWS::StepFunctions::StateMachine"},
    }
    wanted = {made for each in types for made in made_by_sam.get(each, {each})}
    table = section("docs/deploy.md", "What the deployer must be allowed")
    assert set(re.findall(r"`(AWS::\w+::\w+)`", table)) == wanted


# ---- decisions ----


def decision_codes() -> set[str]:
    """Every code that a decision can have, wherever it is given."""
    codes: set[str] = set()
    for node in parsed(*(LAYER / "instances").glob("*.py"), *(LAYER / "model").glob("*.py")):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in {"Decision", "decision", "_left_alone"}:
                codes |= constants(node.args[1]) if len(node.args) > 1 else set()
            if isinstance(node.func, ast.Name) and node.func.id == "Withheld":
                codes |= constants(node.args[0])
            codes |= {each for keyword in node.keywords if keyword.arg == "code" for each in constants(keyword.value)}
        elif isinstance(node, ast.Assign) and any(isinstance(at, ast.Name) and at.id == "code" for at in node.targets):
            codes |= constants(node.value)
    assert {"unoccupied", "observed", "occupied", "propagating", "denied", "refused"} <= codes, "the scan finds less"
    return codes


def test_a_decision_names_the_actions_that_it_has_in_some_situation() -> None:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for situation in SITUATIONS.values():
        for ending in (situation.ends or situation.decides, *map(situation.decides_in, STATES)):
            action, code = ending.split()
            found[code].add(action)
    for code, actions, meaning, advice in rows(section(CONCEPTS, "Decisions")):
        assert set(actions.split(", ")) == found[code.strip("`")]
        assert all((meaning, advice))


# ---- operations ----


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_a_parameter_is_explained_with_its_default(name: str) -> None:
    [row] = [row for row in rows(section(OPERATIONS, "Parameters")) if row[0] == f"`{name}`"]
    assert row[1].strip("`") == (str(TEMPLATE["Parameters"][name]["Default"]) or "empty")


@pytest.mark.parametrize(
    ("page", "heading", "names"),
    [
        (MAPPINGS, "Columns", [*(column.name for column in (*KEYS, *COLUMNS, *PASSING)), *OURS]),
        (CONCEPTS, "Decisions", decision_codes()),
        (OPERATIONS, "Parameters", [*TEMPLATE["Parameters"], *TEMPLATE["Outputs"]]),
        (OPERATIONS, "Events", told.events()),
        (OPERATIONS, "Metrics", told.metrics()),
    ],
)
def test_every_name_of_the_code_is_explained_and_no_other(page: str, heading: str, names: Iterable[str]) -> None:
    """The outputs among the parameters, some of which have the name of one."""
    assert sorted(set(named(section(page, heading)))) == sorted(set(names))


# ---- security and the embedded AWS ----


def test_every_permission_of_a_function_is_listed() -> None:
    text = section("docs/security.md", "What each function may do")
    for name in templates.of_type("AWS::Serverless::Function"):
        assert f"`{name}`" in text
        for statement in templates.policy_statements(
            TEMPLATE["Resources"], f"{name}Role", met=("HasKey", "MakesProfiles")
        ):
            actions = templates.listed(statement["Action"])
            assert [each for each in actions if f"`{each}`" not in text and not each.startswith("logs:")] == []


def test_every_exception_of_the_embedded_aws_is_listed_with_its_reason() -> None:
    code = "".join((LOCAL / f"{name}.py").read_text() for name in ("iam_exceptions", "dynamodb_keys", "organizations"))
    key = r"\b(?:aws|dynamodb|ec2|events):[A-Za-z]+"
    supplied = {name.lower() for name in re.findall(f'"({key})', code)}
    actions = {"ec2:associateiaminstanceprofile", "ec2:replaceiaminstanceprofileassociation", "ec2:runinstances"}
    listed = {name.lower() for name in re.findall(key, section("docs/local.md", "IAM"))}
    assert supplied - actions - {"events:putevents", "aws:resourceaccount"} - listed == set()


def test_every_knob_of_the_embedded_aws_is_listed_with_its_default() -> None:
    table = {row[0].strip("`"): row[1] for row in rows(section("docs/local.md", "Knobs"))}
    defaults = {name: float(value) for name, value in as_environment(Timings()).items()}
    assert set(table) == {*defaults, PORT_VARIABLE, ACCOUNTS_VARIABLE}
    assert {name: float(table[name]) for name in defaults} == defaults


# ---- contributing, and all pages ----


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_is_what_its_source_draws_and_a_page_shows_it(name: str) -> None:
    assert text_of(f"docs/{name}.svg") == svg(DIAGRAMS[name])
    assert any(f"]({name}.svg)" in page.read_text() for page in PAGES)


def test_every_target_of_make_is_explained() -> None:
    targets = re.findall(r"^([a-z0-9-]+):.*## ", text_of("Makefile"), re.MULTILINE)
    text = text_of("README.md") + text_of("CONTRIBUTING.md")
    assert "demo" in [target for target in targets if f"make {target}" in text] == targets


def test_every_target_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text_of("Makefile"), re.MULTILINE))
    for page in PAGES:
        named_here = re.findall(r"(?:`|^)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE)
        assert [target for target in named_here if target not in targets] == [], page.name


def test_every_dependency_has_its_line() -> None:
    wanted = {
        re.split(r"[\[<>=~! ]", line, maxsplit=1)[0]
        for lock in [*ROOT.glob("requirements/*.in"), ROOT / "local/requirements.in", LAYER.parent / "requirements.in"]
        for line in lock.read_text().splitlines()
        if line and not line.startswith(("#", "-c "))
    }
    wanted |= set(json.loads(text_of("requirements/node/package.json"))["dependencies"])
    table = rows(section("CONTRIBUTING.md", "Dependencies"))
    assert sorted(name for row in table for name in re.findall(r"`([^`]+)`", row[0])) == sorted(wanted)
    assert all(len(row) == 3 and row[2] for row in table)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    """In code or in the picture: from the root, or the name alone of a module in the layer, the functions or local."""
    text = page.read_text()
    code = [*re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL), *re.findall(r"`([^`\n]+)`", text)]
    names = {
        name for piece in code for name in re.findall(r"(?<![\w/.*<-])[\w/.-]+\.(?:py|ya?ml|json|toml|md)\b", piece)
    }
    places = [
        ROOT,
        *(each for each in LAYER.rglob("*") if each.is_dir()),
        LAYER,
        LOCAL,
        ROOT / "functions",
        ROOT / "docs",
        ROOT / "examples/gitops",
    ]
    assert [name for name in sorted(names) if not any((place / name).exists() for place in places)] == []


def test_the_changelog_has_a_dated_entry_for_the_version() -> None:
    version = re.search(r'^version = "(.+)"$', text_of("pyproject.toml"), re.MULTILINE)
    assert version
    text = text_of("CHANGELOG.md")
    assert "## [Unreleased]" in text
    assert re.search(rf"^## \[{re.escape(version[1])}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE)
