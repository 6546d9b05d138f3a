"""A pytest plugin, `-p simulation.mutant_plugin`: runs the tests against a deliberate fault.

ROLEKEEPER_MUTANT names a mutant, or ROLEKEEPER_OPERATOR the place of a small fault (`simulation.operators`).
"""

import os

from simulation.mutants import become, named
from simulation.operators import operator_mutant

if place := os.environ.get("ROLEKEEPER_OPERATOR"):
    become(operator_mutant(place))
else:
    become(named(os.environ["ROLEKEEPER_MUTANT"]))
