"""The emulator's process: ministack, corrected by every module here, on one port of 127.0.0.1.

Runs under the interpreter that has ministack, in the environment that ``embedded`` gives it::

    python -m rolekeeper_local.emulator PORT DIRECTORY [PLUGIN]

DIRECTORY takes everything that it writes; ``embedded`` removes that. It leads a process group, and ends at SIGTERM, at
SIGINT and when its standard input closes, with every process of a function: nothing outlives whoever started it. PLUGIN
is a file whose ``plug(app, control)`` wraps ministack's application; tests have one that makes things go wrong.
"""

import asyncio
import importlib.util
import logging
import os
import signal
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from ministack import app
from ministack.core import hypercorn_compat, lambda_runtime

from rolekeeper_local import (
    answers,
    buses,
    ec2_wire,
    event_history,
    forks,
    iam_exceptions,
    iam_last_used,
    iam_quotas,
    iam_role_list,
    iam_trust,
    invocations,
    map_runs,
    organizations,
    queues,
    resource_policies,
    rules,
    service_roles,
    stacks,
    streams,
    unpacked,
)
from rolekeeper_local.asgi import App
from rolekeeper_local.auto_scaling import AutoScaling
from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_api import Ec2Api
from rolekeeper_local.fleets import Fleets
from rolekeeper_local.front import Control, front
from rolekeeper_local.imds import Imds
from rolekeeper_local.origin import guarded
from rolekeeper_local.settings import timings_from

TICK_SECONDS = 0.05
#: What Lambda's python3.13 runtime brings besides the standard library; the rest must come from the layer.
_LAMBDA_RUNTIME = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six.py", "urllib3")

logger = logging.getLogger(__name__)


async def serve(port: int, directory: Path, plugin: Path | None) -> None:
    """Serve until told to stop."""
    hypercorn_compat.install()
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    timings = timings_from(os.environ)
    ec2_api = Ec2Api(timings, loop.call_soon)
    groups = AutoScaling(ec2_api)
    imds = Imds(ec2_api, event_history.install(timings.recording), timings.hour)
    groups.install()
    control = _correct_everything(ec2_api, timings.minute)
    emulated = _plug(plugin, app.app, control) if plugin else app.app
    _run_functions_under(make_lambda_python(directory / "lambda-python"))
    unpacked.install(directory / "unpacked")
    forks.install()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin.fileno(), _stop_at_end_of_input, stop)
    # hypercorn would stop only once each client has its answer, and a function may take its time.
    never = asyncio.Event()
    answering = guarded(front(emulated, control, imds), port)
    serving = hypercorn_serve(answering, _config(port), shutdown_trigger=never.wait)
    # An emulator whose time stands still would only mislead: it ends, and the launcher shows the log.
    ticking = _keep_ticking(groups.tick, ec2_api.tick, imds.tick)
    running = [asyncio.ensure_future(each) for each in (serving, ticking, stop.wait())]
    ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for each in ended:
        each.result()


def _correct_everything(ec2_api: Ec2Api, minute_seconds: float) -> Control:
    """Correct ministack; the checks of buses wrap those of IAM, and PutEvents is limited before it is sent on."""
    ec2_api.install()
    Fleets(ec2_api).install()
    resource_policies.install()
    iam_exceptions.install(ec2_api)
    for module in (ec2_wire, iam_trust, service_roles, iam_quotas, iam_role_list, buses, organizations):
        module.install()
    for module in (answers, stacks, streams, map_runs):
        module.install()
    rules.install(minute_seconds)
    counted, last_used = queues.install(), iam_last_used.install()
    return Control(ec2_api, invocations.install(), queues=counted, last_used=last_used)


def _plug(plugin: Path, emulated: App, control: Control) -> App:
    spec = importlib.util.spec_from_file_location("rolekeeper_local_plugin", plugin)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wrapped: App = module.plug(emulated, control)
    return wrapped


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


def _run_functions_under(python: str) -> None:
    def detect(original: Callable[[str], tuple[str, str]], runtime: str) -> tuple[str, str]:
        found = original(runtime)
        return (python, found[1]) if runtime.startswith("python") else found

    correct(detect, "_detect_runtime_binary", lambda_runtime)


def _config(port: int) -> Config:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    return config


def _stop_at_end_of_input(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stop.set()


async def _keep_ticking(*ticks: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        for tick in ticks:
            tick()


def main(port: int, directory: Path, plugin: Path | None = None) -> None:
    try:
        asyncio.new_event_loop().run_until_complete(serve(port, directory, plugin))
    except Exception:
        logger.exception("the emulator failed")
    finally:
        logging.shutdown()
        # Nothing has to end in order, as nothing is kept: neither ministack's threads nor the functions' processes.
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(Path, sys.argv[2:]))
