"""An emulated motor controller in real time: `minitaur board --help`."""

import sys

from sim.board.realtime import main

sys.exit(main())
