"""`rolekeeper demo`: the whole story on the embedded AWS, each step checked against EC2's own answer."""

import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

from rich.console import Console

from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.console import console as open_console
from rolekeeper_local.demo_organization import OrganizationDemo
from rolekeeper_local.embedded import EmbeddedAws, EmbeddedAwsError, leave_by_interrupt
from rolekeeper_local.profiles import as_operators
from rolekeeper_local.settings import accounts_from
from rolekeeper_local.spokes import deploy_organization
from rolekeeper_local.story import Step, Story, fleet_table
from rolekeeper_local.timeline import StepFailedError, Timeline

READ, WRITE, TABLE = "s3-read", "s3-write", "dynamodb-app"
WRITER = ("workload", "s3-writer")
# A role that another actor made, outside the role path.
FOREIGN = "node-role"
RETAGS = 9
SLOW = 1  # seconds
SETTLES = 1.5  # seconds, in which EC2 associates


class Demo(Story):
    """The story of one account. Each method is one step."""

    def __init__(self, world: EmulatedAccount, timeline: Timeline) -> None:
        super().__init__(timeline)
        self.world = world

    def steps(self) -> list[Step]:
        """From a launch to how fast it is."""
        return [
            ("Launch an instance with a tag: it gets the role as soon as it runs", self.launched_tagged),
            ("Launch one without, tag it later: it gets the role at once", self.tagged_later),
            ("Change the tag: the role is replaced in one call, with a new association", self.retagged),
            ("Change the tag while stopped: the replace waits, and comes at start", self.retagged_while_stopped),
            ("Launch one with a role from outside the path: it keeps it, and shows why", self.foreign_role),
            ("Write a bad mapping row: rejected with the reason, the old one stays in effect", self.bad_row),
            ("Edit a mapping: its instances follow", self.edited_mapping),
            ("Remove the tag: the role that Rolekeeper attached is detached", self.untagged),
            ("Lose an event: the sweep finds and repairs it", self.lost_event),
            (f"How fast: {RETAGS} tag changes on a running instance", self.measured),
        ]

    # ---- the steps ----

    def launched_tagged(self) -> None:
        """Attached as soon as it runs."""
        self.timeline.does("ec2 run-instances, tagged workload=s3-reader")
        self.web = self.world.launch("web", workload="s3-reader")
        self.running(self.world, self.web)
        self.attached(self.world, self.web, READ)

    def tagged_later(self) -> None:
        """Launched untagged, tagged when it runs."""
        self.timeline.does("ec2 run-instances, without a tag that means anything")
        self.batch = self.world.launch("batch")
        self.running(self.world, self.batch)
        self.timeline.stays(f"{self.batch} carries no role", lambda: self.world.shown(self.batch) is None, 1)
        self.timeline.does("ec2 create-tags workload=s3-writer")
        self.world.tag(self.batch, workload="s3-writer")
        self.attached(self.world, self.batch, WRITE)

    def retagged(self) -> None:
        """Replaced, with a new association id."""
        before = self.attached(self.world, self.batch, WRITE)
        self.timeline.does("ec2 create-tags workload=dynamodb-app")
        self.world.tag(self.batch, workload="dynamodb-app")
        after = self.attached(self.world, self.batch, TABLE)
        if after.association_id == before.association_id:
            raise StepFailedError(f"the association is still {before.association_id}")
        self.timeline.came_true(f"{before.association_id} became {after.association_id}")

    def retagged_while_stopped(self) -> None:
        """Waits while stopped, applied at start."""
        self.timeline.does("ec2 stop-instances")
        self.world.ec2.stop_instances(InstanceIds=[self.batch])
        self.state(self.world, self.batch, "stopped")
        self.timeline.does("ec2 create-tags workload=s3-reader")
        self.world.tag(self.batch, workload="s3-reader")
        self.timeline.stays(
            f"{self.batch} still carries {TABLE}", lambda: self.world.carries(self.batch, TABLE) is not None, 2
        )
        self.timeline.does("ec2 start-instances")
        self.world.ec2.start_instances(InstanceIds=[self.batch])
        self.running(self.world, self.batch)
        self.attached(self.world, self.batch, READ)

    def foreign_role(self) -> None:
        """Another actor's role stays, whatever the tags say."""
        self.timeline.does(f"ec2 run-instances with instance profile {FOREIGN}, tagged workload=s3-reader")
        node = self.world.launch("node", profile=FOREIGN, workload="s3-reader")
        self.running(self.world, node)
        shown = self.timeline.until(f"{node} shows occupied", lambda: self.world.condition(node, "occupied"))
        self.timeline.stays(
            f"{node} still carries {FOREIGN}", lambda: self.world.carries(node, FOREIGN) is not None, SETTLES
        )
        self.timeline.says(f"the reason: {shown.reason}")

    def bad_row(self) -> None:
        """Rejected with its reason; a new instance still gets the role of the last good revision."""
        self.timeline.does("dynamodb update-item: role of workload=s3-writer := s3-wirte (a slip)")
        self.world.set_column("workload", "s3-writer", "role", value="s3-wirte")
        row = self.timeline.until("the row says Rejected", lambda: self.world.mapping_status(*WRITER, "Rejected"))
        self.timeline.says(f"status_reason: {row['status_reason']}")
        self.timeline.does("ec2 run-instances, tagged workload=s3-writer")
        self.upload = self.world.launch("upload", workload="s3-writer")
        self.running(self.world, self.upload)
        self.attached(self.world, self.upload, WRITE)

    def edited_mapping(self) -> None:
        """The instances of an edited mapping follow."""
        self.timeline.does(f"dynamodb update-item: role of workload=s3-writer := {TABLE}")
        self.world.set_column("workload", "s3-writer", "role", value=TABLE)
        self.timeline.until("the row says Published", lambda: self.world.mapping_status(*WRITER, "Published"))
        self.attached(self.world, self.upload, TABLE)

    def untagged(self) -> None:
        """Detached."""
        self.timeline.does("ec2 delete-tags workload")
        self.world.untag(self.web, "workload")
        self.timeline.until(f"EC2 shows no role on {self.web}", lambda: self.world.shown(self.web) is None or None)

    def lost_event(self) -> None:
        """The sweep repairs what no event told."""
        # A new one: an instance that was changed lately is looked at once more within the next minute.
        self.timeline.does("ec2 run-instances, without a tag that means anything")
        lost = self.world.launch("lost")
        self.running(self.world, lost)
        self.timeline.stays(f"{lost} carries no role", lambda: self.world.shown(lost) is None, SETTLES)
        self.world.aws.drop_events(lost)
        self.timeline.does("ec2 create-tags workload=s3-writer, and the event is lost on its way")
        self.world.tag(lost, workload="s3-writer")
        self.timeline.stays(f"{lost} carries no role", lambda: self.world.shown(lost) is None, 2)
        self.timeline.does("the sweep runs (every 15 minutes by default; here by hand)")
        self.world.sweep()
        self.attached(self.world, lost, TABLE)

    def measured(self) -> None:
        """The time from CreateTags to an association that EC2 shows."""
        wishes = {"s3-reader": READ, "dynamodb-app": TABLE}
        seconds = []
        for number in range(RETAGS):
            # EC2 is still associating the one before.
            time.sleep(SETTLES)
            value = list(wishes)[number % 2]
            began = time.monotonic()
            self.world.tag(self.upload, workload=value)
            while not ((shown := self.world.shown(self.upload)) and shown.profile == wishes[value]):
                if time.monotonic() - began > 10:  # noqa: PLR2004  # seconds; the median should be under one
                    raise StepFailedError(f"EC2 doesn't show {wishes[value]} within 10 s")
                time.sleep(0.01)
            seconds.append(time.monotonic() - began)
            self.timeline.says(f"{number + 1} of {RETAGS}: EC2 shows {wishes[value]} after {seconds[-1]:.2f} s")
        median = statistics.median(seconds)
        said = f"median {median:.2f} s from CreateTags to the association ({min(seconds):.2f} to {max(seconds):.2f} s)"
        if median >= SLOW:
            raise StepFailedError(f"{said}; it should be under {SLOW} s")
        self.timeline.came_true(said)


def _stay_open(console: Console, link: str) -> None:
    """Let a person at a terminal look around in the console, until they have seen enough."""
    if not (console.is_terminal and sys.stdin.isatty()):
        return
    console.print(f"\nThe console is still open, in the browser that opened {link}", markup=False, soft_wrap=True)
    console.print("Press Enter to end it.")
    with suppress(EOFError, KeyboardInterrupt):
        input()


def _one_account(aws: EmbeddedAws, timeline: Timeline) -> tuple[Story, list[EmulatedAccount]]:
    aws.deploy()
    world = EmulatedAccount(aws)
    world.deploy_starter_roles()
    # Made early: EC2 takes a while to know a new profile.
    world.make_role(FOREIGN, path="/")
    timeline.says(f"{world.seed_mappings()} mappings written")
    return Demo(world, timeline), [world]


def _organization(aws: EmbeddedAws, timeline: Timeline, accounts: int) -> tuple[Story, list[EmulatedAccount]]:
    worlds = deploy_organization(aws, accounts)
    return OrganizationDemo(worlds, timeline), worlds


def _targets(aws: EmbeddedAws) -> str:
    """What `rolekeeper targets` says."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ROLEKEEPER_"))}
    return subprocess.run(
        [sys.executable, "-m", "rolekeeper_cli", "targets"],
        env={**ours, **aws.env},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def main(port: int | None = None, accounts: int | None = None, *, with_console: bool = False) -> int:
    """Play the demo, beside the console if wanted; 1 when any step did not come true."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    timeline = Timeline(console)
    leave_by_interrupt()
    try:
        accounts = accounts_from(os.environ) if accounts is None else accounts
        with EmbeddedAws(port=port, progress=timeline.says) as aws, ExitStack() as beside:
            several = accounts > 1
            story, worlds = _organization(aws, timeline, accounts) if several else _one_account(aws, timeline)
            link = (
                beside.enter_context(open_console(aws, as_operators(aws) if several else None)) if with_console else ""
            )
            if link:
                timeline.does(f"open the console in a browser, and watch there too: {link}")
            story.play()
            console.print()
            console.print(fleet_table(worlds))
            if several:
                console.print("\n$ rolekeeper targets")
                console.print(_targets(aws), markup=False, soft_wrap=True)
            if link:
                _stay_open(console, link)
    except KeyboardInterrupt:
        console.print("stopped; nothing is left running")
        return 130
    except (EmbeddedAwsError, ValueError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    if timeline.failed:
        console.print(f"{len(timeline.failed)} of the steps did not come true:", style="bold red")
        for failure in timeline.failed:
            console.print(f"  {failure}", markup=False)
        return 1
    console.print("Every step came true, by EC2's own answer.", style="bold green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
