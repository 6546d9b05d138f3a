"""The demo's story of one account: from a launch to how fast it is."""

import statistics
import time
from typing import Any

from botocore.exceptions import ClientError

from rolekeeper_local import software
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.software import Software
from rolekeeper_local.story import PATIENCE, Step, StepFailedError, Story

READ, WRITE, TABLE = "s3-read", "s3-write", "dynamodb-app"
WRITER = ("workload", "s3-writer")
# A role that another actor made, outside the role path.
FOREIGN = "node-role"
RETAGS = 9
SLOW = 1  # seconds: the median of a machine that has nothing else to do is far less
SETTLES = 1.5  # seconds, in which EC2 associates
# Seconds of the Go SDK's hour. The others keep real hours: however busy the machine is, nothing else is renewed.
HOUR = 6.0
# Of an alarm that rings when it is told to.
ALARM: dict[str, Any] = {
    "Namespace": "Demo",
    "MetricName": "Errors",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
}
ALARM |= {"Threshold": 1, "ComparisonOperator": "GreaterThanThreshold"}
# What every starter role for S3 may ask for.
BUCKET = "example-reports"


class AccountDemo(Story):
    """Each method is one step."""

    def begin(self, worlds: list[EmulatedAccount]) -> None:
        (self.world,) = worlds

    def steps(self) -> list[Step]:
        return [
            ("Launch an instance with a tag: it gets the role as soon as it runs", self.launched_tagged),
            ("Launch one without, tag it later: it gets the role at once", self.tagged_later),
            ("Change the tag: the role is replaced in one call, with a new association", self.retagged),
            ("Change the tag while stopped: the replace waits, and comes at start", self.retagged_while_stopped),
            ("Software keeps the former role's credentials: they are cut off (models of three SDKs)", self.cut_off),
            ("Launch one with a role from outside the path: it keeps it, and shows why", self.foreign_role),
            ("Write a bad mapping row: rejected with the reason, the old one stays in effect", self.bad_row),
            ("Edit a mapping: its instances follow", self.edited_mapping),
            ("Edit it in waves: an alarm halts the rollout after one instance, and it is taken back", self.halted),
            ("Remove the tag: the role that Rolekeeper attached is detached", self.untagged),
            ("Lose an event: the sweep finds and repairs it", self.lost_event),
            (f"How fast: {RETAGS} tag changes on a running instance", self.measured),
        ]

    def launched_tagged(self) -> None:
        self.does("ec2 run-instances, tagged workload=s3-reader")
        self.web = self.world.launch("web", workload="s3-reader")
        self.state(self.world, self.web)
        self.attached(self.world, self.web, READ)

    def tagged_later(self) -> None:
        self.does("ec2 run-instances, without a tag that means anything")
        self.batch = self.world.launch("batch")
        self.state(self.world, self.batch)
        self.carries_none(self.world, self.batch, 1)
        self.does("ec2 create-tags workload=s3-writer")
        self.world.tag(self.batch, workload="s3-writer")
        self.attached(self.world, self.batch, WRITE)

    def retagged(self) -> None:
        before = self.attached(self.world, self.batch, WRITE)
        self.does("ec2 create-tags workload=dynamodb-app")
        self.world.tag(self.batch, workload="dynamodb-app")
        after = self.attached(self.world, self.batch, TABLE)
        if after.association_id == before.association_id:
            raise StepFailedError(f"the association is still {before.association_id}")
        self.came_true(f"{before.association_id} became {after.association_id}")

    def retagged_while_stopped(self) -> None:
        self.does("ec2 stop-instances")
        self.world.ec2.stop_instances(InstanceIds=[self.batch])
        self.state(self.world, self.batch, "stopped")
        self.does("ec2 create-tags workload=s3-reader")
        self.world.tag(self.batch, workload="s3-reader")
        self.stays(f"{self.batch} still carries {TABLE}", lambda: bool(self.world.carries(self.batch, TABLE)), 2)
        self.does("ec2 start-instances")
        self.world.ec2.start_instances(InstanceIds=[self.batch])
        self.state(self.world, self.batch)
        self.attached(self.world, self.batch, READ)

    def cut_off(self) -> None:
        world = self.world
        self.does("ec2 run-instances, tagged workload=s3-writer")
        self.says(f"models of curl, the Go SDK and botocore call AWS; for that of the Go SDK an hour is {HOUR:g} s")
        world.aws.session().client("s3").create_bucket(Bucket=BUCKET)
        app = world.launch("app", workload="s3-writer")
        self.state(world, app)
        self.attached(world, app, WRITE)
        curl, botocore = (Software(world.aws, app, sdk) for sdk in (software.CURL, software.BOTOCORE))
        go = Software(world.aws, app, software.GO, hour=HOUR)
        for name, program in (("curl", curl), ("the Go SDK's model", go), ("botocore's model", botocore)):
            self.calls_with(WRITE, name, program)
        self.does("ec2 create-tags workload=s3-reader")
        world.tag(app, workload="s3-reader")
        self.attached(world, app, READ)
        self.calls_with(READ, "curl", curl)
        self.calls_with(READ, "the Go SDK's model, which asks for new credentials each hour,", go)
        keeps = f"botocore's model still calls with {WRITE}, and AWS allows it"
        self.stays(keeps, lambda: _role(botocore) == WRITE and _passes(botocore), 2.5)
        self.runs(world, "uptake", "app")
        self.runs(world, "revoke", "app", "--role", WRITE, "--yes")
        self.until(f"what botocore's model keeps of {WRITE} is refused", lambda: not _passes(botocore) or None)
        if _role(botocore) != WRITE or not (_passes(curl) and _passes(go)):
            raise StepFailedError(f"it isn't {WRITE} alone that is refused")
        self.came_true(f"curl and the Go SDK's model go on with {READ}")

    def calls_with(self, role: str, name: str, program: Software) -> None:
        self.until(f"{name} calls with {role}", lambda: _role(program) == role or None)

    def foreign_role(self) -> None:
        self.does(f"ec2 run-instances with instance profile {FOREIGN}, tagged workload=s3-reader")
        node = self.world.launch("node", profile=FOREIGN, workload="s3-reader")
        self.state(self.world, node)
        shown = self.until(f"{node} shows occupied", lambda: self.world.condition(node, "occupied"))
        self.stays(f"{node} still carries {FOREIGN}", lambda: bool(self.world.carries(node, FOREIGN)), SETTLES)
        self.says(f"the reason: {shown.reason}")

    def bad_row(self) -> None:
        self.does("dynamodb update-item: role of workload=s3-writer := s3-wirte (a slip)")
        self.world.set_column(*WRITER, "role", value="s3-wirte")
        row = self.until("the row says Rejected", lambda: self.world.mapping_status(*WRITER, "Rejected"))
        self.says(f"status_reason: {row['status_reason']}")
        self.does("ec2 run-instances, tagged workload=s3-writer")
        self.upload = self.world.launch("upload", workload="s3-writer")
        self.state(self.world, self.upload)
        self.attached(self.world, self.upload, WRITE)

    def edited_mapping(self) -> None:
        self.does(f"dynamodb update-item: role of workload=s3-writer := {TABLE}")
        self.world.set_column(*WRITER, "role", value=TABLE)
        self.until("the row says Published", lambda: self.world.mapping_status(*WRITER, "Published"))
        self.attached(self.world, self.upload, TABLE)

    def halted(self) -> None:
        world, alarm = self.world, "writer-errors"
        cloudwatch = world.aws.session().client("cloudwatch")
        cloudwatch.put_metric_alarm(AlarmName=alarm, **ALARM)
        fleet = [self.upload, world.launch("upload-2", workload="s3-writer")]
        self.attached(world, fleet[1], TABLE)
        edit = f"workload=s3-writer role={READ} halt_on={alarm} --yes --no-wait".split()
        self.runs(world, "mapping", "set", *edit, "rollout=1, 100% every 15m")
        self.until(f"one of two carries {READ}", lambda: any(world.carries(each, READ) for each in fleet) or None)
        self.does(f"cloudwatch set-alarm-state: {alarm} rings")
        cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="demo")
        self.until("the row says Halted", lambda: world.mapping_status(*WRITER, "Halted"), 2 * PATIENCE)
        self.stays(
            f"the other one still carries {TABLE}", lambda: any(world.carries(each, TABLE) for each in fleet), SETTLES
        )
        self.runs(world, "mapping", "rollback", "workload=s3-writer", "--yes", "--no-wait")
        for each in fleet:
            self.attached(world, each, TABLE)

    def untagged(self) -> None:
        self.does("ec2 delete-tags workload")
        self.world.untag(self.web, "workload")
        self.until(f"EC2 shows no role on {self.web}", lambda: self.world.shown(self.web) is None or None)

    def lost_event(self) -> None:
        # A new one: an instance that was changed lately is looked at once more within the next minute.
        self.does("ec2 run-instances, without a tag that means anything")
        lost = self.world.launch("lost")
        self.state(self.world, lost)
        self.carries_none(self.world, lost, SETTLES)
        self.world.aws.drop_events(lost)
        self.does("ec2 create-tags workload=s3-writer, and the event is lost on its way")
        self.world.tag(lost, workload="s3-writer")
        self.carries_none(self.world, lost, 2)
        self.does("the sweep runs (every 15 minutes by default; here by hand)")
        with self.waiting("waiting for the sweep"):
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
                if time.monotonic() - began > PATIENCE:
                    raise StepFailedError(f"EC2 doesn't show {wishes[value]} within {PATIENCE:g} s")
                time.sleep(0.01)
            seconds.append(time.monotonic() - began)
            self.says(f"{number + 1} of {RETAGS}: EC2 shows {wishes[value]} after {seconds[-1]:.2f} s")
        median = statistics.median(seconds)
        busy = "; the machine is busy" if median >= SLOW else ""
        spread = f"({min(seconds):.2f} to {max(seconds):.2f} s)"
        self.came_true(f"median {median:.2f} s from CreateTags to the association {spread}{busy}")


def _role(program: Software) -> str:
    """The role with which a program calls now."""
    return str(program.calls()["Arn"]).split("/")[1]


def _passes(program: Software) -> bool:
    """Whether it may ask where the bucket is, as every starter role for S3 may."""
    try:
        program.calls("s3", "get_bucket_location", Bucket=BUCKET)
    except ClientError as error:
        if error.response["Error"]["Code"] == "AccessDenied":
            return False
        raise
    return True
