"""What is behind a missed target, written by hand: by the beginning of a row's name, the longest that fits."""

NOTES = {
    "tags to mapping": (
        "half makes the keys that may match, two for each tag, as values of our own, "
        "and a quarter ranks what is found and says why the others lose; a bare look-up does neither"
    ),
    "replace of 1,000 in five windows": (
        "two writes make the change, one shows, with an entry in the history, until when the instance waits, and about "
        "one takes its moment of the pace; a tenth counts who waits, and a fifth are transactions that met another"
    ),
    "50 edits in 6,800 targets, all instances sent": (
        "asking each account about all rows takes 228 s; they are then published one after another, in 42 s, and their "
        "instances sent after that"
    ),
    "rolekeeper": "Python's own start and importing click are most of it",
}


def note(name: str) -> str:
    """What is known of a row that misses its target; empty where nobody wrote it down yet."""
    fitting = [each for each in NOTES if name.startswith(each)]
    return NOTES[max(fitting, key=len)] if fitting else ""
