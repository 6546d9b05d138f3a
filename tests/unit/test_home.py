"""The deployment's own target is one like any other: only the registry and `App.at` ask which it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

from support.templates import ROOT

ASKED = {"home", "hub", "is_hub", "several", "elsewhere", "judged_here"}
MAY_ASK = {"fleet/targets.py", "app.py at"}
# A row may name only roles and profiles of the deployment's own account.
ABOUT_NAMES = {"mappings/rows.py _about_arn"}
# What is left, which only becomes less: delete a line once its function asks no longer.
LEFT = {
    "mappings/account_records.py": "_is_in_scope _record_in _renew write_all",
    "mappings/accounts.py": "all _keep counted in_scope of_unclear_units record",
    "mappings/assess.py": "_answers _refreshed _with_sizes judge_in",
    "mappings/fan_out.py": "_page _pages",
    "mappings/fold.py": "_compared _row",
    "mappings/publish.py": "_fan_out _load _renews _send _if_unchanged unchanged",
    "mappings/revisions.py": "note_conflict published read",
    "mappings/rollout.py": "_counted _total roll_out",
}


def conditions(function: ast.AST) -> Iterator[ast.expr]:
    """All that is decided by in a function, but not in those within it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert):
            yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs
        elif isinstance(node, ast.Compare | ast.BoolOp):
            yield node
        yield from conditions(node)


def asks(condition: ast.expr) -> bool:
    names = (getattr(node, "attr", None) or getattr(node, "id", None) for node in ast.walk(condition))
    return not ASKED.isdisjoint(names)


def asking(root: Path) -> Iterator[str]:
    """The functions with such a condition, each with its module."""
    for module in sorted(root.rglob("*.py")):
        for function in ast.walk(ast.parse(module.read_text())):
            if isinstance(function, ast.FunctionDef) and any(map(asks, conditions(function))):
                yield f"{module.relative_to(root)} {function.name}"


def test_only_the_registry_and_the_composition_root_ask_whether_a_target_is_the_deployments_own() -> None:
    found = {*asking(ROOT / "layers/rolekeeper/rolekeeper"), *asking(ROOT / "functions")}
    allowed = {each for each in found if MAY_ASK & {each, each.partition(" ")[0]}}
    left = {f"{module} {name}" for module, names in LEFT.items() for name in names.split()}
    assert found - allowed - ABOUT_NAMES == left
