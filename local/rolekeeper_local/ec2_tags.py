"""What EC2 takes as a tag, and how its XML carries what came in.

A resource has at most 50 tags, `aws:` ones not counted; a key has at most 128 characters and a value 256; any character
is allowed (EC2 user guide, "Tag restrictions"). XML 1.0 has no way to write most control characters, surrogates, U+FFFE
and U+FFFF, not even as a reference (section 2.2). What EC2 does with these is documented nowhere; here they are refused
with its code for "a specified character is invalid" (EC2 API reference, "Error codes").
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from rolekeeper_local.ec2_model import Ec2Error

MOST_TAGS, LONGEST = 50, {"key": 128, "value": 256}
_NOT_COUNTED = "aws:"
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# The tags of CreateTags, and those for a new resource, a launch template's too.
_GIVEN = re.compile(r"((?:.+\.)?TagSpecification\.\d+\.|)Tag\.\d+\.(Key|Value)")


def check(params: Mapping[str, str], tags_of: Callable[[str], Iterable[str]]) -> None:
    """Refuse a request whose tags EC2 wouldn't take; `tags_of` gives the keys of the tags that a resource has.

    Raises:
        Ec2Error: ``InvalidCharacter``; ``InvalidParameterValue`` for one that is too long (users met these words:
            iriusrisk/GoCD-EC2-Elastic-Agent-Plugin #24; the code is inferred); ``TagLimitExceeded`` (EC2 API
            reference, "Error codes"; the words are inferred).
    """
    if params.get("Action") == "DeleteTags":
        return
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for name, text in params.items():
        if given := _GIVEN.fullmatch(name):
            _check_text(text, given[2].lower())
            if given[2] == "Key":
                keys[given[1]].add(text)
    had = [set(tags_of(text)) for name, text in params.items() if name.startswith("ResourceId.")]
    together = [*keys.values(), *(one | keys[""] for one in had if keys[""])]
    if any(len([key for key in one if not key.startswith(_NOT_COUNTED)]) > MOST_TAGS for one in together):
        raise Ec2Error("TagLimitExceeded", f"A resource can have at most {MOST_TAGS} tags")


def _check_text(text: str, what: str) -> None:
    if found := _NOT_XML.search(text):
        raise Ec2Error("InvalidCharacter", f"The character U+{ord(found[0]):04X} in a tag {what} is invalid")
    if len(text) > LONGEST[what]:
        raise Ec2Error("InvalidParameterValue", f"Tag {what} exceeds the maximum length of {LONGEST[what]} characters")


def parsable(xml: str) -> str:
    """Content of an answer with U+FFFD for what XML can't carry.

    A carriage return, which parsers would read as a line feed (XML 1.0, section 2.11), is written as a reference.
    """
    return _NOT_XML.sub("\ufffd", xml).replace("\r", "&#13;")
