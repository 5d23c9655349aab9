"""The mode machine, transition by transition."""

import numpy as np
import pytest

from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol.layout import Action, Result

LATCHED = [Fault.COMMAND_TIMEOUT, Fault.EMERGENCY_STOP]


def test_starts_disarmed_with_open_bridges(bench):
    assert not bench.tick().enabled
    bench.hello()
    assert (bench.mode, bench.fault) == (Mode.DISARMED, Fault.NONE)
    assert not bench.drive_for(1).enabled
    assert bench.mode is Mode.DISARMED


def test_arm_opens_nothing_and_the_first_command_activates(bench):
    bench.lead_to(Mode.READY)
    assert not bench.drive.enabled
    assert bench.drive_for(1).enabled
    assert bench.mode is Mode.ACTIVE


@pytest.mark.parametrize(
    ("before", "action", "result", "after"),
    [
        (Mode.READY, Action.ARM, Result.DONE, Mode.READY),
        (Mode.ACTIVE, Action.ARM, Result.WRONG_MODE, Mode.ACTIVE),
        (Mode.DAMPING, Action.ARM, Result.WRONG_MODE, Mode.DAMPING),
        (Mode.DISARMED, Action.DISARM, Result.DONE, Mode.DISARMED),
        (Mode.READY, Action.DISARM, Result.DONE, Mode.DISARMED),
        (Mode.DISARMED, Action.CLEAR_FAULT, Result.DONE, Mode.DISARMED),
        (Mode.READY, Action.CLEAR_FAULT, Result.WRONG_MODE, Mode.READY),
        (Mode.ACTIVE, Action.CLEAR_FAULT, Result.WRONG_MODE, Mode.ACTIVE),
        (Mode.DAMPING, Action.CLEAR_FAULT, Result.DONE, Mode.DAMPING),
        (Mode.ACTIVE, 77, Result.UNKNOWN_ACTION, Mode.ACTIVE),
    ],
)
def test_a_request_is_answered_and_leads_to_the_right_mode(bench, before, action, result, after):
    bench.lead_to(before)
    assert bench.ask(action) is result
    assert bench.mode is after
    assert bench.drive.enabled == (after in (Mode.ACTIVE, Mode.DAMPING))


@pytest.mark.parametrize("fault", [*LATCHED, Fault.ENCODER])
def test_arm_after_a_fault_is_refused_until_it_is_cleared(stopped_by, fault):
    bench = stopped_by(fault)
    mode = Mode.FAULT if fault is Fault.ENCODER else Mode.DAMPING
    for _ in range(3):
        assert bench.ask(Action.ARM) is Result.FAULTY
        bench.command()
        bench.tick(600)
        assert (bench.mode, bench.fault) == (mode, fault)
    assert bench.ask(Action.CLEAR_FAULT) is Result.DONE
    assert (bench.mode, bench.fault) == (Mode.DISARMED, Fault.NONE)
    assert not bench.drive.enabled
    assert bench.ask(Action.ARM) is Result.DONE


def test_ready_times_out_after_exactly_two_seconds(bench):
    bench.lead_to(Mode.READY)  # the tick that answered the request was its first
    bench.tick(1998)
    assert bench.mode is Mode.READY
    bench.tick()
    assert (bench.mode, bench.fault) == (Mode.DISARMED, Fault.NONE)


def test_disarm_in_motion_damps_for_half_a_second(bench):
    bench.activate()
    bench.command(target=2.0, kd=0.001)
    bench.sensors.motor_velocity_rad_s[:] = 5.0
    assert bench.ask(Action.DISARM) is Result.DONE
    assert bench.drive.duty == pytest.approx(np.full(8, -0.075), rel=1e-6)
    for _ in range(498):
        assert bench.drive_for(1).enabled  # too late for this command
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.NONE)
    assert not bench.tick().enabled
    assert bench.mode is Mode.DISARMED


def spin(bench, speed=5.0):
    """Turn all motors, and let the board see it."""
    bench.sensors.motor_velocity_rad_s[:] = speed
    return bench.tick()


def stopped(bench, how):
    """Lead an active board to DAMPING; return what the bridges do there, motors turning."""
    if how == "disarm":
        bench.ask(Action.DISARM)
    elif how == "silence":
        bench.tick(80)
    elif how == "hello":
        bench.hello()
    else:
        bench.sensors.rpy_rad[1] = np.nan
        bench.tick()
        bench.sensors.rpy_rad[1] = 0.0
    drive = spin(bench)
    assert bench.mode is Mode.DAMPING
    return drive


@pytest.mark.parametrize("how", ["disarm", "silence", "hello", "fault"])
def test_encoders_that_no_command_damped_by_do_not_damp(bench, how):
    """Their sign may be wrong: then -kd x speed would drive a motor ever faster."""
    bench.activate()
    bench.command(kd=0.015)
    bench.tick()
    bench.command(kd=0.0)  # the last one counts
    spin(bench)
    drive = stopped(bench, how)
    assert drive.enabled  # closed: the windings brake
    assert not drive.duty.any()


@pytest.mark.parametrize("how", ["disarm", "silence", "hello", "fault"])
def test_encoders_that_a_command_damped_by_damp(bench, how):
    bench.activate()
    bench.command(kp=0.0, kd=0.001)
    spin(bench)
    drive = stopped(bench, how)
    assert drive.duty == pytest.approx(np.full(8, -0.075), rel=1e-6)


@pytest.mark.parametrize("how", ["fault", Action.EMERGENCY_STOP])
@pytest.mark.parametrize("mode", [Mode.DISARMED, Mode.READY])
def test_a_new_arming_knows_no_damping_of_the_one_before(bench, mode, how):
    bench.activate()
    bench.command(kd=0.015)
    bench.tick()
    bench.ask(Action.DISARM)
    bench.tick(500)
    if mode is Mode.READY:
        bench.ask(Action.ARM)
    spin(bench)
    assert bench.mode is mode
    if how == "fault":
        bench.sensors.rpy_rad[1] = np.nan
        bench.tick()
    else:
        bench.ask(how)
    if (mode, how) != (Mode.DISARMED, "fault"):  # which does nothing there
        assert bench.mode is Mode.DAMPING
        assert bench.drive.enabled
    assert not bench.drive.duty.any()


@pytest.mark.parametrize("fault", [*LATCHED, Fault.ENCODER])
def test_disarm_changes_nothing_after_a_fault(stopped_by, fault):
    bench = stopped_by(fault)
    before = bench.mode
    assert bench.ask(Action.DISARM) is Result.DONE
    bench.tick(1000)
    assert (bench.mode, bench.fault) == (before, fault)


@pytest.mark.parametrize("mode", [None, Mode.READY, Mode.ACTIVE, Mode.DAMPING])
def test_emergency_stop_from_every_mode_damps_and_latches(bench, mode):
    if mode is not None:  # it needs no introduction
        bench.lead_to(mode)
    assert bench.ask(Action.EMERGENCY_STOP) is Result.DONE
    assert bench.drive.enabled
    assert (bench.reply.mode, bench.reply.fault) == (Mode.DAMPING, Fault.EMERGENCY_STOP)
    bench.hello()
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.EMERGENCY_STOP)
    for _ in range(5):
        bench.command()
        bench.ask(Action.ARM)
        bench.ask(Action.DISARM)
        bench.hello()
        bench.tick(700)
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.EMERGENCY_STOP)
    assert bench.drive.enabled


def test_emergency_stop_adds_to_other_faults(stopped_by):
    bench = stopped_by(Fault.COMMAND_TIMEOUT)
    bench.ask(Action.EMERGENCY_STOP)
    assert bench.fault == Fault.COMMAND_TIMEOUT | Fault.EMERGENCY_STOP
    assert bench.ask(Action.CLEAR_FAULT) is Result.DONE
    assert bench.fault is Fault.NONE


def test_emergency_stop_without_encoders_keeps_the_bridges_open(stopped_by):
    bench = stopped_by(Fault.ENCODER)
    assert bench.ask(Action.EMERGENCY_STOP) is Result.DONE
    assert not bench.drive.enabled
    assert (bench.mode, bench.fault) == (Mode.FAULT, Fault.ENCODER | Fault.EMERGENCY_STOP)


@pytest.mark.parametrize("mode", [Mode.READY, Mode.ACTIVE, Mode.DAMPING])
def test_a_broken_encoder_leads_to_fault_from_wherever_motors_may_turn(bench, mode):
    bench.lead_to(mode)
    bench.sensors.motor_position_rad[4] = np.nan
    assert not bench.tick().enabled
    assert (bench.mode, bench.fault) == (Mode.FAULT, Fault.ENCODER)


@pytest.mark.parametrize("fault", LATCHED)
def test_a_broken_encoder_ends_damping_on_a_fault(stopped_by, fault):
    bench = stopped_by(fault)
    bench.sensors.motor_position_rad[4] = np.nan
    assert not bench.tick().enabled
    assert (bench.mode, bench.fault) == (Mode.FAULT, Fault.ENCODER | fault)


@pytest.mark.parametrize("mode", [Mode.READY, Mode.ACTIVE, Mode.DAMPING])
def test_any_other_fault_damps(bench, mode):
    bench.lead_to(mode)
    bench.sensors.rpy_rad[1] = np.nan
    assert bench.tick().enabled
    bench.sensors.rpy_rad[1] = 0.0
    bench.tick(1000)
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.IMU)


def test_overheating_while_damping_stays_damping(stopped_by):
    bench = stopped_by(Fault.EMERGENCY_STOP)
    bench.sensors.housing_temperature_c[0] = 90.0
    bench.tick(100)
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.EMERGENCY_STOP | Fault.OVERHEAT)
    assert bench.drive.enabled
    assert bench.ask(Action.CLEAR_FAULT) is Result.FAULTY


def test_a_fault_while_disarmed_is_reported_but_not_latched(bench):
    bench.hello()
    bench.sensors.motor_position_rad[0] = np.nan
    bench.tick()
    assert (bench.mode, bench.fault) == (Mode.DISARMED, Fault.ENCODER)
    assert bench.ask(Action.ARM) is Result.FAULTY
    bench.sensors.motor_position_rad[0] = 2.0
    bench.tick(2)
    assert (bench.mode, bench.fault) == (Mode.DISARMED, Fault.NONE)
    assert bench.ask(Action.ARM) is Result.DONE


@pytest.mark.parametrize("fault", [None, *LATCHED, Fault.ENCODER])
def test_a_reset_forgets_everything(bench, stopped_by, fault):
    if fault is None:
        bench.activate()
    else:
        bench = stopped_by(fault)
    bench.power_on(boot_count=2)
    assert not bench.tick().enabled
    bench.state = None
    bench.tick(10)
    assert bench.state is None  # and it sends nothing until a host introduces itself
    assert bench.ask(Action.ARM) is Result.NOT_INTRODUCED
    bench.hello()
    assert (bench.mode, bench.fault, bench.state.boot_count) == (Mode.DISARMED, Fault.NONE, 2)
