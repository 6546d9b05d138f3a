"""What a command leaves out, and says so: instances whose record is damaged, and targets that it can't look into."""

from collections.abc import Iterable, Iterator

from rolekeeper.instances.observe import Unreadable
from rolekeeper_cli import output
from rolekeeper_cli.views import looking
from rolekeeper_cli.views.looking import Seen
from rolekeeper_cli.views.places import Places


def without_damaged(found: Iterable[Seen | Unreadable]) -> Iterator[Seen]:
    """Those that can be decided on; of the others, it warns."""
    for each in found:
        if isinstance(each, Unreadable):
            output.warn(looking.left_out(each))
        else:
            yield each


def warn_of_unseen(places: Places) -> None:
    """Warn of the targets that couldn't be looked into, once all were."""
    for each in places.unseen_in_words():
        output.warn(f"{each}; what the last sweep saw there: rolekeeper targets")
