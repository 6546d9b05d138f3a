"""Says what a release was built from, and its checksums: `python -m tools.provenance FOLDER`, as `make dist` runs it.

Adds to the folder an in-toto statement with SLSA provenance, and SHA256SUMS. The same commit gives the same bytes.
CONTRIBUTING.md ("Provenance") says what the fields hold, and what they don't prove. Sources:
in-toto/attestation, spec/v1/statement.md and resource_descriptor.md; slsa.dev/spec/v1.0/provenance.
"""

import json
import platform
import sys
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from tools.release import PROJECT, PROVENANCE, ROOT, SUMS, RefusedError, git, version_of

STATEMENT, PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
# Names of the project, as Package URLs: they lead to no page.
BUILD_TYPE, BUILDER = "pkg:pypi/rolekeeper#make-dist/v1", "pkg:pypi/rolekeeper#unsigned-build/v1"
# As git matches them: `*` is any folder too.
LOCKS = ("requirements/*.txt", "requirements/node/package-lock.json", "*/requirements.txt")


def statement(root: Path, files: Iterable[Path]) -> dict[str, Any]:
    """The in-toto statement about files that were built from the commit that is checked out; raises RefusedError."""
    if changed := git(root, "status", "--porcelain"):
        raise RefusedError(f"what was built isn't of a commit, as there are changes:\n{changed}")
    commit, seconds = git(root, "log", "-1", "--format=%H %ct").split()
    version = version_of((root / PROJECT).read_text())
    # No clock's: two builds of a commit are the same.
    time = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    locks = [root / name for name in git(root, "ls-files", "--", *LOCKS).splitlines()]
    return {
        "_type": STATEMENT,
        "subject": [described(file, file.parent) for file in files],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"version": version, "commit": commit},
                "internalParameters": {"python": platform.python_version(), "zlib": zlib.ZLIB_RUNTIME_VERSION},
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit}},
                    *(described(lock, root) for lock in locks),
                ],
            },
            "runDetails": {
                "builder": {"id": BUILDER},
                "metadata": {"invocationId": f"v{version}@{commit}", "startedOn": time, "finishedOn": time},
            },
        },
    }


def described(file: Path, folder: Path) -> dict[str, Any]:
    """A file as a ResourceDescriptor, named as it is below the folder."""
    return {"name": file.relative_to(folder).as_posix(), "digest": {"sha256": digest(file)}}


def digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def main(folder: Path, root: Path = ROOT) -> int:
    """Write both files; 1 where it is refused."""
    built = sorted(folder.iterdir())
    try:
        text = json.dumps(statement(root, built), indent=2)
    except RefusedError as error:
        print(f"no provenance: {error}", file=sys.stderr)
        return 1
    provenance = folder / PROVENANCE
    provenance.write_text(f"{text}\n")
    (folder / SUMS.name).write_text("".join(f"{digest(each)}  {each.name}\n" for each in sorted([*built, provenance])))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
