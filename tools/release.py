"""Makes a release (`release.py VERSION`, which is `make release`), or checks what was built of one (`--verify TAG`).

It refuses what would release something else than what was tested: a tree with changes, another branch, a number that
isn't higher, a changelog that says nothing. It writes number and changelog, commits, builds from that commit, and tags
it with the checksums of what was built. If any of this fails, it takes the commit back.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
BRANCH = "main"
PROJECT, TEMPLATE, SPOKE, CHANGELOG = "pyproject.toml", "template.yaml", "spoke.yaml", "CHANGELOG.md"
SUMS = Path("dist/SHA256SUMS")
PROVENANCE = "provenance.intoto.json"
BUILD = ("make", "dist")
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
    present = version_of(files[PROJECT])
    if numbers(version) <= numbers(present):
        raise RefusedError(f"{version} isn't higher than {present}, the version of {PROJECT}")
    head, heading, rest = files[CHANGELOG].partition(_UNRELEASED)
    news = rest.partition("\n## ")[0]
    if not (heading and re.search(r"^- ", news, re.MULTILINE)):
        raise RefusedError(f"{CHANGELOG} says nothing under Unreleased: write what users see")
    made = {name: place.sub(rf"\g<1>{version}\g<2>", files[name]) for name, place in _PLACES.items()}
    unchanged = [name for name, text in made.items() if text == files[name]]
    if unchanged:
        raise RefusedError(f"{unchanged[0]} doesn't hold the version where it should")
    return {**made, CHANGELOG: f"{head}{_UNRELEASED}\n## [{version}] - {today.isoformat()}\n{rest}"}


def version_of(project: str) -> str:
    """The version that the text of pyproject.toml has."""
    return str(tomllib.loads(project)["project"]["version"])


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


def release(version: str, root: Path, build: Sequence[str]) -> None:
    """Commit, build and tag; raises RefusedError, and leaves the tree as it was.

    Args:
        version: the release's.
        root: of the clone.
        build: the command that builds from HEAD, and writes the checksums.
    """
    numbers(version)
    check_tree(version, root)
    texts = released(
        version, datetime.now(UTC).date(), {name: (root / name).read_text() for name in (*_PLACES, CHANGELOG)}
    )
    before = git(root, "rev-parse", "HEAD")
    try:
        for name, text in texts.items():
            (root / name).write_text(text)
        git(root, "commit", "--quiet", "--all", "--message", f"Release {version}")
        subprocess.run(build, cwd=root, check=True)  # noqa: S603  # our own words
        message = f"Rolekeeper {version}\n\n{(root / SUMS).read_text()}"
        git(root, "tag", "--annotate", "--cleanup=verbatim", "--message", message, f"v{version}")
    except (OSError, subprocess.CalledProcessError, KeyboardInterrupt) as error:
        git(root, "reset", "--quiet", "--soft", before)
        git(root, "restore", "--staged", "--worktree", "--", *texts)
        why = str(error) or "interrupted"
        if isinstance(error, subprocess.CalledProcessError):
            why = f"{' '.join(error.cmd)} failed\n{error.stderr or ''}".strip()
        raise RefusedError(f"{why}\nThe release's commit is undone, and nothing is tagged") from error


def verify(tag: str, root: Path) -> None:
    """Raises RefusedError unless what was built is what the tag promises: its version, its checksums."""
    present = f"v{version_of((root / PROJECT).read_text())}"
    if tag != present:
        raise RefusedError(f"the tag is {tag}, and {PROJECT} has the version of {present}")
    promised = git(root, "for-each-ref", "--format=%(contents:body)", f"refs/tags/{tag}").splitlines()
    built = (root / SUMS).read_text().splitlines()
    if different := {line.split()[-1] for line in {*promised} ^ {*built} if line}:
        names = ", ".join(sorted(different))
        raise RefusedError(
            f"built with other contents than {tag} has: {names}. Compare internalParameters in {PROVENANCE}"
        )


def git(root: Path, *arguments: str) -> str:
    """What git answers."""
    command = ["git", *arguments]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603  # our own words
    return ran.stdout.strip()


def main(arguments: Sequence[str], root: Path = ROOT, build: Sequence[str] = BUILD) -> int:
    """Make a release, or verify one; 1 where it is refused."""
    try:
        match arguments:
            case ["--verify", tag]:
                verify(tag, root)
                print(f"{SUMS} is that of {tag}")
            case _:
                version = " ".join(arguments)
                release(version, root, build)
                print(f"v{version} is committed and tagged: push both; CONTRIBUTING.md says what follows")
    except RefusedError as error:
        print(f"no release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
