"""Git repositories of tests' own."""

from pathlib import Path

from tools.release import git


def new_repository(folder: Path) -> None:
    """Make a folder a repository on `main` that takes nothing from how this machine's git is set up."""
    git(folder, "init", "--quiet", "--initial-branch", "main")
    unsigned = {"commit.gpgSign": "false", "tag.gpgSign": "false"}
    for name, value in {"user.name": "g", "user.email": "g@h", "core.hooksPath": ".git/hooks", **unsigned}.items():
        git(folder, "config", name, value)
