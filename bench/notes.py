"""What is behind a missed target, written by hand: by the beginning of a row's name, the longest that fits."""

NOTES = {
    "tags to mapping": (
        "four fifths build the keys that may match, two for each tag, as values of our own, and sort them; "
        "hashing and comparing those runs in Python, that of a bare look-up doesn't"
    ),
    "sweep, processor time for 1,000 instances, 0 rows": (
        "the SDK parses four members of an instance, but a sweep reads its association and its record too, and decides"
    ),
    "sweep, processor time for 1,000 instances, 300 rows": (
        "judging the rows again takes about four tenths (seven calls for each), parsing and the state table the rest"
    ),
    "replace of 1,000 in five windows": (
        "an instance that has to wait is written once more, to show until when, and some transactions meet others"
    ),
    "rolekeeper": "Python's own start and importing click are most of it",
}


def note(name: str) -> str:
    """What is known of a row that misses its target; empty where nobody wrote it down yet."""
    fitting = [each for each in NOTES if name.startswith(each)]
    return NOTES[max(fitting, key=len)] if fitting else ""
