"""What `make shape` counts: each is found in a few small modules."""

import subprocess
from pathlib import Path

import pytest
from bench.shape import LIMITS_FILE, LONGEST_FUNCTION, ROOT, Source, earlier_limits, raised, read_limits


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
    limits = read_limits((ROOT / LIMITS_FILE).read_text())
    assert {name for name, limit in limits.items() if limit.limit < limit.goal} == set()


@pytest.mark.parametrize(
    ("now", "names"),
    [
        ("lines = { limit = 90, goal = 10 }", []),
        ("lines = { limit = 91, goal = 10 }", ["lines"]),
        ("lines = { limit = 95, goal = 10, allowed = { 'a feature' = 5 } }", []),
        ("lines = { limit = 96, goal = 10, allowed = { 'a feature' = 5 } }", ["lines"]),
        ("files = { limit = 200, goal = 10 }", []),
    ],
    ids=["the same", "raised", "allowed", "raised beyond what is allowed", "a new figure"],
)
def test_a_limit_that_git_knows_lower_is_raised_unless_that_is_allowed(
    now: str, names: list[str], tmp_path: Path
) -> None:
    def git(*arguments: str) -> None:
        named = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(["git", "-C", tmp_path, *named, *arguments], check=True)

    git("init", "--quiet")
    limits = tmp_path / LIMITS_FILE
    limits.parent.mkdir()
    for limit in (100, 90, 100):  # a commit that raised one is found however long ago it was
        limits.write_text(f"lines = {{ limit = {limit}, goal = 10 }}")
        git("add", ".")
        git("commit", "--quiet", "--message", f"{limit}")

    found = {name for earlier in earlier_limits(tmp_path) for name in raised(read_limits(now), earlier)}

    assert sorted(found) == names


def test_without_a_repository_there_are_no_earlier_limits(tmp_path: Path) -> None:
    assert list(earlier_limits(tmp_path)) == []
