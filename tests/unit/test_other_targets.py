"""Instances of other targets: each by its own EC2 and mappings, and what fails in one stays there."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from fixtures.account import ACCOUNT, REGION, FakeAccount, refusing
from rolekeeper.app import App
from rolekeeper.instances.requests import DroppedError, require_ours
from rolekeeper.model.instance import InstanceKey, ReconcileRequest, Target
from rolekeeper.model.mapping import PublishedMapping
from rolekeeper.settings import Settings
from rolekeeper.storage import codec, layout

SPOKE = Target("111111111111", "eu-west-1")


class Hub:
    """A hub in one account, and one spoke: what the hub remembers is in its own tables, EC2 is each one's own."""

    def __init__(self, closing: ExitStack) -> None:
        self.own, self.spoke = FakeAccount(closing), FakeAccount(closing)
        self.asked: list[tuple[str, str]] = []

    @property
    def app(self) -> App:
        settings = replace(self.own.settings, organization="o-embeddedaws")
        return replace(self.own.app(settings), client_of=self._client_of)

    def _client_of(self, there: Settings, service: str) -> Any:
        self.asked.append((there.account, service))
        return self.spoke.clients[service]

    def publish(self, tag: str, role: str) -> str:
        """Publish a mapping for both accounts; the ARN of the spoke's profile."""
        mapping = self.own.publish(tag, role)
        here = self.spoke.profile(role).replace(ACCOUNT, SPOKE.account)
        self.spoke.profiles[role] = replace(self.spoke.profiles[role], arn=here)
        self._copy(replace(mapping, profile_arn=here))
        return here

    def _copy(self, mapping: PublishedMapping) -> None:
        at = layout.published_key(mapping.key, SPOKE.account)
        self.own.store.write(self.own.store.put(codec.published_item(mapping) | layout.key_attributes(at)))

    def reconcile(self, *keys: InstanceKey) -> dict[InstanceKey, Any]:
        return self.app.reconcile(ReconcileRequest(key, "test", "c", self.own.clock.now(), key.id) for key in keys)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with ExitStack() as closing:
        yield Hub(closing)


def test_an_instance_of_a_spoke_gets_its_own_accounts_profile(hub: Hub) -> None:
    profile = hub.publish("workload=web", "web")
    instance = hub.spoke.running(workload="web")
    key = InstanceKey(*_pair(SPOKE), instance)
    decided = hub.reconcile(key)[key].decision
    assert (decided.action.value, decided.profile_arn) == ("Attach", profile)
    shown = hub.spoke.truth.association_of(instance)
    assert shown
    assert shown.profile_arn == profile
    assert hub.own.mutations == []
    [entry] = hub.own.store.history(layout.instance_pk(key))
    assert entry["outcome"] == "done"


def test_each_instance_of_a_batch_is_looked_at_in_its_own_target(hub: Hub) -> None:
    hub.publish("workload=web", "web")
    here, there = hub.own.running(workload="web"), hub.spoke.running(workload="web")
    outcomes = hub.reconcile(InstanceKey(*_pair(SPOKE), there), InstanceKey(ACCOUNT, REGION, here))
    assert [each.decision.action.value for each in outcomes.values()] == ["Attach", "Attach"]
    assert hub.own.mutations == hub.spoke.mutations == ["AssociateIamInstanceProfile"]


def test_an_instance_id_that_another_target_has_too_is_another_instance(hub: Hub) -> None:
    hub.publish("workload=web", "web")
    same = hub.own.running(workload="web")
    assert hub.spoke.running(other="x") == same
    outcomes = hub.reconcile(InstanceKey(ACCOUNT, REGION, same), InstanceKey(*_pair(SPOKE), same))
    assert [each.decision.code for each in outcomes.values()] == ["unoccupied", "unmatched"]
    assert hub.spoke.mutations == []


def test_a_mapping_that_has_no_copy_for_an_account_gives_nothing_there(hub: Hub) -> None:
    hub.own.publish("workload=web", "web")
    key = InstanceKey(*_pair(SPOKE), hub.spoke.running(workload="web"))
    assert hub.reconcile(key)[key].decision.code == "unmatched"


def test_a_target_that_refuses_fails_its_own_instances_alone_and_comes_last_next_time(hub: Hub) -> None:
    hub.publish("workload=web", "web")
    here, there = hub.own.running(workload="web"), InstanceKey(*_pair(SPOKE), hub.spoke.running(workload="web"))
    refused = refusing("UnauthorizedOperation")
    hub.spoke.calls.before("DescribeIamInstanceProfileAssociations", refused)
    outcomes = hub.reconcile(there, InstanceKey(ACCOUNT, REGION, here))
    assert outcomes[there].error
    assert hub.own.carries(here) == "web"
    assert hub.own.kept["failing"] == {SPOKE}
    assert not hub.reconcile(there)[there].error
    assert hub.own.kept["failing"] == set()


def test_a_deployment_without_an_organization_drops_what_is_of_another_account() -> None:
    key = InstanceKey(*_pair(SPOKE), "i-0123456789abcdef0")
    with pytest.raises(DroppedError, match="from another account: 111111111111"):
        require_ours(key, Target(ACCOUNT, REGION))
    require_ours(key, None)


@pytest.mark.parametrize("account", ["", "11111111111", "1111#1111111", "111111111111\n"])
@pytest.mark.parametrize("region", ["eu-west-1", "eu#west"])
def test_a_hub_drops_what_names_no_account(account: str, region: str) -> None:
    with pytest.raises(DroppedError, match="not an account and a region"):
        require_ours(InstanceKey(account, region, "i-0123456789abcdef0"), None)


def _pair(target: Target) -> tuple[str, str]:
    return target.account, target.region
