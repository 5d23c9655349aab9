"""However a nudge of a wrongly wired leg ends, the leg swings by a small angle and rests."""

import signal

import numpy as np
import pytest

from deploy.bringup.nudge import nudge
from deploy.bringup.rig import Driver
from deploy.errors import SafetyStop
from robot_firmware_bridge.errors import BridgeError
from sim.board.console import parse_order

MOTOR, AT_RAD = 3, np.radians(3.0)
WIRINGS = ("flip-drive 3", "flip-encoder 3", "swap-drives 2 3")
# Legs that soft blocks hold where they are bent; and almost straight ones, which hang by themselves
# in bearings with hardly any friction, on a board that may command them.
LEGS = {"blocks": {}, "free": {"bent_rad": 2.95, "blocks_nm": 0.03}}


class Trial:
    """A nudge in which something happens once a leg has moved by 3 degrees."""

    def __init__(self, stand, event):
        self.stand, self.event = stand, event
        self.start_rad = self.angles()
        self.most_rad = 0.0
        self.happened = False
        self._write, stand.robot.write = stand.robot.write, self.write
        self._tick, stand.bench.clock.on_tick = stand.bench.clock.on_tick, self.tick

    def angles(self):
        return self.stand.bench.odometry.motor_truth()[0].copy()

    def moved_rad(self):
        return float(np.abs(self.angles() - self.start_rad).max())

    def tick(self):
        self._tick()
        self.most_rad = max(self.most_rad, self.moved_rad())

    def write(self, command):
        if not self.happened and self.moved_rad() >= AT_RAD:
            self.happened = True
            self.event(self.stand)
        return self._write(command)

    def run(self):
        """Nudge; return what that raised, or None."""
        try:
            nudge(Driver(self.stand.rig), MOTOR)
        except (KeyboardInterrupt, SystemExit, SafetyStop, BridgeError) as end:
            return end
        return None


def interrupt(stand):
    raise KeyboardInterrupt


def signalled(stand):
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)


def stall(stand):
    stand.bench.clock.sleep_until_ns(stand.bench.clock.now_ns() + 400_000_000)


def die(stand):
    """The host is gone: nothing more is sent, and the watchdog of the stock board sees it."""
    stand.robot.deactivate = lambda: None
    raise SystemExit


def fault(stand):
    parse_order("heat 3 95").act(stand.bench.board)


def nothing(stand):
    """The nudge ends by itself."""


ENDS = (interrupt, signalled, stall, die, fault, nothing)
RAISES = (KeyboardInterrupt, KeyboardInterrupt, BridgeError | SafetyStop, SystemExit, SafetyStop)


def check(trial, most_deg):
    raised = trial.run()
    assert trial.happened
    assert isinstance(raised, dict(zip(ENDS, RAISES, strict=False)).get(trial.event, type(None)))
    assert trial.stand.motors_are_safe()  # which takes a second
    assert np.degrees(trial.most_rad) < most_deg


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("number", range(3))
def test_a_board_of_this_stack_brakes_a_leg_of_any_wiring(on_a_stand, number, end):
    """Of legs with blocks and free ones, each wiring and each end sees both."""
    legs = list(LEGS.values())[(number + ENDS.index(end)) % 2]
    check(Trial(on_a_stand("core", WIRINGS[number], **legs), end), most_deg=10.0)


@pytest.mark.parametrize("end", [stall, die])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_the_stock_board_is_killed_before_a_leg_is_far(on_a_stand, wiring, end):
    check(Trial(on_a_stand("stock", wiring), end), most_deg=20.0)
