from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.verification import VerifiedAccount, verified_account


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VerifiedAccount]:
    """One in which verifications leave things."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with verified_account() as made:
        yield made
