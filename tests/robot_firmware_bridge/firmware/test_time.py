"""The board counts time by its microsecond clock and by its ticks, and trusts neither alone."""

import numpy as np
import pytest

from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol.layout import Action


def ticks_to_stop(bench, target, most=1100):
    """Command the board in every tick; return the ticks until it stops by itself."""
    for ticks in range(1, most + 1):
        bench.command(target=target)
        bench.tick()
        if bench.mode is not Mode.ACTIVE:
            return ticks
    return None


@pytest.mark.parametrize("us_per_tick", [0, 1, 500, 999])
def test_a_clock_that_stands_still_or_is_slow_does_not_make_a_command_hold(bench, us_per_tick):
    bench.activate()
    bench.us_per_tick = us_per_tick
    bench.command(valid_ms=80)
    bench.tick(80)
    assert bench.mode is Mode.ACTIVE
    bench.tick()
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.COMMAND_TIMEOUT)


def test_ticks_that_are_lost_do_not_make_a_command_hold(bench):
    bench.activate()
    bench.us_per_tick = 10_000
    bench.command(valid_ms=80)
    bench.tick(8)
    assert bench.mode is Mode.ACTIVE
    bench.tick()
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.COMMAND_TIMEOUT)


@pytest.mark.parametrize("jump_us", [-1_000_000, -2000, 80_000, 2**31])
def test_a_clock_that_jumps_ends_a_command(bench, jump_us):
    bench.t_us = 2_000_000
    bench.activate()
    bench.command(valid_ms=80)
    bench.tick()
    bench.t_us += jump_us
    bench.tick()
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.COMMAND_TIMEOUT)


def test_a_clock_that_swings_back_and_forth_does_not_make_a_command_hold(bench):
    bench.activate()
    bench.command(valid_ms=80)
    for tick in range(81):
        assert bench.mode is Mode.ACTIVE
        bench.us_per_tick = -1000 if tick % 2 == 0 else 1000
        bench.tick()
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.COMMAND_TIMEOUT)


@pytest.mark.parametrize("seed", range(20))
def test_no_clock_makes_a_command_hold_for_longer_than_its_ticks(bench, seed):
    steps_us = np.random.default_rng(seed).integers(-(2**31), 2**31, 202)
    bench.activate()
    bench.command(valid_ms=255)  # 200 at most
    for bench.us_per_tick in map(int, steps_us):
        bench.tick()
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.COMMAND_TIMEOUT)


def test_a_still_clock_stops_neither_the_soft_start_nor_the_end_of_damping(bench):
    bench.us_per_tick = 0
    bench.activate()
    # From 0 to all in a second: half of the duty after half of it.
    bench.drive_for(LIMITS.soft_start_ms // 2, target=2.9)
    assert bench.drive.duty == pytest.approx(np.full(8, 0.5), abs=2e-3)
    bench.ask(Action.DISARM)
    bench.tick(LIMITS.damping_ms)
    assert (bench.mode, bench.fault) == (Mode.DISARMED, Fault.NONE)


def test_a_clock_that_runs_ahead_does_not_hurry_the_soft_start(bench):
    bench.us_per_tick = 5000
    bench.activate()
    for _ in range(100):
        bench.command(target=2.9)
        bench.tick()
    assert bench.drive.duty == pytest.approx(np.full(8, 0.1), abs=2e-3)


@pytest.mark.parametrize(
    ("us_per_tick", "ticks"),
    [
        (0, 1000),  # the ticks still count
        (-7, 1000),
        (1000, 1000),
        (4000, 250),  # three of four ticks were lost
        (70_000, 25),  # it leaps: no tick is longer than what the hardware watchdog lets pass
    ],
)
def test_an_overload_is_borne_for_a_second_by_either_count(bench, us_per_tick, ticks):
    bench.activate()
    bench.drive_for(1000, target=2.0)
    bench.us_per_tick = us_per_tick
    # 0.36 * 16 V / 0.186 ohm = 31 A, more than 2.45 Nm. Only the next tick sees the first load.
    stopped = ticks_to_stop(bench, target=2.36)
    assert bench.fault is Fault.OVERHEAT
    assert stopped == pytest.approx(ticks + 1, abs=1)


@pytest.mark.parametrize(("us_per_tick", "ticks"), [(0, 80), (1000, 80), (4000, 20)])
def test_a_low_battery_is_noticed_after_its_time_by_either_count(bench, us_per_tick, ticks):
    """From 16 V to 10 V the filter of 100 ms passes 12.7 V after 80 ms."""
    bench.activate()
    bench.sensors.battery_v = 10.0
    bench.us_per_tick = us_per_tick
    stopped = ticks_to_stop(bench, target=2.0)
    assert bench.fault is Fault.UNDERVOLTAGE
    assert stopped == pytest.approx(ticks, abs=1)


@pytest.mark.parametrize(("us_per_tick", "ticks"), [(0, 100), (1000, 100), (5000, 20)])
def test_a_dead_imu_is_noticed_after_its_time_by_either_count(bench, us_per_tick, ticks):
    bench.activate()
    bench.imu_lives = False
    bench.us_per_tick = us_per_tick
    stopped = ticks_to_stop(bench, target=2.0)
    assert bench.fault is Fault.IMU
    assert stopped == pytest.approx(ticks, abs=1)


@pytest.mark.parametrize("us_per_tick", [0, 1000, 4000])
def test_heat_is_that_of_the_time_that_passed(bench, us_per_tick):
    """A duty of 0.3 at rest is 25.8 A and 123.9 W for 10 s.

    On a housing that stayed cold, the winding would be warmer by
    123.9 W * 0.5 K/W * (1 - exp(-10 s / 30 s)) = 17.6 K. The housing warms by less than a degree.
    """
    bench.activate()
    bench.drive_for(1000, target=2.0)
    bench.us_per_tick = us_per_tick
    for _ in range(10_000 // max(1, us_per_tick // 1000)):
        bench.command(target=2.3)
        bench.tick()
    assert bench.mode is Mode.ACTIVE
    assert bench.state.winding_temperature_c == pytest.approx(np.full(8, 25.0 + 18.0), abs=1.0)


def test_states_come_in_ticks_with_the_clock_as_it_is(bench):
    bench.hello(interval_ms=1)
    bench.us_per_tick = 0
    first = bench.state
    bench.tick(10)
    assert bench.state.sequence - first.sequence == 10
    assert bench.state.time_us == first.time_us
