"""A pytest plugin, `-p simulation.mutant_plugin`: runs the tests against the mutant that ROLEKEEPER_MUTANT names."""

import os

from simulation.mutants import become

become(os.environ["ROLEKEEPER_MUTANT"])
