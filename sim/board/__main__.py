"""An emulated motor controller in real time: `python -m sim.board --help`."""

import sys

from sim.board.realtime import main

sys.exit(main())
