"""What is behind a missed target, written by hand: by the beginning of a row's name, the longest that fits."""

NOTES: dict[str, str] = {}


def note(name: str) -> str:
    """What is known of a row that misses its target; empty where nobody wrote it down yet."""
    fitting = [each for each in NOTES if name.startswith(each)]
    return NOTES[max(fitting, key=len)] if fitting else ""
