"""The emulator's process: ministack, corrected by the truth about EC2, on one port of 127.0.0.1.

Runs under the interpreter of ``.envs/emulator``, from ``local/`` (so nothing of the development environment is on its
path)::

    python -m rolekeeper_local.emulator PORT DIRECTORY

DIRECTORY takes everything that it writes; ``embedded`` starts it, with an environment of its own, and removes that. It
ends at SIGTERM, at SIGINT and when its standard input closes: nothing outlives whoever started it.
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

import asyncio
import logging
import os
import signal
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from rolekeeper_local.settings import timings_from

TICK_SECONDS = 0.05
#: What Lambda's python3.13 runtime brings besides the standard library; the rest must come from the layer.
_LAMBDA_RUNTIME = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six.py", "urllib3")

logger = logging.getLogger(__name__)


def environment(port: int, directory: Path) -> dict[str, str]:
    """Return the variables that ministack reads when it is imported.

    Args:
        port: Where it will listen.
        directory: Takes its temporary files.
    """
    return {
        "GATEWAY_PORT": str(port),
        "TMPDIR": str(directory),
        "S3_DATA_DIR": str(directory / "s3"),
        "STATE_DIR": str(directory / "state"),
        # Each function runs with its own role's policy.
        "AUTH": "true",
        # Step Functions waits in real time.
        "SFN_WAIT_SCALE": "1",
        "LAMBDA_EXECUTOR": "local",
        # No listeners but the one port, and no Docker: ministack would sweep containers of other ministacks.
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "DOCKER_HOST": f"unix://{directory / 'no-docker'}",
        "LOG_LEVEL": "INFO",
    }


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
    # Imported here because ministack reads its environment when it is imported.
    from hypercorn.asyncio import serve as hypercorn_serve  # type: ignore[import-not-found]  # noqa: PLC0415
    from hypercorn.config import Config  # type: ignore[import-not-found]  # noqa: PLC0415
    from ministack import app  # type: ignore[import-not-found]  # noqa: PLC0415
    from ministack.core import hypercorn_compat, lambda_runtime  # type: ignore[import-not-found]  # noqa: PLC0415
    from ministack.services import ec2  # type: ignore[import-not-found]  # noqa: PLC0415

    from rolekeeper_local import (  # noqa: PLC0415
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
    from rolekeeper_local.chaos import Chaos  # noqa: PLC0415
    from rolekeeper_local.ec2_api import Ec2Api  # noqa: PLC0415
    from rolekeeper_local.front import Control, front  # noqa: PLC0415
    from rolekeeper_local.origin import guarded  # noqa: PLC0415

    hypercorn_compat.install()
    loop = asyncio.get_running_loop()
    timings = timings_from(os.environ)
    chaos, running = Chaos(), invocations.install()
    ec2_api = Ec2Api(timings, loop.call_soon, chaos.arrivals)
    ec2.handle_request = event_history.install().recording(ec2_api.handle_request)
    ec2_wire.install()
    iam_exceptions.install(ec2_api)
    # In this order: the checks of buses wrap those of IAM, and PutEvents is limited before it is sent on.
    for module in (
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
    ):
        module.install()
    schedules.install(timings.minute)
    control = Control(ec2_api, chaos, running, queues.install(), iam_last_used.install())
    recursion.install()
    python, detect = make_lambda_python(directory / "lambda-python"), lambda_runtime._detect_runtime_binary
    lambda_runtime._detect_runtime_binary = lambda runtime: (
        (python, detect(runtime)[1]) if runtime.startswith("python") else detect(runtime)
    )

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin.fileno(), _stop_at_end_of_input, stop)
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.loglevel = "WARNING"
    ticking = asyncio.create_task(_keep_ticking(ec2_api.tick))
    # An emulator whose time stands still would only mislead: it ends, and the launcher shows the log.
    ticking.add_done_callback(lambda _task: stop.set())
    try:
        answer = guarded(front(app.app, control, chaos, invocations=running), port)
        await hypercorn_serve(answer, config, shutdown_trigger=stop.wait)
    finally:
        lambda_runtime.reset()
    if ticking.done():
        ticking.result()


def _stop_at_end_of_input(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stop.set()


async def _keep_ticking(tick: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        tick()


def main(port: int, directory: Path) -> None:
    """Run the emulator in this process until it is told to stop."""
    os.environ.update(environment(port, directory))
    code = 1
    try:
        # Not asyncio.run, which would wait for ministack's threads: one may sleep through a Step Functions wait.
        asyncio.new_event_loop().run_until_complete(serve(port, directory))
        code = 0
    except Exception:
        logger.exception("the emulator failed")
    finally:
        logging.shutdown()
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
