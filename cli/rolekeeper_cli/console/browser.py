"""Open the link in the person's browser.

The link goes into a file that only the person can read, and the browser is given the file's name: what is on a command
line, every user of the machine sees.
"""

import os
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rolekeeper_cli.console.page import bare_page


@contextmanager
def link_file(link: str) -> Iterator[Path]:
    """A page that goes on to the link, in a folder that only the person can open; gone at the end, if not before."""
    with TemporaryDirectory(prefix="rolekeeper-console-", ignore_cleanup_errors=True) as folder:  # of mode 0700
        file = Path(folder) / "console.html"
        file.touch(mode=0o600)
        file.write_text(bare_page("open.html", link=link), encoding="utf-8")
        yield file


def open_file(file: Path, opens: Callable[[str], bool] = webbrowser.open) -> bool:
    """Open it in a browser; whether there is one."""
    return _has_windows() and opens(file.as_uri())


def _has_windows() -> bool:
    """Whether a browser has a window of its own: one in this terminal would be in the way of the console's messages."""
    if sys.platform in {"darwin", "win32", "cygwin"}:
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
