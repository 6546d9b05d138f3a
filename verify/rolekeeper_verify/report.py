"""The report of a verification as files: JSON, and Markdown with a plot, fit for an issue or a pull request.

Each takes a redacted report, so that nothing else can be written.
"""

from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.shell.documents import as_json
from rolekeeper_cli.shell.markdown import code, escaped
from rolekeeper_verify.names import FOLDER, Names
from rolekeeper_verify.redact import Redacted
from rolekeeper_verify.view import Outcome


def write(report: Redacted, folder: Path) -> list[Path]:
    """Write three files that only their owner may read, each whole. UsageError if one can't be, or is there."""
    forms = {"json": as_json(report) + "\n", "md": markdown(report), "svg": plot(report)}
    files = {folder / f"{Names(report.id).stack}.{form}": text for form, text in forms.items()}
    if taken := next((path for path in files if path.exists()), None):
        raise UsageError(f"{taken} is there already", "name another folder")
    for path, text in files.items():
        try:
            _write(path, text)
        except OSError as error:
            raise UsageError(f"{path} can't be written: {error.strerror}", "name another folder") from error
    return list(files)


def _write(path: Path, text: str) -> None:
    # Such a file has the mode 0600, and is removed unless it got its own name.
    with NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete_on_close=False) as file:
        file.write(text)
        file.close()
        Path(file.name).replace(path)


def markdown(report: Redacted) -> str:
    """A page with a table of the steps and one of the probes; first what is wrong, about AWS and about us."""
    return _filled("report.md.j2", report, wrong=[each for each in report.probes if each.outcome is Outcome.FAILED])


def plot(report: Redacted) -> str:
    """The seconds of each step as bars, in colours for a light and a dark page."""
    return _filled("report.svg.j2", report, longest=max([each.seconds for each in report.steps], default=0) or 1)


@cache
def _templates(*, is_svg: bool) -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=is_svg,  # noqa: S701  # Markdown is escaped by `markdown.escaped`
        finalize=None if is_svg else escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["code"] = code
    return made


def _filled(template: str, report: Redacted, **values: Any) -> str:
    found = _templates(is_svg=template.endswith(".svg.j2")).get_template(template)
    return found.render(report=report, **values)
