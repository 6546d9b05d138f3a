"""Starts the embedded AWS and deploys Rolekeeper to it, for ``make local``, the demo and the end-to-end tests.

with EmbeddedAws() as aws:
    aws.deploy()
    aws.session().client("ec2").run_instances(...)
    aws.stack_outputs()["MappingTable"]
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import create_loader

from rolekeeper.model.instance import Target
from rolekeeper_cli import installed
from rolekeeper_cli.deploy.artifacts import Bucket, built, upload
from rolekeeper_cli.deploy.rollout import Rollout, Template
from rolekeeper_local import place, settings
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.place import PACKAGES, EmbeddedAwsError
from rolekeeper_local.progress import BEAT, beating
from rolekeeper_local.settings import PORT_VARIABLE

STACK = "rolekeeper"
#: Where it is deployed.
ACCOUNT, REGION = "000000000000", "us-east-1"
#: Any credentials do; these are ours, so that no profile or file of the person's is read.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
#: It acts from the start, and a dashboard costs nothing.
PARAMETERS = {"Mode": "enforce", "CreateDashboard": "true"}

#: Shared by all sessions: each would read the descriptions of its services again, which take longer than a call.
_LOADER = create_loader()
_READY_SECONDS = 30


def leave_by_interrupt() -> None:
    """End at SIGTERM as at Ctrl-C; and at SIGINT, which a shell's background job ignores by default."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


class EmbeddedAws:
    """An emulator process on one port of 127.0.0.1, as a context manager. Port and timings are from the environment.

    Args:
        progress: Takes one line for each step, when it begins and when it ends.
        directory: Takes the log, the build and temporary files; by default ``place.folder_for(port)``.
        artifacts: What `tools/artifacts.py` wrote; by default a clone builds them, and a wheel has its own.
        plugin: A file that the emulator loads (see ``emulator``).

    Raises:
        EmbeddedAwsError: On entering, if the port is taken or the emulator does not come up.
    """

    def __init__(  # noqa: PLR0913 - each may be left out, and is given by name
        self,
        *,
        port: int | None = None,
        progress: Callable[[str], None] = lambda _line: None,
        timings: Timings | None = None,
        directory: Path | None = None,
        artifacts: Path | None = None,
        plugin: Path | None = None,
    ) -> None:
        self.port = settings.port_from(os.environ) if port is None else port
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.directory = directory or place.folder_for(self.port)
        self.log = self.directory / "emulator.log"
        self._temporary = self.directory / "tmp"
        self._progress = progress
        self._timings = timings or settings.timings_from(os.environ)
        self._artifacts = artifacts
        self._plugin = [str(plugin)] if plugin else []
        self._process: subprocess.Popen[bytes] | None = None

    # ---- asking it ----

    @property
    def env(self) -> dict[str, str]:
        """The variables with which any AWS client calls the embedded AWS, and reads none of the person's files."""
        return {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            # A proxy of the person's cannot reach this machine's own 127.0.0.1.
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def session(
        self, *, account: str = "", region: str = REGION, credentials: Mapping[str, str] | None = None
    ) -> boto3.Session:
        """A session of `account`'s administrator, or with AssumeRole's `credentials`; its clients call this AWS."""
        keys = credentials or {
            "AccessKeyId": account or CREDENTIALS["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        }
        core = botocore.session.Session(
            # No profile, no file and no variable of the person's: botocore's (name in files, variables, default, cast).
            session_vars={
                "profile": (None, [], None, None),
                "config_file": (None, [], os.devnull, None),
                "credentials_file": (None, [], os.devnull, None),
            }
        )
        # Whoever asks an emulator that ended shall know at once.
        core.set_default_client_config(Config(proxies={}, retries={"mode": "standard", "total_max_attempts": 2}))
        core.register_component("data_loader", _LOADER)
        session = boto3.Session(
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys.get("SessionToken"),
            region_name=region,
            botocore_session=core,
        )
        session.client = partial(session.client, endpoint_url=self.endpoint)  # type: ignore[method-assign]
        return session

    def imds(self, instance_id: str) -> str:
        """The address of an instance's metadata service, for `AWS_EC2_METADATA_SERVICE_ENDPOINT`."""
        return f"{self.endpoint}/_rolekeeper/imds/{instance_id}/"

    def stack_outputs(self, stack: str = STACK) -> dict[str, str]:
        (found,) = self.session().client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}

    # ---- deploying ----

    def deploy(self, **parameters: str) -> None:
        """Deploy the template, unmodified, as `rolekeeper deploy` does, in a clone from its present sources.

        `parameters` replace the embedded AWS's own. A CommandError has CloudFormation's reasons.
        """
        with ExitStack() as stack, self.step("deploying"):
            artifacts = self._artifacts or stack.enter_context(built())
            bucket = Bucket(self.session().client("s3"), Target(ACCOUNT, REGION), None)
            template = Template({"TemplateURL": upload(artifacts, bucket)})
            make_stack(self.session().client("cloudformation"), STACK, template, parameters=parameters or PARAMETERS)
        # Before it nothing is changed.
        with self.step("the first sweep"):
            self.sweep()

    def function_name(self, logical_id: str) -> str:
        stacks = self.session().client("cloudformation")
        answer = stacks.describe_stack_resource(StackName=STACK, LogicalResourceId=logical_id)
        return str(answer["StackResourceDetail"]["PhysicalResourceId"])

    def sweep(self) -> dict[str, Any]:
        """Run the sweep now instead of at its next time; an EmbeddedAwsError if it fails."""
        event = installed.file("events/sweep.json").read_bytes()
        functions = self.session().client("lambda")
        answer = functions.invoke(FunctionName=self.function_name("OnSchedule"), Payload=event)
        payload: dict[str, Any] = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise EmbeddedAwsError(f"the sweep failed: {payload}")
        return payload

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step: a line of progress when it begins, some while it lasts, and one when it is done."""
        self._progress(f"{name} …")
        started = time.monotonic()
        with beating(lambda seconds: self._progress(f"{name}: {seconds:.0f} s so far"), BEAT):
            yield
        self._progress(f"{name}: done in {time.monotonic() - started:.1f} s")

    # ---- the control door (docs/local.md) ----

    def drop_events(self, instance_id: str, count: int = 1) -> None:
        """Lose the next events of an instance, as AWS may."""
        self.control("drop-events", {"instance-id": instance_id, "count": count})

    def fire_rule(self, account: str, region: str, rule: str) -> None:
        """Let the time of a scheduled rule be now; it must have a rate and be on a default bus."""
        self.control("fire-rule", {"account": account, "region": region, "rule": rule})

    def message_counts(self) -> dict[str, dict[str, int]]:
        """The outcome of each queue's messages, by its ARN (see ``queues.Queues.document``)."""
        return dict(self.control("messages"))

    def control(self, name: str, document: Mapping[str, Any] | None = None) -> Any:
        """Call the control door (``front.Control``): with a document by POST, without by GET."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        body = None if document is None else json.dumps(document).encode()
        with direct.open(f"{self.endpoint}/_rolekeeper/{name}", data=body, timeout=5) as answer:
            return json.load(answer)

    # ---- its process ----

    def __enter__(self) -> Self:
        self._require_free_port()
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        with self.step("embedded AWS"), self.log.open("wb") as log:
            self._process = self._start(log)
            try:
                self._await_ready()
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait(self) -> int:
        assert self._process, "the embedded AWS is not running"
        return self._process.wait()

    def close(self) -> None:
        """End the emulator and every process of its functions, and remove its temporary files; idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            # Its process group (start_new_session). It keeps nothing, so nothing has to end in order.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin:
            process.stdin.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own module
            [
                str(place.interpreter()),
                "-m",
                "rolekeeper_local.emulator",
                str(self.port),
                str(self._temporary),
                *self._plugin,
            ],
            cwd=PACKAGES,
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        """The emulator's variables: none of the person's (profiles, PYTHONPATH, proxies) may reach the functions."""
        folder = self._temporary
        return {
            **{name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ},
            **settings.as_environment(self._timings),
            "HOME": str(folder),
            "PYTHONUNBUFFERED": "1",
            # What ministack reads when it is imported.
            "GATEWAY_PORT": str(self.port),
            "TMPDIR": str(folder),
            "S3_DATA_DIR": str(folder / "s3"),
            "STATE_DIR": str(folder / "state"),
            # Each function runs with its own role's policy.
            "AUTH": "true",
            # Step Functions waits in real time.
            "SFN_WAIT_SCALE": "1",
            "LAMBDA_EXECUTOR": "local",
            # One port, and no Docker: ministack would sweep the containers of other ministacks.
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "DOCKER_HOST": f"unix://{folder / 'no-docker'}",
            "LOG_LEVEL": "INFO",
        }

    def _require_free_port(self) -> None:
        with socket.socket() as probe:
            # As servers do: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                way_out = f"stop what listens there, or choose another by --port or {PORT_VARIABLE}"
                raise EmbeddedAwsError(f"port {self.port} is taken: {way_out}") from None

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise EmbeddedAwsError(f"the emulator ended by itself:\n{self._last_words()}")
            with suppress(OSError):
                self.control("ping")
                return
            time.sleep(0.05)
        raise EmbeddedAwsError(f"the emulator did not answer within {_READY_SECONDS} s:\n{self._last_words()}")

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def make_stack(client: Any, name: str, template: Template, parameters: Mapping[str, str]) -> None:
    """Make or change a stack; a CommandError has CloudFormation's reasons."""
    asked = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    # A CloudFormation on this machine is asked more often.
    Rollout(client, name, sleep=lambda _seconds: time.sleep(0.2)).make(template, asked)
