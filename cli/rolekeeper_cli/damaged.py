"""Instances whose record is damaged: a command says so, and leaves them out."""

from collections.abc import Iterable, Iterator

from rolekeeper.instances.observe import Unreadable
from rolekeeper.model.instance import Instance
from rolekeeper.storage.state import State
from rolekeeper_cli import output
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.views import looking
from rolekeeper_cli.views.looking import Seen


def look(deployment: Deployment, state: State, instances: Iterable[list[Instance]]) -> Iterator[Seen]:
    """Look at pages of instances, and warn of those that are left out."""
    for each in looking.look(deployment, state, instances):
        if isinstance(each, Unreadable):
            output.warn(looking.left_out(each))
        else:
            yield each
