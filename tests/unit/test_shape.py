"""What `make shape` counts: each is found in a few small modules."""

from pathlib import Path

import pytest
from bench.shape import LIMITS, LONGEST_FUNCTION, Source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("from package.one import One\n")
    (tmp_path / "package/one.py").write_text("class One: ...\n")
    (tmp_path / "left.py").write_text("import typing\nif typing.TYPE_CHECKING:\n    from right import look\n")
    (tmp_path / "right.py").write_text("def look():\n    import left\n    return left\n")
    (tmp_path / "above.py").write_text(
        "from package import One\nimport left\n\nparts = ()\nOne(*parts)\nOne(1, 2, 3, 4)\n"
    )
    (tmp_path / "long.py").write_text("def far():\n" + "    x = 1\n" * LONGEST_FUNCTION)
    return Source(tmp_path)


def test_a_circle_is_found_through_imports_for_type_checkers_and_within_functions(source: Source) -> None:
    assert source.imports.in_cycles() == ["left", "right"]


def test_an_import_within_a_function_is_found_with_its_place(source: Source) -> None:
    assert source.imports.within_functions() == ["right:2"]


def test_long_functions_and_calls_that_name_nothing_are_found(source: Source) -> None:
    assert list(source.long_functions()) == [f"long.py:1 far: {LONGEST_FUNCTION + 1} lines"]
    assert list(source.constructed_by_parts()) == ["above.py:5 One"]
    assert list(source.positional_calls()) == ["above.py:6 One"]


def test_no_limit_is_below_its_goal() -> None:
    assert {name for name, each in LIMITS.items() if each.limit < each.goal} == set()
