"""What is behind a missed target, written by hand: by the beginning of a row's name, the longest that fits."""

NOTES = {
    "calls for one": (
        "after a change the handler looks up to five times, each with two reads at EC2 and one of the state table"
    ),
    "tags to mapping": (
        "four fifths build the keys that may match, two for each tag, as values of our own, and sort them; "
        "hashing and comparing those runs in Python, that of a bare look-up doesn't"
    ),
    "cold start": "the layer has no compiled files, and the SDK reads whole models of services for a few operations",
    "memory after the first decision": "the SDK holds whole models of services, of which EC2's is the largest",
    "sweep, processor time for 1,000 instances, 0 rows": (
        "two thirds are the SDK's parsing of pages: every instance with all that EC2 says of it, then its association"
    ),
    "sweep, processor time for 1,000 instances, 300 rows": (
        "judging the rows again takes about four tenths (seven calls for each), parsing and the state table the rest"
    ),
    "attach of": (
        "five workers ask as fast as they can: buckets run dry, and a message that was throttled to the last attempt "
        "waits until the queue shows it again"
    ),
    "replace of": (
        "as for attaching; and each change counts itself in one item of the state table, where transactions meet"
    ),
    "rolekeeper": "Python's own start and importing click are most of it",
}


def note(name: str) -> str:
    """What is known of a row that misses its target; empty where nobody wrote it down yet."""
    fitting = [each for each in NOTES if name.startswith(each)]
    return NOTES[max(fitting, key=len)] if fitting else ""
