"""The transfer study: `python -m studies.transfer --help`."""

import sys

from studies.transfer.transfer import main

if __name__ == "__main__":
    sys.exit(main())
