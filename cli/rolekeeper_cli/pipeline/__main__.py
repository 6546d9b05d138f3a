"""`python -m rolekeeper_cli.pipeline STEP`: a step of the pipeline."""

import os
import sys

from rolekeeper_cli.pipeline.steps import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
