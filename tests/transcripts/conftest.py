"""The option by which transcripts are written."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write into tests/transcripts what is printed now")
