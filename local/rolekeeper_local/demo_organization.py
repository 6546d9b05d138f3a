"""The demo's story over several accounts: one table of mappings, and in each account its own roles."""

from contextlib import ExitStack

from rolekeeper_local.account import EmulatedAccount, Shown
from rolekeeper_local.spokes import CHANGER, REGIONS, problem_of, role_removed
from rolekeeper_local.story import Step, StepFailedError, Story

READ, TABLE = "s3-read", "dynamodb-app"
#: A role that the last account doesn't have at first, and its row.
REPORTS, REPORTS_ROW = "reports", ("workload", "reports")
QUIET = 3  # seconds, in which an instance that isn't kept waiting has its role


class OrganizationDemo(Story):
    """Each method is one step."""

    def begin(self, worlds: list[EmulatedAccount]) -> None:
        self.worlds = worlds
        self.hub, self.last = worlds[0], worlds[-1]
        self.others = [each for each in worlds if each.account != self.last.account]
        self.gone = ExitStack()

    def steps(self) -> list[Step]:
        where = f"{len(self.worlds) // len(REGIONS)} accounts, {len(REGIONS)} Regions each"
        return [
            (f"One row, instances in {where}: each gets its own account's role", self.one_row),
            ("Change a tag in one account: the role is replaced there, and nowhere else", self.retagged),
            ("Write a row whose role one account lacks: it says which, and the others get it", self.role_missing),
            ("Make the role there: the next sweep finds it", self.role_made),
            ("Take a spoke's role away: its instances wait, all others go on", self.spoke_refuses),
            ("Put it back: what waited is done", self.spoke_is_back),
        ]

    def one_row(self) -> None:
        self.says(f"the row workload=s3-reader: {self.hub.mapping('workload', 's3-reader')['status_reason']}")
        self.web = self.launched("web", self.worlds, workload="s3-reader")
        for world, instance in self.web.items():
            self.own(world, instance, READ)

    def retagged(self) -> None:
        instance = self.web[self.last]
        self.does_in(self.last, f"ec2 create-tags workload=dynamodb-app on {instance}")
        self.last.tag(instance, workload="dynamodb-app")
        self.own(self.last, instance, TABLE)
        rest = {world: each for world, each in self.web.items() if world is not self.last}
        self.stays(
            "all others carry what they carried",
            lambda: all(world.carries(each, READ) for world, each in rest.items()),
            1,
        )

    def role_missing(self) -> None:
        for world in self.others[:: len(REGIONS)]:
            world.make_role(REPORTS)
        self.does(f"dynamodb put-item: workload=reports means role {REPORTS}, which {self.last.account} lacks")
        self.hub.put_mapping(*REPORTS_ROW, role=REPORTS)
        row = self.until("the row says Published", lambda: self.hub.mapping_status(*REPORTS_ROW, "Published"))
        self.says(f"status_reason: {row['status_reason']}")
        if not any(self.last.account in each.get("accounts", ()) for each in row["status_details"]):
            raise StepFailedError(f"the row doesn't name {self.last.account}")
        self.reports = self.launched("reports", [self.others[-1], self.last], workload="reports")
        self.own(self.others[-1], self.reports[self.others[-1]], REPORTS)
        self.carries_none(self.last, self.reports[self.last], QUIET)

    def role_made(self) -> None:
        self.does_in(self.last, f"iam create-role {REPORTS}")
        self.last.make_role(REPORTS)
        self.sweeps()
        self.own(self.last, self.reports[self.last], REPORTS)

    def spoke_refuses(self) -> None:
        self.does_in(self.last, f"iam delete-role {CHANGER}, of the spoke")
        self.gone.enter_context(role_removed(self.last, CHANGER))
        self.late = self.launched("late", [self.others[-1], self.last], workload="s3-reader")
        self.own(self.others[-1], self.late[self.others[-1]], READ)
        self.carries_none(self.last, self.late[self.last], QUIET)
        problem = self.until("the hub says what is wrong", lambda: problem_of(self.last) or None)
        self.says(f"rolekeeper targets: {self.last.account}/{self.last.region}: {problem}")

    def spoke_is_back(self) -> None:
        self.does_in(self.last, f"iam create-role {CHANGER}, as it was")
        self.gone.close()
        self.sweeps()
        self.own(self.last, self.late[self.last], READ)

    def does_in(self, world: EmulatedAccount, text: str) -> None:
        self.does(f"{world.account}, {world.region}: {text}")

    def sweeps(self) -> None:
        self.does("the sweep runs (every 15 minutes by default; here by hand)")
        with self.waiting("waiting for the sweep"):
            self.hub.sweep()

    def launched(self, name: str, worlds: list[EmulatedAccount], **tags: str) -> dict[EmulatedAccount, str]:
        """One instance in each of these; they run."""
        instances = {}
        for world in worlds:
            said = ", ".join(f"{key}={value}" for key, value in tags.items())
            self.does_in(world, f"ec2 run-instances, tagged {said}")
            instances[world] = world.launch(name, **tags)
        self.until("they run", lambda: all(world.state(each) == "running" for world, each in instances.items()) or None)
        return instances

    def own(self, world: EmulatedAccount, instance: str, profile: str) -> None:
        """Wait until EC2 shows the account's own profile of that name."""
        arn = f"arn:aws:iam::{world.account}:instance-profile/rolekeeper/{profile}"

        def shown() -> Shown | None:
            found = world.carries(instance, profile)
            return found if found and found.arn == arn else None

        self.until(f"EC2 shows {profile} of {world.account} on {instance} in {world.region}", shown)
