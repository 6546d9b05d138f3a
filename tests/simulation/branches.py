"""Which branches of `decide` were reached: each `return` in its module, by the line.

The branches are read from the source, so that a new one counts from the day it is written.
"""

import ast
import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, ModuleType

from rolekeeper.instances import decide as module

TOOL = sys.monitoring.PROFILER_ID


def branches(of: ModuleType = module) -> dict[int, str]:
    """The branches by their line: the function, and the code that it answers with (numbered where that is the same)."""
    found: dict[int, str] = {}
    for function in ast.parse(inspect.getsource(of)).body:
        if isinstance(function, ast.FunctionDef) and _decides(function):
            for each in _returns(function):
                found[each.lineno] = f"{function.name}: {_answer(each)}"
    seen: Counter[str] = Counter()
    for line, name in sorted(found.items()):
        seen[name] += 1
        found[line] = f"{name} ({seen[name]})" if seen[name] > 1 else name
    return found


def _decides(function: ast.FunctionDef) -> bool:
    return isinstance(function.returns, ast.Name) and function.returns.id == "Decision"


def _returns(node: ast.AST) -> Iterator[ast.Return]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            yield child
        elif not isinstance(child, ast.FunctionDef):  # the helper inside only builds the answer
            yield from _returns(child)


def _answer(branch: ast.Return) -> str:
    call = branch.value
    if isinstance(call, ast.Name):
        return call.id
    assert isinstance(call, ast.Call)
    if isinstance(call.func, ast.Name) and call.func.id.lower() != "decision":
        return f"{call.func.id}()"
    action, code, *_ = call.args
    return f"{ast.unparse(action).removeprefix('Action.')} {ast.unparse(code)}"


@contextmanager
def counted(reached: Counter[str], of: ModuleType = module) -> Iterator[None]:
    """Count the branches that are reached while this lasts."""
    names = branches(of)
    watched = list(_codes(of))

    def line(_: CodeType, number: int) -> object:
        if number not in names:
            return sys.monitoring.DISABLE
        reached[names[number]] += 1
        return None

    sys.monitoring.use_tool_id(TOOL, "branches of decide")
    sys.monitoring.register_callback(TOOL, sys.monitoring.events.LINE, line)
    for code in watched:
        sys.monitoring.set_local_events(TOOL, code, sys.monitoring.events.LINE)
    try:
        yield
    finally:
        for code in watched:
            sys.monitoring.set_local_events(TOOL, code, sys.monitoring.events.NO_EVENTS)
        sys.monitoring.register_callback(TOOL, sys.monitoring.events.LINE, None)
        sys.monitoring.free_tool_id(TOOL)


def _codes(of: ModuleType) -> Iterator[CodeType]:
    for each in vars(of).values():
        if inspect.isfunction(each) and each.__module__ == of.__name__:
            yield each.__code__
