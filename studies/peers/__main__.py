"""PyBullet's policies as policy files: `python -m studies.peers --help`."""

import sys

from studies.peers.peers import main

if __name__ == "__main__":
    sys.exit(main())
