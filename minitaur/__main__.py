"""`python -m minitaur` is the command `minitaur`."""

import sys

from minitaur.cli import main

if __name__ == "__main__":
    sys.exit(main())
