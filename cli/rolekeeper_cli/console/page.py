"""A page: a template filled in. Every value is escaped, and an undefined one is a fault.

The filters: `{{ at|ago }}` is a time as people say it with the exact one on hover, `{{ at|when }}` has the exact one
beside it, for what is compared with logs, `{{ number|count }}` is 1,234, and `{{ what|sentence }}` has a capital and
a full stop (messages of commands have neither), and `{{ remedy|linked }}` leads to the page that does what it says.
`{{ at|written }}` is `ago` of what a person wrote, which may be no time. A macro that uses `ago` or `when` is
imported "with context": it needs the page's `now`.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.requests import Request
from starlette.responses import HTMLResponse

from rolekeeper_cli import installed
from rolekeeper_cli.console.links import mapping_filter, mapping_key, mapping_named, query
from rolekeeper_cli.console.words import held_reason, linked, of_pages, sentence, without_steps

# The navigation: what a section is called, where it begins, and the pages that belong to it.
SECTIONS = (
    ("Fleet", "/", ("/instance",)),
    ("Mappings", "/mappings", ("/mapping",)),
    ("Roles", "/roles", ("/role",)),
    ("Doctor", "/doctor", ()),
    ("Targets", "/targets", ()),
    ("Settings", "/settings", ()),
)
# Up to this age (left out), what one of the units is called and how long it is, in seconds.
_UNITS = (
    (timedelta(minutes=1), "s", 1),
    (timedelta(hours=1), "min", 60),
    (timedelta(hours=48), "h", 3_600),
    (timedelta(days=60), "days", 86_400),
)


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Fill in a template. All of them know `site`, `request`, `here`, `notice`, `sections` and `now` too."""
    site = request.app.state.site
    here = site.here()
    text = (
        templates()
        .get_template(template)
        .render(
            site=site,
            request=request,
            here=here,
            notice=site.said(request.query_params.get("said", "")),
            sections=_sections(request.url.path, hub=bool(here.organization)),
            now=site.now(),
            **values,
        )
    )
    return HTMLResponse(text, status)


def bare_page(template: str, **values: Any) -> str:
    """Fill in a template that shows nothing of the deployment: for a browser that may see none of it."""
    return templates().get_template(template).render(**values)


@cache
def templates() -> Environment:
    """The templates, each read once."""
    made = Environment(
        loader=FileSystemLoader(installed.TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "ago": _ago,
        "when": _when,
        "written": _written,
        "count": _count,
        "sentence": sentence,
        "linked": linked,
        "held_reason": held_reason,
        "without_steps": without_steps,
        "of_pages": of_pages,
        "mapping_url": mapping_filter,
        "mapping_key": mapping_key,
        "mapping_named": mapping_named,
        "query": query,
    }
    return made


def relative(at: datetime, now: datetime) -> str:
    """A time as people say it: `5 min ago`, `in 3 h`; the date where it is over 60 days away."""
    away = abs(now - at)
    for limit, unit, seconds in _UNITS:
        if away < limit:
            number = int(away.total_seconds()) // seconds
            return f"{number} {unit} ago" if at <= now else f"in {number} {unit}"
    return f"{at:%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class _Time:
    """A time in a page: what people say, and the exact one on hover, or beside it."""

    exact: datetime
    text: str
    beside: bool = False

    def __html__(self) -> str:
        """Itself as markup: nothing in it can need escaping."""
        written, exact = f"{self.exact:%Y-%m-%dT%H:%M:%SZ}", f"{self.exact:%Y-%m-%d %H:%M:%S} UTC"
        if self.beside:
            return f'<time datetime="{written}">{self.text}</time> <span class="muted nowrap">({exact})</span>'
        return f'<time datetime="{written}" title="{exact}">{self.text}</time>'


@pass_context
def _ago(context: Context, at: datetime | str) -> _Time:
    """A time with the exact one on hover.

    Raises:
        ValueError: it is no time, or says no time zone.
    """
    when = datetime.fromisoformat(at) if isinstance(at, str) else at
    if when.tzinfo is None:
        raise ValueError(f"{at} says no time zone")
    now = context.resolve("now")
    assert isinstance(now, datetime), "the template is imported without context"
    return _Time(when.astimezone(UTC), relative(when, now))


@pass_context
def _when(context: Context, at: datetime | str) -> _Time:
    """The same with the exact one beside it: there is no hover on a phone, on paper and by keyboard.

    Raises:
        ValueError: as `ago`.
    """
    return replace(_ago(context, at), beside=True)


@pass_context
def _written(context: Context, at: object) -> _Time | str:
    """The same of what a person wrote as a time; what is none stays as it is."""
    try:
        return _ago(context, str(at))
    except (ValueError, OverflowError):
        return str(at)


def _count(number: float) -> str:
    return f"{number:,}"


def _sections(path: str, *, hub: bool) -> list[tuple[str, str, str]]:
    """The navigation's names and addresses, and `aria-current` of each: page, true (a page within it), or none.

    Only a hub has targets to list.
    """
    found = []
    for name, address, within in SECTIONS:
        if name == "Targets" and not (hub or path == address):
            continue
        inside = path.startswith(tuple(f"{each}/" for each in (address.rstrip("/"), *within) if each)) or path in within
        found.append((name, address, "page" if path == address else "true" if inside else ""))
    return found
