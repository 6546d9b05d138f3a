"""uptake in stories that chance makes: what it says is compared with what EC2 and the software really did.

Roles are attached, replaced and detached, by Rolekeeper and by others; EC2 gets credentials each hour; software keeps
them by the rules of its SDK (AWS_FACTS.md, "Credentials on the instance"); records come up to 15 minutes late.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from fixtures.mappings import Desk
from fixtures.terminal import Terminal

ROLES = ("web", "db", "ops")
HOUR, STEP = timedelta(hours=1), timedelta(minutes=5)
LATE = 15 * 60
SLACK = timedelta(seconds=10)

# Whether an SDK asks for new credentials, by the age of its own and by what is left of them.
type Rule = Callable[[timedelta, timedelta], bool]
SDKS: dict[str, Rule] = {
    "Boto3/1.40.0": lambda _age, left: left <= timedelta(minutes=15),
    "aws-sdk-go-v2/1.39.0": lambda age, _left: age >= HOUR,
    "aws-sdk-java/2.33.0": lambda age, left: age >= left,
    "aws-sdk-dotnet-core/3.7": lambda _age, _left: False,
    "curl/8.14.1": lambda _age, _left: True,
}


@dataclass(frozen=True)
class Call:
    role: str
    at: datetime
    issued: datetime
    comes: datetime


@dataclass
class Story:
    """An instance, what EC2 got for it, by role, what its software holds, by SDK, and when it carried which role."""

    terminal: Terminal
    desk: Desk
    random: Random
    instance: str
    handed: list[tuple[str, datetime]] = field(default_factory=list)
    holds: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    changes: list[tuple[datetime, str]] = field(default_factory=list)
    association: str = ""

    @property
    def now(self) -> datetime:
        return self.desk.world.clock.now()

    def step(self) -> None:
        self.desk.world.wait(STEP.total_seconds())
        if self.random.random() < 0.04:
            self.change()
        if self.random.random() < 0.2:
            self.desk.world.reconcile(self.instance)
        self.deliver()
        for agent, asks in SDKS.items():
            self.call(agent, asks)

    def change(self) -> None:
        world, wanted = self.desk.world, self.random.choice([*ROLES, "", "theirs", "ours", "by hand"])
        if wanted in {"theirs", "ours"}:
            world.attach_by_hand(self.instance, "theirs" if wanted == "theirs" else self.random.choice(ROLES))
        elif wanted == "by hand" and world.association(self.instance):
            world.detach_by_hand(self.instance)
        elif wanted in ROLES:
            world.tag(self.instance, app=wanted)
            world.reconcile(self.instance)
        elif not wanted:
            world.untag(self.instance, "app")
            world.reconcile(self.instance)
        world.wait(1)

    def carried(self) -> str:
        found = self.desk.world.association(self.instance)
        return found.profile_arn.replace(":instance-profile/", ":role/") if found else ""

    def deliver(self) -> None:
        role, found = self.carried(), self.desk.world.association(self.instance)
        last = max((at for each, at in self.handed if each == role), default=None)
        if (found.id if found else "") != self.association:
            self.association, last = found.id if found else "", None
            self.changes.append((self.now, role))
        if role and (last is None or self.now - last >= HOUR):
            self.handed.append((role, self.now))
            self.terminal.trail.delivered(role, self.instance, late=self.random.uniform(0, LATE))

    def call(self, agent: str, asks: Rule) -> None:
        role, at = self.holds.get(agent, ("", self.now - 7 * HOUR))
        age = self.now - at
        if age >= 6 * HOUR or asks(age, 6 * HOUR - age):
            role, at = self.handed[-1] if self.carried() else ("", self.now)
            self.holds[agent] = role, at
        if role and self.now - at < 6 * HOUR and self.random.random() < 0.5:
            late = self.random.uniform(0, LATE)
            self.calls.append(Call(role, self.now.replace(microsecond=0), at, self.now + timedelta(seconds=late)))
            self.terminal.trail.called(role, self.instance, agent=agent, late=late, issued=at)
        elif self.random.random() < 0.05:
            self.terminal.trail.called(self.random.choice(self.handed)[0], self.instance, by_hand=True)

    def check(self) -> None:
        before = self.now
        [document] = self.terminal.document("uptake", self.instance)
        roles = {each["role_arn"]: each for each in document["roles"]}
        carried, now = self.carried(), self.now
        assert [role for role, each in roles.items() if each["carried"]] == ([carried] if carried else [])
        for role in {each for each, _ in self.handed} - {carried}:
            expires = max(at for each, at in self.handed if each == role) + 6 * HOUR
            if expires > now:
                assert datetime.fromisoformat(roles[role]["valid_until"]) >= expires - SLACK, role
        for role in {each for _, each in self.changes} & roles.keys():
            self.check_role(role, roles[role], before)

    def check_role(self, role: str, said: dict[str, Any], before: datetime) -> None:
        calls = [each for each in self.calls if each.role == role]
        here = [at for at, each in self.changes if each == role]
        if said["carried"]:
            granted = [call for call in calls if call.issued >= max(here)]
            recent = [call.at for call in granted if call.at >= self.now - 6 * HOUR and call.comes <= before]
            assert said["status"] == "in-use" or not recent
            # That another actor took it and gave it back may not have been seen.
            since = datetime.fromisoformat(said["since"]) - SLACK if said["since"] else None
            assert said["status"] != "in-use" or not since or any(call.issued >= since for call in calls)
            if said["first_use"] and since:
                first = datetime.fromisoformat(said["first_use"]["at"])
                assert since <= first <= min(recent, default=first)
        elif said["until"]:
            known = datetime.fromisoformat(said["until"])
            was_used = any(each.at > known + SLACK and each.comes <= before for each in calls)
            assert said["status"] == "still-used" or not was_used
            taken = min(at for at, each in self.changes if each != role and at > max(here))
            assert said["status"] != "still-used" or any(each.at >= taken - STEP for each in calls)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_said_is_what_happened_whatever_happens(terminal: Terminal, desk: Desk, seed: int) -> None:
    for name in ROLES:
        desk.role(name)
        desk.edit(f"app={name}", role=name)
        desk.world.profile(name)
    desk.role("theirs", path="/")
    terminal.trail.page = 50
    story = Story(terminal, desk, Random(seed), desk.converged("web", app="web"))
    for _ in range(120):
        story.step()
        if story.random.random() < 0.1:
            story.check()
