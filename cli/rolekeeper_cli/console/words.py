"""Texts of the command as the console's pages say them: as sentences, with links to the pages that do what they say."""

import re
from urllib.parse import quote

from markupsafe import Markup, escape

from rolekeeper.mappings.scan import COUNTED, EXPLAINED
from rolekeeper.mappings.verdict import approval_steps
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import Advice, Kind, Remedy
from rolekeeper_cli.console.links import mapping_url

# A word that begins a sentence; a name, an id or an action of AWS isn't changed.
_WORD = re.compile(r"(see:|[a-z]+('[a-z]+)?[,;.?!]?)(\s|$)")
_PAGES = {
    Kind.FLEET: ("/", "Fleet"),
    Kind.ROLES: ("/roles", "Roles"),
    Kind.TARGETS: ("/targets", "Targets"),
    Kind.MAPPINGS: ("/mappings", "Mappings"),
    Kind.SETTINGS: ("/settings", "Settings"),
    Kind.MODE: ("/settings", "Settings"),
    Kind.RESUME: ("/settings", "resume it in Settings"),
    Kind.ENFORCE: ("/settings", "set the mode to enforce in Settings"),
}


def sentence[Text: (str, Advice)](text: Text) -> Text:
    """A text with a capital and a full stop: messages of commands have neither."""
    if isinstance(text, Advice):
        first, *others = text.parts
        begun = _begun(first) if isinstance(first, str) else first
        return Advice((begun, *others, _end(str(text))))
    return f"{_begun(text)}{_end(text)}"


def _begun(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}" if _WORD.match(text) else text


def _end(text: str) -> str:
    return "" if text.endswith((".", "!", "?")) else "."


def linked(text: str | Remedy | Advice) -> Markup:
    """A text as markup: a link to the page that does a step of it, and a command to copy where none does."""
    parts = text.parts if isinstance(text, Advice) else (text,)
    return Markup().join(
        _step(part, begins=not at) if isinstance(part, Remedy) else escape(part) for at, part in enumerate(parts)
    )


def _step(remedy: Remedy, *, begins: bool) -> Markup:
    address, label = page_of(remedy)
    if not address:
        return Markup("<code>{}</code>").format(str(remedy))
    if begins:
        label = f"{label[0].upper()}{label[1:]}"
    return Markup('<a href="{}">{}</a>').format(address, label)


def held_reason(text: str, key: MappingKey, revision: int | None) -> Markup:
    """Why a revision is held, as it is stored, with a link in the place of each command that it was written with."""
    drawn = escape(text)
    for step in _steps(key, revision):
        drawn = drawn.replace(escape(str(step)), linked(step))
    return drawn


def without_steps(text: str, key: MappingKey, revision: int | None) -> str:
    """The same without them: the buttons of the page take these steps."""
    for step in _steps(key, revision):
        text = text.replace(f"; {step}", "")
    return text


def _steps(key: MappingKey, revision: int | None) -> tuple[Advice, ...]:
    """The steps of an edit and of a deletion; none if no revision is named."""
    if not revision:
        return ()
    return *approval_steps(key, revision, deletes=False), *approval_steps(key, revision, deletes=True)


def of_pages(text: str) -> str:
    """What is stored of a row's foreign roles, with the page in place of what the row and the command say."""
    return text.replace(EXPLAINED, " (the page of each says what to do)").replace(COUNTED, "")


def page_of(remedy: Remedy) -> tuple[str, str]:
    """The address of the page that takes a step, and what a link to it says; empty where no page does."""
    match remedy.kind, remedy.arguments:
        case Kind.APPROVE | Kind.DISCARD, (tag_key, tag_value, *_):
            key = MappingKey(tag_key, tag_value)
            return mapping_url(key, "/mapping/held"), f"the plan of {key}"
        case Kind.MAPPING | Kind.MAPPING_HISTORY | Kind.REMOVE_MAPPING | Kind.ROLL_BACK, (tag_key, tag_value, *_):
            key = MappingKey(tag_key, tag_value)
            return mapping_url(key), f"the page of {key}"
        case Kind.EXPLAIN | Kind.ATTACH | Kind.REPLACE | Kind.DETACH | Kind.RELEASE, (instance, *_) if (
            "/" not in instance
        ):
            return f"/instance/{quote(instance)}", f"the page of {instance}"
    return _PAGES.get(remedy.kind, ("", ""))
