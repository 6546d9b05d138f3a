"""The repository's pages, as people who type what stands in them."""

import os
import re
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bash_blocks(page: str) -> list[str]:
    """A page's blocks that people are told to run, in order."""
    return re.findall(r"^```bash\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def text_blocks(page: str) -> list[str]:
    """A page's blocks that show what a terminal says, in order."""
    return re.findall(r"^```text\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


class Shell:
    """Runs a block as the same terminal would: what one sets, the next still knows."""

    def __init__(self, home: Path, port: int) -> None:
        self._memory = home / "memory"
        self._memory.touch()
        # The person's own PATH, and none of the settings that the blocks themselves make.
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "ROLEKEEPER_LOCAL_PORT": str(port),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def __call__(self, block: str) -> str:
        kept = shlex.quote(str(self._memory))
        done = subprocess.run(
            ["bash", "-euc", f"set -a; source {kept}\n{block}\n{{ export -p; declare -f; }} > {kept}"],
            cwd=ROOT,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        return done.stdout
