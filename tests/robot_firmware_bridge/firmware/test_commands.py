"""Commands: their life on the board, their sequence, their first and their last."""

import numpy as np
import pytest

from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol.layout import Action, Result


@pytest.mark.parametrize(
    ("valid_ms", "life_ms"), [(1, 1), (2, 2), (80, 80), (199, 199), (200, 200), (65535, 200)]
)
def test_the_watchdog_bites_at_the_exact_tick(bench, valid_ms, life_ms):
    bench.activate()
    bench.command(kd=0.015, valid_ms=valid_ms)
    bench.tick()  # it arrives now
    bench.tick(life_ms - 1)
    assert (bench.mode, bench.fault) == (Mode.ACTIVE, Fault.NONE)
    bench.sensors.motor_velocity_rad_s[:] = 2.0
    drive = bench.tick()
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.COMMAND_TIMEOUT)
    assert drive.duty == pytest.approx(np.full(8, -0.03), rel=1e-6)


def test_the_watchdog_bites_across_the_wrap_of_the_clock(bench):
    bench.t_us = 2**32 - 40_000
    bench.activate()
    bench.command(valid_ms=80)
    bench.tick(80)
    assert bench.state.time_us < 50_000
    assert bench.mode is Mode.ACTIVE
    bench.tick()
    assert bench.mode is Mode.DAMPING


def test_a_command_without_life_damps(bench):
    bench.hello()
    bench.ask(Action.ARM)
    bench.drive_for(1, valid_ms=0)
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.COMMAND_TIMEOUT)


def test_new_commands_keep_the_robot_alive(bench):
    bench.activate()
    for _ in range(30):
        bench.command(valid_ms=80)
        bench.tick(79)
    assert bench.mode is Mode.ACTIVE


@pytest.mark.parametrize("behind", [0, 1, 2, 1000, 0x7FFF, 0x8000])
def test_an_old_command_is_ignored_and_extends_no_life(bench, behind):
    bench.activate()
    bench.sequence = 30_000
    bench.drive_for(950, target=2.0)
    bench.sequence += 1
    newest = bench.sequence
    bench.drive_for(1, target=2.1, sequence=newest, valid_ms=80)
    for _ in range(79):
        bench.drive_for(1, target=2.3, sequence=newest - behind)
    assert bench.drive.duty == pytest.approx(np.full(8, 0.1), rel=1e-4)
    assert bench.state.command_echo == newest
    bench.drive_for(1, target=2.3, sequence=newest - behind)
    assert bench.fault is Fault.COMMAND_TIMEOUT


def test_the_sequence_wraps(bench):
    bench.activate()
    for number in (30_000, 60_000, 65_534):
        bench.drive_for(1, sequence=number)
    for number in (65535, 0, 1, 2):
        bench.drive_for(1, sequence=number)
        assert bench.state.command_echo == number


def test_gaps_are_counted(bench):
    bench.activate()
    lost = bench.state.commands_lost
    first = bench.sequence
    for number, gaps in ((1, 0), (2, 0), (5, 2), (4, 2), (5, 2), (6, 2), (106, 101)):
        bench.drive_for(1, sequence=first + number)
        assert bench.state.commands_lost - lost == gaps


def test_the_count_of_gaps_wraps(bench):
    bench.activate()
    for _ in range(3):
        bench.sequence += 32_000
        bench.drive_for(1)
    assert bench.state.commands_lost == 3 * 32_000 - 65_536


def test_commands_are_followed_while_they_are_ignored(bench):
    """A command that waited since before arming must not be the first one."""
    bench.hello()
    bench.drive_for(1, target=2.5, sequence=100)
    assert (bench.mode, bench.state.command_echo) == (Mode.DISARMED, 0)
    bench.ask(Action.ARM)
    bench.drive_for(1, target=2.5, sequence=100)
    assert bench.mode is Mode.READY
    bench.drive_for(1, sequence=101)
    assert (bench.mode, bench.state.command_echo) == (Mode.ACTIVE, 101)
    assert bench.state.commands_lost == 0


@pytest.mark.parametrize("number", [0, 5, 0x7FFF, 0x8000, 0xFFFF])
def test_any_sequence_may_be_the_first_after_a_hello(bench, number):
    bench.activate()
    bench.hello()
    bench.tick(500)
    bench.ask(Action.ARM)
    lost = bench.state.commands_lost
    bench.drive_for(1, sequence=number)
    assert (bench.mode, bench.state.command_echo) == (Mode.ACTIVE, number)
    assert bench.state.commands_lost == lost


def test_of_several_commands_in_a_tick_the_newest_holds(bench):
    bench.activate()
    bench.drive_for(1000, target=2.0)
    for target in (2.5, 1.5, 2.05):
        bench.command(target=target)
    assert bench.tick().duty == pytest.approx(np.full(8, 0.05), rel=1e-4)


def test_a_command_without_introduction_is_nothing(bench):
    for number in (9, 50):
        bench.drive_for(1, sequence=number)
    assert bench.ask(Action.ARM) is Result.NOT_INTRODUCED
    bench.hello()
    bench.ask(Action.ARM)
    bench.command(sequence=9)  # new to this session
    bench.tick()
    assert (bench.mode, bench.state.commands_lost) == (Mode.ACTIVE, 0)
