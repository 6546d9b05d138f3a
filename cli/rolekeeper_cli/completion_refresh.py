"""The background process that fills the completion cache: `python -m rolekeeper_cli.completion_refresh FILE OPTIONS`.

It ends after half a minute at the latest. A kind of names that the caller may not list stays empty.
"""

import json
import os
import signal
import sys
import tempfile
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.mappings.table import number_in
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.instance.use import name_of
from rolekeeper_cli.options import Options
from rolekeeper_cli.row.names import path_roles
from rolekeeper_cli.row.use import plain

type Names = dict[str, dict[str, str]]

KINDS = ("roles", "mappings", "revisions", "instances", "targets")
_SECONDS = 30
# Pages of EC2's, 2,000 instances: nobody searches more by Tab.
_PAGES = 10


def names(deployment: Deployment) -> Names:
    """Names of each kind, each with its text. CommandError or AwsRefusalError if AWS can't be asked at all."""
    _ = deployment.settings
    found: Names = {kind: {} for kind in KINDS}
    for ask in (lambda there: {"roles": dict.fromkeys(path_roles(there), "")}, _mappings, _instances, _targets):
        with suppress(AwsRefusalError):
            found |= ask(deployment)
    return found


def write(file: Path, found: Names) -> None:
    """Replace the names; only this user may read them."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as made:
        json.dump(found, made)
    Path(made.name).replace(file)


def _mappings(deployment: Deployment) -> Names:
    rows = {str(key): row for key, row in deployment.app.table.all_rows().items()}
    return {
        "mappings": {key: str(plain(row["role"])) if "role" in row else "" for key, row in rows.items()},
        "revisions": {key: str(number_in(row, "status_revision")) for key, row in rows.items()},
    }


def _instances(deployment: Deployment) -> Names:
    found = chain.from_iterable(islice(deployment.app.ec2.fleet(), _PAGES))
    return {"instances": {each.key.id: name_of(each) for each in found if not each.ended}}


def _targets(deployment: Deployment) -> Names:
    if not deployment.settings.organization:
        return {}
    found = {str(each.target): each.problem for each in deployment.app.registry.all()}
    return {"targets": {**found, str(deployment.home): "the hub"}}


def main() -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(_SECONDS)
    file, options = sys.argv[1:]
    os.umask(0o077)
    write(Path(file), names(Deployment(Options(**json.loads(options)))))


if __name__ == "__main__":
    main()
