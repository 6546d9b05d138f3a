"""Looking again and again: every wait of the command has its pauses, and its end, from here."""

from collections.abc import Iterator

from rolekeeper_cli.deployment import Deployment


class Patience:
    """How long a wait goes on without anything that comes, in seconds."""

    def __init__(self, deployment: Deployment, seconds: float) -> None:
        self._deployment, self._seconds = deployment, seconds
        self.renew()

    def renew(self) -> None:
        """Something came: the time begins again."""
        self._deadline = self._deployment.now().timestamp() + self._seconds

    @property
    def is_over(self) -> bool:
        return self._deployment.now().timestamp() >= self._deadline


def looks(deployment: Deployment, every: float, patience: float) -> Iterator[Patience]:
    """One turn a look, `every` so many seconds, longer where a look takes longer. Who looks leaves the loop."""
    left = Patience(deployment, patience)
    while True:
        began = deployment.now().timestamp()
        yield left
        deployment.sleep(max(every, deployment.now().timestamp() - began))
