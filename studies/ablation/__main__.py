"""The ablation study: `python -m studies.ablation --help`."""

import sys

from studies.ablation.ablation import main

if __name__ == "__main__":
    sys.exit(main())
