"""`rolekeeper verify` on the embedded AWS: it passes, it fails at each wrong answer, and it leaves nothing behind.

Each verification has an account of its own, so that many run beside each other. ROLEKEEPER_VERIFY_SEED chooses where
some of them are killed.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any
from urllib.error import HTTPError

import jmespath
import pytest
from botocore.exceptions import ClientError

from fixtures.command import Command
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import ACCOUNT, EmbeddedAws
from rolekeeper_local.place import REPOSITORY
from rolekeeper_local.software import Sdk, Software
from rolekeeper_verify.names import PREFIX, TAG
from support import verify_faults
from support.inventory import inventory, items
from support.ports import free_port
from support.roles import ANYBODY, assumed, make_role, variables
from support.verify_faults import Fault, steer
from support.waiting import eventually

pytestmark = pytest.mark.emulator
# Half of the stories are played by another process, with an embedded AWS of its own.
OTHER_GROUP = pytest.mark.xdist_group("verify-ends")

SEED = int(os.environ.get("ROLEKEEPER_VERIFY_SEED") or random.SystemRandom().randrange(10_000))
# The minute is that of the follow-ups.
TIMINGS = Timings(pending=0.3, stopping=0.5, shutting_down=0.3, propagation=0.5, minute=30)
# How long an answer may take: a follow-up that comes within a minute may have to repair the burst. A wait for one that
# never comes takes it all, so it is shorter there.
PATIENCE, SHORT_PATIENCE = 90, 60
# Records are there after a second, or never.
TRAIL_PATIENCE = 3
# Seconds between two calls of an instance.
CALLS_EVERY = 2.5
# They wait most of the time, but not while they begin.
AT_ONCE = 8


def patient(seconds: float, trail: float = TRAIL_PATIENCE) -> tuple[str, ...]:
    return "--patience", str(seconds), "--trail-patience", str(trail)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a verification ended, and its report."""

    code: int
    report: Mapping[str, Any]
    files: Collection[Path]
    stderr: str

    @property
    def outcomes(self) -> dict[str, set[str]]:
        """The outcomes of all `steps` and of all `probes`."""
        return {kind: {each["outcome"] for each in self.report[kind]} for kind in ("steps", "probes")}

    @property
    def failed(self) -> list[str]:
        return [each["name"] for each in self.report["steps"] if each["outcome"] == "failed"]

    def why(self, step: str) -> str:
        return str(next(each["why"] for each in self.report["steps"] if each["name"] == step))


class Verifications:
    """Runs the command in accounts of an embedded AWS, with artifacts that are built already."""

    def __init__(self, aws: EmbeddedAws, installed: Path, folder: Path) -> None:
        self.aws = aws
        self.folder, self._installed = folder, installed
        self._accounts = (f"{each:012}" for each in count(100_000_000_000))

    def account(self) -> str:
        """An account in which nothing is."""
        return next(self._accounts)

    def command(self, account: str, keys: Mapping[str, str] | None = None) -> Command:
        """The installed command, as an account's root or with the variables of another caller."""
        root = {"AWS_ACCESS_KEY_ID": account, "AWS_SECRET_ACCESS_KEY": "any"}
        return Command(
            {**self.aws.env, **root, **(keys or {}), "PYTHONPATH": str(self._installed), "HOME": str(self.folder)}
        )

    def run(
        self,
        account: str,
        keys: Mapping[str, str] | None = None,
        *,
        patience: float = PATIENCE,
        trail_patience: float = TRAIL_PATIENCE,
    ) -> Ended:
        command, folder = self.command(account, keys), self.reports(account)
        asked = ("verify", "--yes", *patient(patience, trail_patience), "--report", str(folder), "--output", "json")
        done = subprocess.run(
            [command.command, *asked], env=command.env, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.stdout, done.stderr
        return Ended(done.returncode, json.loads(done.stdout), list(folder.iterdir()), done.stderr)

    def reports(self, account: str) -> Path:
        """The folder for the reports of an account's verifications."""
        return self.folder / account

    def sweep(self, account: str) -> None:
        """Remove what verifications left in an account, as its administrator."""
        self.command(account)("verify", "--sweep", "--yes", seconds=300)

    def left(self, account: str) -> dict[str, list[Any]]:
        """What is in an account by the services' own lists."""
        return inventory(self.aws.session(account=account))


@pytest.fixture(scope="module")
def verifications(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verifications]:
    installed = tmp_path_factory.mktemp("installed")
    for package in ("cli/rolekeeper_cli", "verify/rolekeeper_verify"):
        shutil.copytree(REPOSITORY / package, installed / Path(package).name)
    # As the wheel has them: in a clone the command would build them each time.
    (installed / "rolekeeper_cli/artifacts").symlink_to(artifacts)
    folder = tmp_path_factory.mktemp("reports")
    with EmbeddedAws(
        port=free_port(), timings=TIMINGS, directory=folder / "aws", artifacts=artifacts, plugin=verify_faults.FILE
    ) as aws:
        yield Verifications(aws, installed, folder)


def side_by_side[T, R](play: Callable[[T], R], cases: Iterable[T]) -> dict[T, R]:
    cases = list(cases)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(cases, pool.map(play, cases), strict=True))


# ---- as the least policy allows ----

# EC2 has no tag by which the least policy allows them.
UNASKED_HERE = {"stale-replace", "stale-disassociate", "second-disassociate"}
# It starts anew each time.
AWS_CLI = Sdk("aws-cli/2.30.0 md/awscrt#0.27.6", lambda asked, _expires: asked)


@pytest.fixture(scope="module")
def policies(verifications: Verifications) -> list[str]:
    """The policies that `rolekeeper guard verifiers` prints for the account ACCOUNT."""
    command = verifications.command(ACCOUNT)
    return [command("guard", "verifiers", "--part", part).stdout for part in ("1", "2")]


type Caller = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def caller(verifications: Verifications, policies: list[str]) -> Caller:
    """Gives the variables of a role of an account that may do the least, without the actions that are denied it."""

    def make(account: str, *denied: str) -> dict[str, str]:
        iam = verifications.aws.session(account=account).client("iam")
        deny = [{"Effect": "Deny", "Action": denied, "Resource": "*"}] if denied else []
        role = make_role(verifications.aws, account, ANYBODY, *deny, name="verifier", path="/")
        for part, policy in enumerate(policies):
            made = iam.create_policy(PolicyName=f"verifier-{part}", PolicyDocument=policy.replace(ACCOUNT, account))
            iam.attach_role_policy(RoleName="verifier", PolicyArn=made["Policy"]["Arn"])
        return variables(assumed(verifications.aws, role))

    return make


@contextmanager
def calling(aws: EmbeddedAws) -> Iterator[None]:
    """The instance that is launched with a mapped tag calls; the embedded AWS doesn't run its user data."""
    ended, ec2 = Event(), aws.session().client("ec2")

    def instance() -> str:
        mapped = ec2.describe_instances(Filters=[{"Name": "tag-key", "Values": [f"{PREFIX}*"]}])
        found = jmespath.search("Reservations[].Instances[].InstanceId", mapped)
        return found[0] if found else ""

    def call() -> None:
        caller = ""
        # Uptake looks through the newest 500 calls, and these are two of them: a run of ten minutes makes fewer.
        while not ended.wait(CALLS_EVERY):
            caller = caller or instance()
            with suppress(ClientError, HTTPError):  # it has no role, or one that allows nothing
                if caller:
                    aws_cli = Software(aws, caller, AWS_CLI)
                    aws_cli.calls()
                    aws_cli.calls("ec2", "describe_regions")

    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(call)
        try:
            yield
        finally:
            ended.set()
    calls.result()


def test_a_clean_run_beside_production_passes_and_changes_nothing_else(
    verifications: Verifications, caller: Caller
) -> None:
    aws = verifications.aws
    aws.deploy()
    production = EmulatedAccount(aws)
    production.deploy_starter_roles()
    production.seed_mappings()
    eventually(lambda: production.mapping_status("workload", "s3-reader", "Published"))
    instance = production.launch("production", workload="s3-reader")
    eventually(lambda: production.carries(instance, "s3-read"))
    keys = caller(ACCOUNT)

    def production_now() -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        # Its own minute passes meanwhile: a follow-up is due and counted, and each minute notes how it is deployed.
        own = "follow-ups", "deployed", f"activity#{ACCOUNT}#us-east-1"
        tables = items(aws.session()).items()
        return inventory(aws.session()), {
            table: [row for row in rows if not row.get("pk", {}).get("S", "").startswith(own)] for table, rows in tables
        }

    def at_rest() -> Any:
        seen = production_now()
        time.sleep(2)
        return seen if seen == production_now() else None

    # What the launch has brought about is still being recorded when EC2 shows the role.
    before = eventually(at_rest)
    with calling(aws):
        ended = verifications.run(ACCOUNT, keys, trail_patience=12 * CALLS_EVERY)
    assert [(each["name"], each["why"]) for each in ended.report["steps"] if each["outcome"] != "passed"] == []
    assert (ended.code, ended.report["left"]) == (0, [])
    assert ended.outcomes["probes"] == {"passed", "skipped"}
    skipped = {each["name"]: each["why"] for each in ended.report["probes"] if each["outcome"] == "skipped"}
    assert skipped.keys() == UNASKED_HERE, f"{skipped}"
    files = {path.suffix: path.read_text() for path in ended.files}
    assert files.keys() == {".json", ".md", ".svg"}
    assert "| in-use | passed |" in files[".md"]
    assert ">in-use</text>" in files[".svg"]
    assert production_now() == before


# The step that fails first without a permission.
NEEDED_BY = {"cloudformation:CreateChangeSet": "deploy", "iam:PassRole": "launch"}


@OTHER_GROUP
def test_a_missing_permission_is_named_with_the_step_that_needs_it_and_leaves_nothing(
    verifications: Verifications, caller: Caller
) -> None:
    def play(action: str) -> tuple[int, list[str], bool, bool]:
        account = verifications.account()
        keys = caller(account, action)
        before = verifications.left(account)
        ended = verifications.run(account, keys)
        is_named = action in ended.why(ended.failed[0])
        return ended.code, ended.failed, is_named, verifications.left(account) == before

    assert side_by_side(play, NEEDED_BY) == {action: (1, [step], True, True) for action, step in NEEDED_BY.items()}


# ---- wrong answers ----

# The first step that fails at each of them: because what it waits for never comes, or at once. What a step asks of IAM
# and of an edit in waves is told in tests/unit/cli/verify.
NEVER_COMES_AT = {
    Fault.THIRD_B_LOST: "burst",
    Fault.DISASSOCIATE_DOES_NOTHING: "none",
    Fault.EVENTS_LOST_ONCE_STOPPED: "restart",
    Fault.STAYS_ASSOCIATING: "launch",
    Fault.STREAM_SILENT: "mappings",
}
FAILS_AT = {
    Fault.UPDATE_DOES_NOTHING: "held",
    Fault.SWEEP_DOES_NOTHING: "sweep",
    Fault.TAG_EVENTS_LOST: "retag",  # though a follow-up gives the role in time
    Fault.MISSING_ROLE_SHOWN: "bad-row",
    Fault.FOREIGN_GOES_AT_NONE: "foreign-none",
    Fault.FOREIGN_GOES_AT_TAG: "foreign-mapped",
    Fault.REPLACE_SHOWS_GAP: "retag",
    Fault.REPLACE_KEEPS_ID: "retag",
}


def test_each_wrong_answer_fails_its_step_and_leaves_nothing(verifications: Verifications) -> None:
    def play(fault: Fault) -> tuple[int, dict[str, str], dict[str, list[Any]]]:
        account = verifications.account()
        steer(verifications.aws, account, fault)
        ended = verifications.run(account, patience=SHORT_PATIENCE if fault in NEVER_COMES_AT else PATIENCE)
        return ended.code, {each: ended.why(each) for each in ended.failed}, verifications.left(account)

    played = side_by_side(play, NEVER_COMES_AT | FAILS_AT)
    assert {fault: list(whys) for fault, (_, whys, _) in played.items()} == {
        fault: [step] for fault, step in (NEVER_COMES_AT | FAILS_AT).items()
    }, played
    assert {(code, str(left)) for code, _, left in played.values()} == {(1, "{}")}


# ---- an end in between ----

# What a verification says on its way: it is killed within a second after one of these.
MARKS = (
    "Verification",
    *("deploy", "mappings", "launch", "retag", "restart", "foreign-mapped", "none", "foreign-none", "untag", "bad-row"),
    *("burst", "sweep", "iam", "free", "waves", "held"),
    *("stale-replace", "new-profile", "terminate", "Removing", "deleted:"),
)
# The one is killed early and the other late.
KILLED = 2


def ends(verifications: Verifications, account: str, mark: str, seconds: float, number: signal.Signals) -> int:
    """Begin a verification, and send it a signal some seconds after it has said something; its exit code."""
    command = verifications.command(account)
    asked = ("verify", "--yes", *patient(PATIENCE), "--report", str(verifications.reports(account)))
    with subprocess.Popen(
        [command.command, *asked], env=command.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        said = []
        for line in process.stdout:
            said.append(line)
            if mark in line.split()[:2]:
                time.sleep(seconds)
                process.send_signal(number)
                break
        else:
            raise AssertionError(f"it ended before it came to {mark}:\n{''.join(said)}")
        process.communicate(timeout=300)
    return process.returncode


@OTHER_GROUP
def test_whatever_killed_verifications_leave_one_sweep_removes(verifications: Verifications) -> None:
    rng = random.Random(SEED)
    places = [(mark, rng.random()) for mark in sorted(rng.sample(MARKS, KILLED), key=MARKS.index)]
    account = verifications.account()
    other = launched_by_another(verifications, account)
    before = verifications.left(account)

    def play(place: tuple[str, float]) -> int:
        return ends(verifications, account, *place, signal.SIGKILL)

    codes = side_by_side(play, places)
    assert codes == dict.fromkeys(codes, -signal.SIGKILL), f"ROLEKEEPER_VERIFY_SEED={SEED}"
    assert verifications.left(account) != before, f"ROLEKEEPER_VERIFY_SEED={SEED}"
    tags = tag_as_theirs(verifications, account, other)
    verifications.sweep(account)
    verifications.aws.session(account=account).client("ec2").delete_tags(Resources=[other], Tags=tags)
    assert verifications.left(account) == before, f"ROLEKEEPER_VERIFY_SEED={SEED}"


def launched_by_another(verifications: Verifications, account: str) -> str:
    ec2 = verifications.aws.session(account=account).client("ec2")
    made = str(ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"])
    eventually(
        lambda: jmespath.search("Reservations[0].Instances[0].State.Name", ec2.describe_instances()) == "running"
    )
    return made


def tag_as_theirs(verifications: Verifications, account: str, instance: str) -> Any:
    """Put the id of a verification that was killed on somebody else's instance."""
    session = verifications.aws.session(account=account)
    names = [each["Name"] for each in session.client("s3").list_buckets()["Buckets"]]
    tags: Any = [{"Key": TAG, "Value": names[0].removeprefix(PREFIX)[:6] if names else "abc123"}]
    session.client("ec2").create_tags(Resources=[instance], Tags=tags)
    return tags


@OTHER_GROUP
def test_an_interrupted_verification_removes_everything_and_has_not_passed(verifications: Verifications) -> None:
    account = verifications.account()
    assert ends(verifications, account, "launch", 0.3, signal.SIGTERM) == 130
    [report] = verifications.reports(account).glob("*.json")
    assert json.loads(report.read_text())["outcome"] == "failed"
    assert verifications.left(account) == {}
