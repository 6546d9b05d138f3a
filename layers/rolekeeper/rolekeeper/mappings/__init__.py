"""A mapping's way: its row, the verdict on it, and what is published."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:
    from rolekeeper.mappings import (
        account_records,
        account_runs,
        accounts,
        assess,
        fan_out,
        findings,
        impact,
        job_batches,
        publish,
        revisions,
        rows,
        table,
        verdict,
        waves,
    )
else:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__)
