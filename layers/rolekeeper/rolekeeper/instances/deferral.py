"""What an instance shows where its change can't be made now: it waits, or was refused."""

from dataclasses import replace
from datetime import datetime

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, NotReadyError
from rolekeeper.model.instance import Action, Decision


def waits_for_room(decision: Decision, until: datetime) -> Decision:
    """The same, waiting until more instances may change."""
    waits = "as many instances were changed in a while as may be without approval; this one waits until there is room"
    reason = f"{waits}, and then: {decision.reason}"
    return replace(decision, action=Action.WAIT, code="window", reason=reason, until=until)


def put_off(decision: Decision, until: datetime) -> Decision:
    """The same, a while later: there are more changes than EC2, or ChangesPerSecond, lets through."""
    reason = f"more changes are asked for than go at once; this one is tried again soon, and then: {decision.reason}"
    return replace(decision, action=Action.WAIT, code="throttled", reason=reason, until=until)


def refused(decision: Decision, error: AwsRefusalError) -> Decision:
    """What the instance shows after a refusal that a new observation doesn't change."""
    if isinstance(error, NotReadyError):
        code = "changing" if error.code == "IncorrectInstanceState" else "propagating"
        reason = f"EC2 isn't ready for role {decision.role}: {error}"
        return replace(decision, action=Action.WAIT, code=code, reason=reason, polls=True, arguments=(error.code,))
    if isinstance(error, AccessDeniedError):
        reason = f"permission {error.action} on {error.resource} is missing ({error.code})"
        named = (error.action, error.resource)
        return replace(decision, action=Action.HOLD, code="denied", reason=reason, arguments=named)
    reason = f"EC2 refused role {decision.role}: {error}"
    return replace(decision, action=Action.HOLD, code="refused", reason=reason, arguments=(error.code,))
