"""Benchmarks: `make bench`, `make shape`."""
