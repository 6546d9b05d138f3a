"""Which names a person may have meant by one that doesn't exist: those a typing slip or two away.

And the commands that people know from kubectl, gh, terraform and the AWS CLI, with those that do that here.
"""

from collections.abc import Iterable

# By group: what people type there, and the commands that do it, each as after `rolekeeper`; or of another program.
COMMANDS_MEANT: dict[str, dict[str, tuple[str, ...]]] = {
    "rolekeeper": {
        "list ls": ("fleet", "mapping ls"),
        "instances nodes ps": ("fleet",),
        "status health": ("fleet", "doctor", "mode"),
        "get show describe": ("explain", "mapping get"),
        "why": ("explain",),
        "audit log logs": ("history",),
        "events tail watch": ("history --watch",),
        "diff preview": ("plan",),
        "check diagnose": ("doctor",),
        "test prove": ("verify", "doctor"),
        "dashboard ui web open": ("console",),
        "role": ("roles",),
        "pin": ("attach", "replace", "detach"),
        "assign": ("attach",),
        "unpin": ("release",),
        "unassign": ("detach",),
        "stop freeze disable": ("pause",),
        "start unpause continue enable": ("resume",),
        "enforce": ("mode enforce",),
        "observe": ("mode observe",),
        "reconcile sync refresh": ("sweep",),
        "retry": ("redrive",),
        "mappings rules": ("mapping ls",),
        "set add create new edit": ("mapping set",),
        "delete remove rm": ("mapping rm", "destroy"),
        "undo revert rollback": ("mapping rollback", "mapping discard"),
        "approve": ("mapping approve",),
        "discard reject": ("mapping discard",),
        "import": ("plan", "apply"),
        "export backup": ("mapping export",),
        "validate lint": ("mapping validate",),
        "init install bootstrap": ("deploy --guided",),
        "upgrade update": ("deploy",),
        "uninstall teardown": ("destroy",),
        "config configure": ("mode", "deploy --help-all", "aws configure"),
        "login": ("aws sso login", "aws configure"),
        "version": ("--version",),
        "help": ("--help",),
        "accounts regions hub": ("targets",),
        "policy policies scp": ("guard",),
    },
    "rolekeeper mapping": {
        "list": ("mapping ls",),
        "status": ("mapping ls", "mapping get"),
        "show describe view": ("mapping get",),
        "add create new edit update put": ("mapping set",),
        "delete remove del": ("mapping rm",),
        "undo revert restore": ("mapping rollback", "mapping discard"),
        "log logs revisions": ("mapping history",),
        "reject deny cancel": ("mapping discard",),
        "import load apply": ("plan", "apply"),
        "dump save backup": ("mapping export",),
        "check lint": ("mapping validate",),
        "diff plan preview": ("plan",),
        "help": ("mapping --help",),
    },
    "rolekeeper targets": {
        "list ls show status": ("targets",),
        "rm remove delete": ("targets forget",),
        "add create register": ("spoke deploy",),
    },
    "rolekeeper spoke": {
        "list ls status": ("targets",),
        "add create upgrade update": ("spoke deploy",),
        "rm delete destroy": ("spoke remove",),
    },
    "rolekeeper roles": {"list ls": ("roles",), "get show describe": ("roles --role NAME",)},
    "rolekeeper guard": {"list ls show": ("guard",)},
    "rolekeeper launches": {"list ls": ("launches",), "get show describe view": ("launches explain NAME",)},
}
_MOST = 3
# The slips that a word of up to this many characters may hold, and the most.
_SLIPS = {2: 0, 4: 1, 9: 2}
_MOST_SLIPS = 3
# A text this long may be the beginning of a longer name.
_BEGINNING = 2


def commands_meant(group: str, name: str) -> list[str]:
    """The whole commands that a person may have meant by one that a group doesn't have."""
    for names, commands in COMMANDS_MEANT.get(group, {}).items():
        if name.casefold() in names.split():
            return [each if each.startswith("aws ") else f"rolekeeper {each}" for each in commands]
    return []


def near(text: str, names: Iterable[str]) -> list[str]:
    """The three names that are most like a text, the nearest first.

    difflib counts common characters, so it suggests `--profile` for `--role`. Here slips count: a character too many,
    one missing, one for another, two swapped. Case and leading dashes don't.
    """
    typed, names = _plain(text), set(names)
    if text in names:
        return []  # it is there, and something else is wrong
    allowed = next((slips for longest, slips in _SLIPS.items() if len(typed) <= longest), _MOST_SLIPS)
    found: set[tuple[float, str]] = set()
    for name in names:
        plain = _plain(name)
        if plain.startswith(typed) and len(typed) >= _BEGINNING:
            # A slip comes before the beginning of a long name.
            found.add((min(len(plain) - len(typed), allowed + 0.5), name))
        elif (
            # Counting is slow over a large fleet, so what can't be near is left out first.
            abs(len(typed) - len(plain)) <= allowed
            and len(set(typed) ^ set(plain)) <= 2 * allowed
            and (slips := _slips(typed, plain)) <= allowed
        ):
            found.add((slips, name))
    return [name for _, name in sorted(found)[:_MOST]]


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """The question, if there is a near name; empty otherwise."""
    found = near(text, names)
    return f"did you mean {' or '.join(found)}?" if found else ""


def _plain(text: str) -> str:
    return text.lstrip("-").casefold()


def _slips(one: str, other: str) -> int:
    """The slips from one word to another: their optimal string alignment distance."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, character in enumerate(one, start=1):
        now = [row]
        for column, wanted in enumerate(other, start=1):
            cost = min(last[column] + 1, now[-1] + 1, last[column - 1] + (character != wanted))
            if row > 1 and column > 1 and (character, one[row - 2]) == (other[column - 2], wanted):
                cost = min(cost, before[column - 2] + 1)
            now.append(cost)
        before, last = last, now
    return last[-1]
