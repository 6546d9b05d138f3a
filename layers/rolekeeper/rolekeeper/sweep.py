"""The scheduled pass over the whole fleet: it finds what events missed, and sends only instances that differ.

Pages stream through: memory holds one page, and one count for each mapping.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from rolekeeper.ec2 import Ec2, ids_of
from rolekeeper.model import MappingKey, Mode
from rolekeeper.observe import complete
from rolekeeper.state import State
from rolekeeper.work import WorkQueue

CAUSE = "sweep"


@dataclass(slots=True)
class Swept:
    """What a sweep saw. `finished` is False when its time ran out before the last page."""

    instances: int = 0
    sent: int = 0
    finished: bool = True
    matched: Counter[MappingKey] = field(default_factory=Counter)


def sweep_fleet(  # noqa: PLR0913  # its collaborators
    *,
    ec2: Ec2,
    state: State,
    queue: WorkQueue,
    mode: Mode,
    correlation_id: str,
    now: Callable[[], datetime],
    time_left: Callable[[], bool],
) -> Swept:
    """Look at every instance; send those for which a reconcile would do or write anything.

    Only a hint is sent: the reconciler reads the truth again, association first.

    Raises:
        AwsRefusalError: a page could not be read or sent; the schedule's retry begins anew, which is harmless.
    """
    swept = Swept()
    for page in ec2.fleet():
        if not time_left():
            swept.finished = False
            break
        at = now()
        keys = [each.key for each in page]
        observations = complete(keys, ec2.associations(ids_of(page)), {each.key.id: each for each in page}, state, at)
        for each in observations.values():
            if each.candidates.winner:
                swept.matched[each.candidates.winner.key] += 1
        differing = [key for key, each in observations.items() if each.needs_work(each.decision(mode), at)]
        swept.instances += len(page)
        swept.sent += queue.send(differing, CAUSE, correlation_id)
    return swept
