"""Where the embedded AWS is: in a clone the clone's own environment, installed as a wheel the command's."""

import sys
from pathlib import Path

import pytest

from rolekeeper_cli import installed
from rolekeeper_local import place


def test_in_a_clone_it_has_an_environment_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(place, "REPOSITORY", tmp_path)
    assert place.folder_for(4577, {}) == tmp_path / ".local/4577"
    with pytest.raises(place.EmbeddedAwsError, match="run `make setup`"):
        place.interpreter()
    python = tmp_path / ".envs/emulator/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert place.interpreter() == python


def test_installed_it_keeps_its_log_in_the_persons_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "is_clone", lambda: False)
    assert place.folder_for(4577, {"XDG_CACHE_HOME": "/cache"}) == Path("/cache/rolekeeper/4577")
    assert place.folder_for(4577, {}) == Path.home() / ".cache/rolekeeper/4577"


def test_without_the_extra_it_says_how_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "is_clone", lambda: False)
    monkeypatch.setattr(place, "find_spec", lambda _name: None)
    with pytest.raises(place.EmbeddedAwsError, match=r"rolekeeper\[local\]"):
        place.interpreter()
    monkeypatch.setattr(place, "find_spec", lambda name: name)
    assert place.interpreter() == Path(sys.executable)
