"""A fleet launched at once, then retagged at once: each instance gets its tag's role by one change, nothing is lost.

Small in the gate and at a pace that the embedded AWS alone limits; `make soak` plays 2,000 at the pace of a deployment.
"""

import os
import time
from collections import Counter
from functools import partial
from itertools import batched
from operator import itemgetter
from typing import Any

import pytest

from rolekeeper.model.instance import Action, InstanceKey
from rolekeeper.storage import layout
from rolekeeper.storage.layout import DONE, REFUSED
from rolekeeper.storage.state import Store
from rolekeeper_local.account import EmulatedAccount, Shown
from rolekeeper_local.embedded import REGION
from support.chaos_queues import Queues
from support.fleets import carried, launch_many
from support.waiting import eventually

pytestmark = pytest.mark.emulator

INSTANCES = int(os.environ.get("ROLEKEEPER_RETAGGED") or 60)
# What 1,000 take, on a slow machine that does much else at the same time.
SECONDS = 300 + INSTANCES * 0.6
TAG, ROLES = "serves", ("front", "back")
# What EC2 says to the slower of two (docs/AWS_FACTS.md, "Errors"), the last in our words.
BEATEN = {"IncorrectState", "InvalidAssociationID.NotFound", "StaleAssociation"}
# CreateTags takes so many instances at once (EC2 API reference).
TAGGED_AT_ONCE = 1000


@pytest.fixture(scope="module")
def world(unlimited: EmulatedAccount) -> EmulatedAccount:
    for role in ROLES:
        unlimited.make_role(role)
        unlimited.put_mapping(TAG, role, role=role)
    for role in ROLES:
        eventually(partial(unlimited.mapping_status, TAG, role, "Published"))
    return unlimited


def launch(world: EmulatedAccount) -> dict[str, str]:
    """Launch them all, half for each role; returns the role that the tag of each asks for."""
    found: dict[str, str] = {}
    for at, role in enumerate(ROLES):
        found |= dict.fromkeys(launch_many(world, (INSTANCES + at) // len(ROLES), **{TAG: role}), role)
    assert len(found) == INSTANCES
    return found


def retag(world: EmulatedAccount, fleet: dict[str, str]) -> dict[str, str]:
    """Give each the other tag."""
    other = dict(zip(ROLES, reversed(ROLES), strict=True))
    for role in ROLES:
        ids = [instance for instance, former in fleet.items() if former == role]
        for some in batched(ids, TAGGED_AT_ONCE):
            world.ec2.create_tags(Resources=list(some), Tags=[{"Key": TAG, "Value": other[role]}])
    return {instance: other[role] for instance, role in fleet.items()}


def changes_of(store: Store, instance: InstanceKey) -> list[tuple[str, str]]:
    """The changes that EC2 took, by the history, newest first: the action and the association.

    Of two reconciles that race, EC2 refuses one ("There is an existing association"): an entry, but no change.
    """
    return [
        (entry["decision"]["action"], entry["answer"]["association-id"])
        for entry in store.history(layout.instance_pk(instance))
        if Action(entry["decision"]["action"]).mutates and "association-id" in entry["answer"]
    ]


def _was_beaten(entry: dict[str, Any]) -> bool:
    """Whether EC2 refused a change as another run of the same instance had made it: the association is the lock."""
    return entry["outcome"] == REFUSED and entry["answer"]["code"] in BEATEN


def converged(world: EmulatedAccount, fleet: dict[str, str], what: str) -> dict[str, Shown]:
    """What EC2 shows once each instance carries the role of its tag."""
    began = time.monotonic()

    def look() -> dict[str, Shown] | None:
        seen = dict(carried(world))
        roles = {instance: each.profile for instance, each in seen.items() if each.state == "associated"}
        return seen if roles == fleet else None

    found = eventually(look, SECONDS)
    took = time.monotonic() - began
    print(f"{what} {len(fleet):,} instances in {took:.0f} s, {len(fleet) / took:.1f} a second")  # noqa: T201  # shown by `make soak`
    return found


def test_a_fleet_launched_and_retagged_at_once_gets_its_roles_by_one_change_each_and_nothing_is_lost(
    world: EmulatedAccount,
) -> None:
    queues = Queues(world, tries=8)
    fleet = launch(world)
    first = converged(world, fleet, "attached")
    fleet = retag(world, fleet)
    second = converged(world, fleet, "replaced")
    queues.settle(SECONDS)
    # Nothing that was still in a queue, or followed a change, changed any of it.
    assert sorted(carried(world), key=itemgetter(0)) == sorted(second.items())
    counts = world.aws.message_counts()
    print(f"messages: {counts[queues.arn(queues.work)]}")  # noqa: T201  # the same

    assert queues.letters() == []
    ended = {arn: {what: each.get(what, 0) for what in ("dead", "expired", "lost")} for arn, each in counts.items()}
    assert all(not any(each.values()) for each in ended.values()), ended
    work = counts[queues.arn(queues.work)]
    assert work["sent"] == work["deleted"], "each message was done"

    store, odd = Store(world.dynamodb, world.state_table), Counter[str]()
    for instance in fleet:
        key = InstanceKey(world.account, REGION, instance)
        made = changes_of(store, key)
        if made != [("Replace", second[instance].association_id), ("Attach", first[instance].association_id)]:
            odd[f"{instance}: {made}"] += 1
        odd.update(
            f"{instance}: {each['outcome']} {each['answer']}"
            for each in store.history(layout.instance_pk(key))
            if each.get("outcome", DONE) != DONE and not _was_beaten(each)
        )
    assert not odd, f"one attach and one replace each: {dict(odd.most_common(5))}"
