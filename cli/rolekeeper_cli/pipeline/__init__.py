"""The pipeline's steps: `python -m rolekeeper_cli.pipeline`."""
