"""Fleets that no single run has time for, with the real code in virtual time: all is reached, memory stays flat."""

from support.large_fleet import fanned_out, peak_mb, swept

# What a process may grow by for many times as many instances, in MB.
GROWTH = 12


def test_a_hundred_thousand_instances_are_swept_to_the_last_one_in_several_runs_and_flat_memory() -> None:
    swept(1_000)
    before = peak_mb()
    ran = swept(100_000, tagged=10)
    assert (ran.instances, ran.sent) == (100_000, 10_000)
    assert ran.last == f"i-{99_990:017x}"
    assert ran.runs == 2, "300 pages a run"
    assert ran.virtual_seconds < 15 * 60, "within the interval"
    assert ran.pages <= 511 + 51, "each once; then those of the mapping, as no run saw the whole fleet"
    assert ran.peak_mb - before < GROWTH


def test_a_mapping_of_a_hundred_thousand_instances_is_fanned_out_once_in_flat_memory() -> None:
    fanned_out(1_000)
    before = peak_mb()
    ran = fanned_out(100_000)
    assert (ran.instances, ran.sent, ran.pages) == (100_000, 100_000, 500)
    assert ran.runs == 2
    assert ran.peak_mb - before < GROWTH
