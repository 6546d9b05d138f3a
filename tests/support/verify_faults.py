"""Wrong answers of AWS on purpose, at which `rolekeeper verify` has to fail.

A plug-in of the embedded AWS (`FILE`), which loads it in its own process and environment. An account's answers are
right until `steer` says what is wrong there; so verifications in accounts of their own run side by side.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolekeeper_local.asgi import App
from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_model import Association, AssociationState, Event, State
from rolekeeper_local.ec2_truth import Ec2Truth

if TYPE_CHECKING:  # neither is in every process that reads this
    from rolekeeper_local.embedded import EmbeddedAws
    from rolekeeper_local.front import Control

FILE = Path(__file__)


class Fault(StrEnum):
    """What is wrong in an account."""

    # ---- EC2 and its events ----
    TAG_EVENTS_LOST = "tag-events-lost"
    EVENTS_LOST_ONCE_STOPPED = "events-lost-once-stopped"
    THIRD_B_LOST = "third-b-lost"  # EC2 takes a third tag for `b`, or a later one, and changes nothing
    STAYS_ASSOCIATING = "stays-associating"
    REPLACE_SHOWS_GAP = "replace-shows-gap"  # no association is shown for 5 s
    REPLACE_KEEPS_ID = "replace-keeps-id"
    DISASSOCIATE_DOES_NOTHING = "disassociate-does-nothing"
    FOREIGN_GOES_AT_TAG = "foreign-goes-at-tag"  # the tag asks for a role
    FOREIGN_GOES_AT_NONE = "foreign-goes-at-none"
    # ---- other services ----
    STREAM_SILENT = "stream-silent"
    MISSING_ROLE_SHOWN = "missing-role-shown"  # IAM shows a role that doesn't exist
    SWEEP_DOES_NOTHING = "sweep-does-nothing"  # not the first one, without which nothing is changed
    UPDATE_DOES_NOTHING = "update-does-nothing"  # CloudFormation says that it is complete


def steer(aws: "EmbeddedAws", account: str, *faults: Fault) -> None:
    """From now on this is wrong in an account, and nothing else."""
    aws.control("verify-faults", {"account": account, "faults": faults})


def plug(app: App, control: "Control") -> App:
    """Let the control door steer the faults, and have calls and events meet them."""
    faults = _Faults()
    control.told["verify-faults"] = faults.steer
    _install_ec2(_Ec2(faults), type(control.ec2_api))
    _install_services(_Services(faults))
    return app


def _ministack(name: str) -> Any:
    """A module of ministack, which is in the emulator's process alone."""
    return import_module(f"ministack.{name}")


class _Faults:
    def __init__(self) -> None:
        self._of: dict[str, frozenset[Fault]] = {}
        self.lost_at: dict[str, float] = {}  # when an account's last lost event happened
        self._account = _ministack("core.responses").get_account_id

    def steer(self, asked: Mapping[str, Any]) -> None:
        self._of[str(asked["account"])] = frozenset(map(Fault, asked["faults"]))

    def here(self, fault: Fault, account: str = "") -> bool:
        """Whether it is in an account, or in that of the request at hand."""
        return fault in self._of.get(account or self._account(), ())


# ---- EC2 and its events ----

_GAP_SECONDS = 5
_TAKEN = 2
_PREFIX, _FOREIGN, _NONE = "rolekeeper-verify-", "-foreign", "none"


class _Ec2:
    """Corrections of `Ec2Truth`, as `correct` calls them, and of the way of its events to EventBridge."""

    def __init__(self, faults: _Faults) -> None:
        self._here, self._lost_at = faults.here, faults.lost_at
        self._been: defaultdict[str, set[object]] = defaultdict(set)  # the states of each instance so far
        self._hidden_until: dict[str, float] = {}
        self._asked_for_b: Counter[str] = Counter()

    def emit(self, original: Callable[..., None], api: Any, account: str, region: str, event: Event) -> None:
        been, of_tag = self._been[event.resources[0]], event.source == "aws.tag"
        been.add(event.detail.get("state"))
        # The tag of a launch begins a retry loop, which may still look after the instance was started again.
        of_launch = of_tag and State.RUNNING not in been
        lost = {Fault.TAG_EVENTS_LOST: of_tag, Fault.EVENTS_LOST_ONCE_STOPPED: of_launch or State.STOPPED in been}
        if any(is_such and self._here(fault, account) for fault, is_such in lost.items()):
            self._lost_at[account] = time.time()
        else:
            original(api, account, region, event)

    def create_tags(
        self, original: Callable[..., None], truth: Ec2Truth, instance: str, tags: Mapping[str, str]
    ) -> None:
        asked = [value for key, value in tags.items() if key.startswith(_PREFIX)]
        if "b" in asked:
            self._asked_for_b[instance] += 1
            if self._asked_for_b[instance] > _TAKEN and self._here(Fault.THIRD_B_LOST):
                return
        original(truth, instance, tags)
        row = truth.association_of(instance)
        goes = Fault.FOREIGN_GOES_AT_NONE if _NONE in asked else Fault.FOREIGN_GOES_AT_TAG
        if asked and row and row.profile_arn.endswith(_FOREIGN) and self._here(goes):
            truth.disassociate(row.id)

    def associate(
        self, original: Callable[..., Association], truth: Ec2Truth, instance: str, profile: str
    ) -> Association:
        return self._associating(original(truth, instance, profile))

    def replace(self, original: Callable[..., Association], truth: Ec2Truth, id_: str, profile: str) -> Association:
        row = self._associating(original(truth, id_, profile))
        if self._here(Fault.REPLACE_SHOWS_GAP):
            self._hidden_until[row.instance_id] = row.timestamp + _GAP_SECONDS
        if self._here(Fault.REPLACE_KEEPS_ID):
            for rows in (truth._associations, truth._passing_associations):  # noqa: SLF001 - no EC2 has a call for it
                rows[id_] = rows.pop(row.id)
            row.id = id_
        return row

    def _associating(self, row: Association) -> Association:
        if self._here(Fault.STAYS_ASSOCIATING):
            row.changes_at = None
        return row

    def disassociate(self, original: Callable[..., Association], truth: Ec2Truth, id_: str) -> Association:
        if self._here(Fault.DISASSOCIATE_DOES_NOTHING):
            [row] = truth.describe_associations(association_ids=[id_])[0]
            return replace(row, state=AssociationState.DISASSOCIATING)
        return original(truth, id_)

    def describe_associations(
        self, original: Callable[..., tuple[list[Association], str | None]], truth: Ec2Truth, **asked: Any
    ) -> tuple[list[Association], str | None]:
        rows, token = original(truth, **asked)
        return [row for row in rows if self._hidden_until.get(row.instance_id, 0) < time.time()], token


def _install_ec2(ec2: _Ec2, api: type) -> None:
    correct(ec2.emit, "_emit", api)
    for each in (ec2.create_tags, ec2.associate, ec2.replace, ec2.disassociate, ec2.describe_associations):
        correct(each, each.__name__, Ec2Truth)


# ---- other services ----

_SWEEP = "-OnSchedule-"
_NOTHING_SWEPT = {"instances": 2, "sent": 0, "mappings": 3, "mappings_changed": 0, "finished": True, "problems": []}
# A follow-up of an earlier change that comes sooner after a lost event hides the loss: the story's `_PROMPT_SECONDS`.
_FOLLOWS_SECONDS = 16
_MISSING, _THERE = b"-missing", b"-a"  # how the names of roles end

type Answer = tuple[int, dict[str, str], bytes]


class _Services:
    """Corrections of ministack, as `correct` calls them."""

    def __init__(self, faults: _Faults) -> None:
        self._here, self._lost_at = faults.here, faults.lost_at
        self._swept: set[str] = set()

    def stream(self, original: Callable[..., list[Any]], *asked: Any, **named: Any) -> list[Any]:
        return [] if self._here(Fault.STREAM_SILENT) else original(*asked, **named)

    async def iam(
        self, original: Callable[..., Awaitable[Answer]], method: str, path: str, headers: Any, body: bytes, query: Any
    ) -> Answer:
        if _MISSING not in body or not self._here(Fault.MISSING_ROLE_SHOWN):
            return await original(method, path, headers, body, query)
        status, answered, text = await original(method, path, headers, body.replace(_MISSING, _THERE), query)
        return status, answered, text.replace(_THERE + b"<", _MISSING + b"<")

    async def invoke(self, original: Callable[..., Awaitable[Answer]], name: str, *rest: Any) -> Answer:
        again = name in self._swept
        if _SWEEP in name:
            self._swept.add(name)
        if again and self._here(Fault.SWEEP_DOES_NOTHING):
            return 200, {}, json.dumps(_NOTHING_SWEPT).encode()
        return await original(name, *rest)

    def schedule(self, original: Callable[[str, str], None], function: str, event: str) -> None:
        if time.time() - self._lost_at.get(function.split(":")[4], 0) > _FOLLOWS_SECONDS:
            original(function, event)

    def update(self, original: Callable[..., Any], kind: str, id_: str, old: Any, new: Any, *rest: Any) -> Any:
        return original(kind, id_, old, old if self._here(Fault.UPDATE_DOES_NOTHING) else new, *rest)


def _install_services(services: _Services) -> None:
    correct(services.stream, "stream_records_since", _ministack("services.dynamodb"))
    correct(services.iam, "handle_request", _ministack("services.iam"))
    correct(services.invoke, "_invoke", _ministack("services.lambda_svc"))
    correct(services.schedule, "_dispatch_to_lambda", _ministack("services.eventbridge"))
    correct(services.update, "_update_resource", _ministack("services.cloudformation.stacks"))
