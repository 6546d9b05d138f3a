"""Where the files are that go with a verification: beside its modules."""

from pathlib import Path

FOLDER = Path(__file__).parent
