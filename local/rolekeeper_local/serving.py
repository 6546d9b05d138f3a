"""What the emulator's process serves: ministack with the corrections of every module here, and Lambda's own Python."""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

import asyncio
import os
import signal
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from hypercorn.asyncio import serve as hypercorn_serve  # type: ignore[import-not-found]
from hypercorn.config import Config  # type: ignore[import-not-found]
from ministack import app  # type: ignore[import-not-found]
from ministack.core import hypercorn_compat, lambda_runtime  # type: ignore[import-not-found]
from ministack.services import ec2  # type: ignore[import-not-found]

from rolekeeper_local import (
    bus_forwarding,
    bus_names,
    bus_policies,
    bus_senders,
    deployments,
    ec2_wire,
    event_history,
    eventbridge_refusals,
    iam_exceptions,
    iam_last_used,
    iam_sessions,
    iam_trust,
    invocations,
    organizations,
    queues,
    recursion,
    rule_ids,
    schedules,
    streams,
    template_conditions,
    watching,
)
from rolekeeper_local.chaos import Chaos
from rolekeeper_local.ec2_api import Ec2Api
from rolekeeper_local.front import Control, front
from rolekeeper_local.origin import guarded
from rolekeeper_local.settings import timings_from

TICK_SECONDS = 0.05
#: What Lambda's python3.13 runtime brings besides the standard library; the rest must come from the layer.
_LAMBDA_RUNTIME = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six.py", "urllib3")
#: In this order: the checks of buses wrap those of IAM, and PutEvents is limited before it is sent on.
_INSTALLED = (
    iam_sessions,
    iam_trust,
    bus_policies,
    bus_names,
    bus_senders,
    bus_forwarding,
    deployments,
    eventbridge_refusals,
    organizations,
    rule_ids,
    streams,
    template_conditions,
    watching,
)


def make_lambda_python(directory: Path) -> str:
    """Make the interpreter that functions run under: Python and boto3, nothing else; return its path.

    ministack runs functions under its own interpreter, where a library that the layer lacks might be found by chance.
    """
    venv.create(directory, with_pip=False, symlinks=True)
    packages = directory / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for entry in _LAMBDA_RUNTIME:
        source = next(Path(place) / entry for place in sys.path if (Path(place) / entry).exists())
        (packages / entry).symlink_to(source)
    return str(directory / "bin" / "python")


async def serve(port: int, directory: Path) -> None:
    """Serve until told to stop, then end every function's process."""
    hypercorn_compat.install()
    loop = asyncio.get_running_loop()
    timings, chaos, running = timings_from(os.environ), Chaos(), invocations.install()
    ec2_api = Ec2Api(timings, loop.call_soon, chaos.arrivals)
    ec2.handle_request = event_history.install().recording(ec2_api.handle_request)
    ec2_wire.install()
    iam_exceptions.install(ec2_api)
    for module in _INSTALLED:
        module.install()
    schedules.install(timings.minute)
    control = Control(ec2_api, chaos, running, queues=queues.install(), last_used=iam_last_used.install())
    recursion.install()
    _run_functions_under(make_lambda_python(directory / "lambda-python"))

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin.fileno(), _stop_at_end_of_input, stop)
    ticking = asyncio.create_task(_keep_ticking(ec2_api.tick))
    # An emulator whose time stands still would only mislead: it ends, and the launcher shows the log.
    ticking.add_done_callback(lambda _task: stop.set())
    try:
        answer = guarded(front(app.app, control, chaos, invocations=running), port)
        await hypercorn_serve(answer, _config(port), shutdown_trigger=stop.wait)
    finally:
        lambda_runtime.reset()
    if ticking.done():
        ticking.result()


def _run_functions_under(python: str) -> None:
    """Run the functions of Python runtimes under this interpreter."""
    detect = lambda_runtime._detect_runtime_binary
    lambda_runtime._detect_runtime_binary = lambda runtime: (
        (python, detect(runtime)[1]) if runtime.startswith("python") else detect(runtime)
    )


def _config(port: int) -> Config:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.loglevel = "WARNING"
    return config


def _stop_at_end_of_input(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stop.set()


async def _keep_ticking(tick: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        tick()
