"""The emulator's process: ministack, corrected by the truth about EC2, on one port of 127.0.0.1.

Runs under the interpreter of ``.envs/emulator``, from ``local/`` (so nothing of the development environment is on its
path)::

    python -m rolekeeper_local.emulator PORT DIRECTORY

DIRECTORY takes everything that it writes; ``embedded`` starts it, with an environment of its own, and removes that. It
ends at SIGTERM, at SIGINT and when its standard input closes: nothing outlives whoever started it.
"""

import asyncio
import logging
import os
import sys
from pathlib import Path

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


def main(port: int, directory: Path) -> None:
    """Run the emulator in this process until it is told to stop."""
    os.environ.update(environment(port, directory))
    code = 1
    try:
        from rolekeeper_local.serving import serve  # noqa: PLC0415  # ministack reads its environment when it is imported

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
