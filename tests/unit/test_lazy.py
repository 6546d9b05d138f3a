"""Packages whose modules are imported when they are first asked for."""

from pathlib import Path

import pytest

from rolekeeper.lazy import modules_of


def test_a_package_has_its_own_modules_and_hides_no_error_of_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lazily"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "good.py").write_text("VALUE = 1\n")
    (package / "bad.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = modules_of("lazily")
    assert module("good").VALUE == 1
    with pytest.raises(AttributeError, match="module 'lazily' has no attribute 'nosuch'"):
        module("nosuch")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
        module("bad")
