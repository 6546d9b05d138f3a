"""Whether a deployment changed the mode: nobody may find out by what Rolekeeper does, or no longer does."""

from dataclasses import dataclass
from datetime import datetime

from rolekeeper import codec
from rolekeeper.announce import Announcer
from rolekeeper.errors import AwsRefusalError, ObserveAgainError
from rolekeeper.model import Mode
from rolekeeper.store import Store, Update

MODE_CHANGED = "Mode Changed"
MEANS = {
    Mode.OBSERVE: "Rolekeeper decides and reports what it would do, and changes nothing",
    Mode.ENFORCE: "Rolekeeper attaches, replaces and detaches roles",
}


@dataclass(frozen=True, slots=True)
class DeployedMode:
    """The mode as deployed, compared with the one that was deployed before.

    Attributes:
        store: the state table.
        announce: the event and its mail.
        mode: as deployed now.
    """

    store: Store
    announce: Announcer
    mode: Mode

    def compare(self, correlation_id: str, at: datetime) -> None:
        """Report once that a deployment changed the mode. A first deployment changes nothing.

        What AWS refuses now is logged and counted, and the next minute tries again.
        """
        try:
            self._compare(correlation_id, at)
        except AwsRefusalError as error:
            self.announce.failed("the deployed mode can't be compared", error=str(error))

    def _compare(self, correlation_id: str, at: datetime) -> None:
        items = self.store.get([codec.DEPLOYED, codec.CONTROL])
        was = items.get(codec.DEPLOYED, {}).get("mode")
        if was == self.mode:
            return
        known = Update().set("mode", self.mode.value).set("at", codec.timestamp(at))
        # Of two that see it at once, one reports it.
        known = known.only_if("mode", "=", was) if was else known.only_if_absent("mode")
        try:
            self.store.write(self.store.update(codec.DEPLOYED, known))
        except ObserveAgainError:
            return
        if was is None:
            return
        control = codec.control_from(items.get(codec.CONTROL, {}))
        effective = control.mode or self.mode
        detail = {"from": str(was), "to": self.mode.value, "in-effect": effective.value, "means": MEANS[effective]}
        self.announce.send(MODE_CHANGED, {**detail, "cause": "a deployment", "correlation-id": correlation_id}, [])
