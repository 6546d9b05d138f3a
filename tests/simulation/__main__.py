"""Plays schedules: `python -m simulation --seeds 10000 --start 0`, or one with its story: `--story 17`."""

import sys

from simulation.run import main

sys.exit(main())
