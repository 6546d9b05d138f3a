"""Prints a Homebrew formula: `python -m tools.homebrew PYLOCK ARCHIVE REPOSITORY`, as `make formula` runs it.

PYLOCK is what uv resolved the command's dependencies to with this machine's index (pylock.toml, PEP 751): it has the
address of each source archive, whose hash has to be in our own lock. The formula names an index, so it isn't committed.
"""

import re
import sys
import tomllib
from hashlib import sha256
from pathlib import Path
from string import Template
from typing import Any

from tools.release import PROJECT, ROOT, RefusedError

LOCK = "requirements/dev.txt"
_FORMULA = Template("""\
class Rolekeeper < Formula
  include Language::Python::Virtualenv

  desc "$description"
  homepage "$repository"
  url "$repository/releases/download/v$version/$archive"
  sha256 "$sha256"
  license "$license"

  depends_on "libyaml"
  depends_on "python@3.13"

$resources
  def install
    virtualenv_install_with_resources
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/rolekeeper --version")
  end
end
""")
_RESOURCE = Template("""\
  resource "$name" do
    url "$url"
    sha256 "$sha256"
  end
""")


def formula(root: Path, packages: list[dict[str, Any]], archive: Path, repository: str) -> str:
    """The formula's text; raises RefusedError.

    Args:
        root: of the clone.
        packages: those of a `pylock.toml`.
        archive: the release's source archive.
        repository: the address of the project, which has the archive at its release.
    """
    if not repository.startswith("https://"):
        raise RefusedError("say where the project is: make formula REPOSITORY=https://…")
    project = tomllib.loads((root / PROJECT).read_text())["project"]
    locked = set(re.findall(r"--hash=sha256:(\w+)", (root / LOCK).read_text()))
    return _FORMULA.substitute(
        description=project["description"].rstrip("."),
        repository=repository,
        version=project["version"],
        archive=archive.name,
        sha256=sha256(archive.read_bytes()).hexdigest(),
        license=project["license"],
        resources="\n".join(_resource(package, locked) for package in packages),
    )


def _resource(package: dict[str, Any], locked: set[str]) -> str:
    source = package.get("sdist")
    if not source:
        raise RefusedError(f"{package['name']} {package['version']} has no source archive")
    found = source["hashes"]["sha256"]
    if found not in locked:
        raise RefusedError(f"{source['url']} isn't the archive that {LOCK} has")
    return _RESOURCE.substitute(name=package["name"], url=source["url"], sha256=found)


def main(lock: str, archive: str, repository: str) -> int:
    """Print the formula; 1 where it is refused."""
    try:
        print(formula(ROOT, tomllib.loads(Path(lock).read_text())["packages"], Path(archive), repository), end="")
    except (RefusedError, FileNotFoundError) as error:
        print(f"no formula: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
