"""The fields of rows and their edits, as they are read from what is stored."""

from rolekeeper_cli.row.view import ImpactView

NOW = {"attach": 1, "replace": 0, "detach": 2, "gained": ["s3:GetObject"], "lost": []}
THEN = {"at": "2030-01-01T00:00:00+00:00", "attach": 0, "replace": 3, "detach": 0}


def test_an_impact_that_a_former_version_counted_is_read_as_one_of_today() -> None:
    """It had one later moment, and no permissions at first."""
    assert ImpactView.of({"attach": 1, "detach": 2}) == ImpactView.of(NOW | {"gained": (), "lost": ()})
    later = NOW | {"only_later": 3, "seen_by_nobody": 1}
    assert ImpactView.of(later | {"later": THEN}) == ImpactView.of(later | {"later": [THEN | {"expires": ""}]})


def test_what_an_impact_lacks_isnt_printed() -> None:
    assert ImpactView.of(NOW).as_mapping() == NOW
