"""The live line: seen on a terminal, silent elsewhere, and never in the loop's way."""

import os
import sys

import numpy as np
import pytest
from support.states import standing

from deploy.loop.loop import Tick
from deploy.loop.modes import LoopMode
from deploy.status_line import StatusLine, describe

STATE = standing(rpy_rad=np.array((0.1, -0.2, 0.0)), battery_v=15.84)


def tick(number, base=None, command=None, reaction=""):
    return Tick(LoopMode.STAND_UP, 1.25, number, STATE, base, command, 0, reaction)


def test_the_line_describes_a_tick():
    assert describe(tick(1)) == "stand up   1.2 s  roll +0.10 pitch -0.20 rad  battery 15.8 V"
    assert "x  +1.50 m" in describe(tick(1, np.array((1.5, 0.0, 0.2))))
    assert "command +0.30 m/s -0.20 rad/s" in describe(tick(1, command=np.array((0.3, -0.2))))
    assert describe(tick(1, reaction="battery slow")).endswith("battery 15.8 V  (battery slow)")


def test_it_is_silent_where_there_is_no_terminal(capfd):
    with open(os.devnull, "w") as stream:
        status = StatusLine(stream, 0.006)
        for number in range(100):
            status(tick(number))
        status.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo terminals as Linux has them")
def test_a_terminal_that_nobody_reads_loses_lines_but_never_blocks():
    leader, follower = os.openpty()
    try:
        with os.fdopen(follower, "w") as stream:
            status = StatusLine(stream, 0.2, dry=True)  # a line on every tick
            for number in range(20_000):  # a megabyte: far beyond any buffer
                status(tick(number))
            status.close()
            status.close()
            assert b"\x1b[Kdry  stand up" in os.read(leader, 1000)
    finally:
        os.close(leader)
