"""Texts of the command as the console's pages say them: as sentences, with a link where a page does what is typed."""

import re
import shlex
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

# A word that begins a sentence; a name, an id or an action of AWS isn't changed.
_WORD = re.compile(r"(see:|[a-z]+('[a-z]+)?[,;.?!]?)(\s|$)")
# A command with all that it takes to know its page, as far as it is one: texts go on behind it.
_COMMAND = re.compile(
    r"rolekeeper (?:"
    r"mode, pause or resume|pause|resume|mode(?: (?:observe|enforce))?"
    r"|(?:explain|history|attach|replace|detach|release) i-[0-9a-f]+"
    r"|mapping (?:get|history|approve|discard|rm|rollback) (?:'[^'=]+=[^']+'|[^\s;,'\"\\]+=[^\s;,'\"\\]+)"
    r"(?: (?:--revision|--to) \d+)?"
    r"|mapping ls|fleet|roles|doctor|targets(?! forget))(?![\w\"'-])"
)
# What else a text leaves to the command; pages of mappings say how many.
_ASIDES = {
    " (occupied says how many; explain says what to do)": " (the page of each says what to do)",
    " (occupied says how many)": "",
}
_APPROVALS = re.compile(r"; to (?:approve|delete|keep) it: rolekeeper mapping [^;]+")
_SETTINGS = {
    "mode observe": "set the mode to observe in Settings",
    "mode enforce": "set the mode to enforce in Settings",
    "pause": "pause it in Settings",
    "resume": "resume it in Settings",
}
_SECTIONS = {
    "fleet": ("/", "Fleet"),
    "roles": ("/roles", "Roles"),
    "doctor": ("/doctor", "Doctor"),
    "targets": ("/targets", "Targets"),
}


def sentence(text: str) -> str:
    """A text with a capital and a full stop: messages of commands have neither."""
    begins = f"{text[0].upper()}{text[1:]}" if _WORD.match(text) else text
    return f"{begins}{'' if text.endswith(('.', '!', '?')) else '.'}"


def linked(text: str) -> Markup:
    """A text as markup, with the page that does it where it says what to type."""
    for aside, here in _ASIDES.items():
        text = text.replace(aside, here)
    pieces = list[Markup]()
    at = 0
    for found in _COMMAND.finditer(text):
        address, label = page_of(found[0])
        if not found.start():
            label = f"{label[0].upper()}{label[1:]}"
        pieces += [escape(text[at : found.start()]), Markup('<a href="{}">{}</a>').format(address, label)]
        at = found.end()
    return Markup("").join([*pieces, escape(text[at:])])


def without_commands(text: str) -> str:
    """What a held edit's reason says beside the commands that the buttons of its pages do."""
    return _APPROVALS.sub("", text)


def has_page(command: str) -> bool:
    """Whether a page does what a command does."""
    return bool(_COMMAND.fullmatch(command))


def page_of(command: str) -> tuple[str, str]:
    """The address of the page that does what a command does, one that `has_page`, and what a link to it says."""
    match shlex.split(command)[1:]:
        case ["mapping", "ls"]:
            return "/mappings", "Mappings"
        case ["mapping", verb, name, *_]:
            key, _, value = name.partition("=")
            query = urlencode({"key": key, "value": value})
            if verb in {"approve", "discard"}:
                return f"/mapping/held?{query}", f"the plan of {name}"
            return f"/mapping?{query}", f"the page of {name}"
        case [section] if section in _SECTIONS:
            return _SECTIONS[section]
        case [verb, instance] if instance.startswith("i-"):
            return f"/instance/{quote(instance)}", f"the page of {instance}"
        case words:
            return "/settings", _SETTINGS.get(" ".join(words), "Settings")
