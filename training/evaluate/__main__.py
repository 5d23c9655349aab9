"""The evaluation protocol: `python -m training.evaluate --help`."""

import sys

from training.evaluate.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
