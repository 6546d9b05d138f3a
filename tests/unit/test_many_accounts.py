"""Rows in an organization: one verdict over all accounts and Regions, and what is published for each account."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from fixtures.account import ACCOUNT, HOME, FakeAccount, mapping_key
from fixtures.mappings import MappingsFixture
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE, Organization, new_organization
from rolekeeper.app import App
from rolekeeper.aws import one_by_one
from rolekeeper.fleet.targets import ServedTarget
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import PublishedMapping

TAG = "workload=web"


class OrganizationDesk(MappingsFixture):
    """An operator's desk in the hub of an organization."""

    def __init__(self, organization: Organization) -> None:
        super().__init__(organization.hub)
        self.organization = organization

    def app(self) -> App:
        parts = self.organization.app()
        return replace(
            parts,
            settings=replace(parts.settings, work_queue_url=self.queue_url, limits=self.settings().limits),
            client=self.clients.__getitem__,
            each=one_by_one,
        )

    def join(self, target: Target, *roles: str, instances: int = 0) -> FakeAccount:
        """A spoke is deployed and registered; these roles are there."""
        made = self.organization.spoke(target)
        for role in roles:
            made.profile(role)
        self.app().registry.add(ServedTarget(target, instances=instances))
        return made

    def copy(self, account: str, tag: str = TAG) -> PublishedMapping | None:
        """What is published for another account."""
        found = self.world.revisions.copies(mapping_key(tag), [account]).get(account)
        return found.mapping if found else None

    def sent_to(self) -> list[tuple[str, str]]:
        """The accounts and Regions of the instances that wait in the work queue, in order."""
        return sorted((each["account"], each["region"]) for each in self.sent())


@pytest.fixture
def desk() -> Iterator[OrganizationDesk]:
    """A hub with the role `web`, and two accounts that have it too, one of them in two Regions."""
    with new_organization() as organization:
        made = OrganizationDesk(organization)
        made.role("web")
        made.world.profile("web")
        for target in (SPOKE, SAME_ACCOUNT, OTHER):
            made.join(target, "web", instances=100)
        yield made


def profile(account: str, role: str = "web") -> str:
    return f"arn:aws:iam::{account}:instance-profile/rolekeeper/{role}"


def test_a_row_is_published_for_each_account_with_its_own_profile(desk: OrganizationDesk) -> None:
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    published = desk.served(TAG)
    assert published is not None
    assert published.profile_arn == profile(ACCOUNT)
    for account in (SPOKE.account, OTHER.account):
        copy = desk.copy(account)
        assert copy is not None
        assert (copy.profile_arn, copy.revision, copy.spec) == (profile(account), 1, published.spec)
    assert desk.shows(TAG) == ("Published", "in effect in 3 accounts", 1)


def test_its_instances_are_sent_in_every_target_and_get_their_accounts_role(desk: OrganizationDesk) -> None:
    places = {target: desk.organization.spoke(target) for target in (SPOKE, SAME_ACCOUNT, OTHER)}
    instances = {target: place.running(workload="web") for target, place in places.items()}
    desk.world.running(workload="web")
    verdict = desk.edit(TAG, role="web")
    assert (verdict.matched, desk.row(TAG)["matched"]) == (4, 4)
    assert desk.sent_to() == sorted((each.account, each.region) for each in (HOME, SPOKE, SAME_ACCOUNT, OTHER))
    desk.organization.reconcile(*(place.key(instances[target]) for target, place in places.items()))
    for target, place in places.items():
        assert place.carries(instances[target]) == "web", target
