"""Makes the version's number and the changelog those of a release: `release.py VERSION`.

It refuses what would release something else than what was tested: a tree with changes, another branch, a number that
isn't higher, a changelog that says nothing. Building, committing and tagging is `make release`.
"""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
BRANCH = "main"
PROJECT, TEMPLATE, SPOKE, CHANGELOG = "pyproject.toml", "template.yaml", "spoke.yaml", "CHANGELOG.md"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
# Where the present version is, one group before it and one behind.
_PLACES = {
    PROJECT: re.compile(r'^(version = ")[^"]+(")$', re.MULTILINE),
    TEMPLATE: re.compile(r"^(  Version: \{Value: ')[^']+(')", re.MULTILINE),
    # In its output, and in the tag that the hub reads.
    SPOKE: re.compile(r"(\bVersion: \{Value: '|'rolekeeper:version', Value: ')[^']+(')"),
}
_UNRELEASED = "## [Unreleased]\n"


class RefusedError(Exception):
    """Nothing was written; the message says why not, and what to do."""


def released(version: str, today: date, files: Mapping[str, str]) -> dict[str, str]:
    """The texts of the files, by their names, as the release has them; raises RefusedError."""
    present = re.search(r'^version = "(.+)"$', files[PROJECT], re.MULTILINE)
    if not present:
        raise RefusedError(f"{PROJECT} names no version")
    if numbers(version) <= numbers(present[1]):
        raise RefusedError(f"{version} isn't higher than {present[1]}, the version of {PROJECT}")
    head, heading, rest = files[CHANGELOG].partition(_UNRELEASED)
    news = rest.partition("\n## ")[0]
    if not (heading and re.search(r"^- ", news, re.MULTILINE)):
        raise RefusedError(f"{CHANGELOG} says nothing under Unreleased: write what users see")
    made = {name: place.sub(rf"\g<1>{version}\g<2>", files[name]) for name, place in _PLACES.items()}
    unchanged = [name for name, text in made.items() if text == files[name]]
    if unchanged:
        raise RefusedError(f"{unchanged[0]} doesn't hold the version where it should")
    return {**made, CHANGELOG: f"{head}{_UNRELEASED}\n## [{version}] - {today.isoformat()}\n{rest}"}


def numbers(version: str) -> tuple[int, ...]:
    """The three numbers of a version; raises RefusedError."""
    found = _VERSION.fullmatch(version)
    if not found:
        raise RefusedError(f"{version!r} is no version; write three numbers, as in make release VERSION=0.2.0")
    return tuple(map(int, found.groups()))


def check_tree(version: str, root: Path) -> None:
    """Raises RefusedError unless the tree is what was committed to the main branch, and the tag is free."""
    if changed := git(root, "status", "--porcelain"):
        raise RefusedError(f"there are changes that aren't committed:\n{changed}")
    branch = git(root, "branch", "--show-current")
    if branch != BRANCH:
        raise RefusedError(f"releases are made on {BRANCH}; this is {branch or 'no branch'}")
    if git(root, "tag", "--list", f"v{version}"):
        raise RefusedError(f"the tag v{version} is taken")


def git(root: Path, *arguments: str) -> str:
    """What git answers."""
    command = ["git", *arguments]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603  # our own words
    return ran.stdout.strip()


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Write the release's texts; 1 where it is refused."""
    [version] = arguments
    try:
        numbers(version)
        check_tree(version, root)
        files = {name: (root / name).read_text() for name in (*_PLACES, CHANGELOG)}
        made = released(version, datetime.now(UTC).date(), files)
    except RefusedError as error:
        print(f"no release: {error}", file=sys.stderr)
        return 1
    for name, text in made.items():
        (root / name).write_text(text)
    print(f"{', '.join(made)}: now {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
