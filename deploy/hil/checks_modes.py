"""Checks of the mode machine, watchdog and emergency stop; no command among them has torque."""

from __future__ import annotations

from deploy.board_process import Event
from deploy.hil.bench import Bench
from deploy.hil.check import Check, Disturbed, Figure, expect
from deploy.hil.host import LIFE_MS, Host, describe, elapsed_ms
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol import Action, Result

# The promise to whoever stands beside the robot.
DAMPED_WITHIN_MS = 100.0
# What a board's clock and its states' rate may add to a time that is told in states.
_GRAIN_MS = 10.0


def damped_after_ms(event: Event) -> float:
    """Time from the last command to this DAMPING, which must be in time, in ms.

    Raises:
        CheckFailed: It is not.
        Disturbed: Something else than the watchdog was first.
    """
    silent_ms: float | None = event["since_command_ms"]
    if silent_ms is None or event["fault"] != Fault.COMMAND_TIMEOUT.name:
        raise Disturbed(f"DAMPING before its time, faults {event['fault']}")
    expect(silent_ms <= DAMPED_WITHIN_MS, f"DAMPING {silent_ms:.1f} ms after the last command")
    return silent_ms


def disarmed_ignores(bench: Bench) -> Figure:
    """A board that is not armed takes no commands."""
    with bench.host() as host:
        for _ in range(20):
            host.send(host.command())
            host.listen(0.01)
            expect(host.state.mode == Mode.DISARMED, describe(host.state))
            expect(host.state.fault == Fault.NONE, describe(host.state))
    return Figure("20 commands, DISARMED throughout")


def life(bench: Bench) -> Figure:
    """Arm, active, disarm, damping, disarmed."""
    with bench.host() as host:
        host.activate()
        host.demand(Action.ARM, Result.WRONG_MODE, Mode.ACTIVE)
        host.demand(Action.DISARM, Result.DONE, Mode.DAMPING)
        disarmed = host.wait_mode(Mode.DISARMED, 2.0)
        damping = host.first(Mode.DAMPING)
    expect(damping.fault == Fault.NONE, f"disarming is no fault: {describe(damping)}")
    damped_ms = elapsed_ms(damping, disarmed)
    late = abs(damped_ms - LIMITS.damping_ms) > _GRAIN_MS
    expect(not late, f"damped for {damped_ms:.0f} ms, not {LIMITS.damping_ms}")
    return Figure(f"damped for {damped_ms:.0f} ms", {"damping_ms": damped_ms})


def ready_timeout(bench: Bench) -> Figure:
    """An armed board that hears no command disarms."""
    with bench.host() as host:
        host.arm()
        host.wait_mode(Mode.READY)
        disarmed = host.wait_mode(Mode.DISARMED, 2 * LIMITS.ready_timeout_ms / 1e3)
        waited_ms = elapsed_ms(host.first(Mode.READY), disarmed)
    late = abs(waited_ms - LIMITS.ready_timeout_ms) > _GRAIN_MS
    expect(not late, f"disarmed after {waited_ms:.0f} ms, not {LIMITS.ready_timeout_ms}")
    return Figure(f"disarmed after {waited_ms:.0f} ms", {"ready_ms": waited_ms})


def watchdog(bench: Bench) -> Figure:
    """A board damps within 100 ms of its last valid command, by its own clock."""
    with bench.host() as host:
        host.activate()
        silent_ms = silence(host)
    expect(silent_ms <= DAMPED_WITHIN_MS, f"{silent_ms:.1f} ms from the last command to DAMPING")
    return Figure(
        f"{silent_ms:.1f} ms from the last command to DAMPING", {"damped_after_ms": silent_ms}
    )


def silence(host: Host) -> float:
    """Send one last command and wait for the damping; the time between, in ms.

    The command came after the last state that does not echo it, so that is where time begins.
    """
    host.fresh_state()
    host.states.clear()
    host.send(host.command())
    damping = host.wait_mode(Mode.DAMPING)
    expect(damping.fault == Fault.COMMAND_TIMEOUT, describe(damping))
    before = [state for state in host.states if state.command_echo != host.sequence]
    return elapsed_ms(before[-1] if before else host.states[0], damping)


def latched(bench: Bench) -> Figure:
    """What the watchdog stopped stays stopped: no command and no arming undoes it."""
    with bench.host() as host:
        host.activate()
        silence(host)
        _stays_damping(host, Fault.COMMAND_TIMEOUT)
        host.demand(Action.CLEAR_FAULT, Result.DONE, Mode.DISARMED)
        host.activate()
    return Figure("commands ignored, arming refused; cleared on request only")


def _stays_damping(host: Host, fault: Fault) -> None:
    """Try everything that must not help."""
    host.demand(Action.ARM, Result.FAULTY, Mode.DAMPING)
    host.demand(Action.DISARM, Result.DONE, Mode.DAMPING)
    host.stream(0.3)
    host.hello()
    host.demand(Action.ARM, Result.FAULTY, Mode.DAMPING)
    host.stream(0.3)
    state = host.fresh_state()
    good = state.mode == Mode.DAMPING and state.fault == fault
    expect(good, f"it came to {describe(state)}; not DAMPING, faults {fault.name}")


def emergency_stop(bench: Bench) -> Figure:
    """An emergency stop damps in every mode and stays until it is cleared."""
    with bench.host() as host:
        for prepare in (host.home, host.arm, host.activate):
            host.home()
            prepare()
            host.demand(Action.EMERGENCY_STOP, Result.DONE, Mode.DAMPING)
            _stays_damping(host, Fault.EMERGENCY_STOP)
            host.demand(Action.CLEAR_FAULT, Result.DONE, Mode.DISARMED)
    return Figure("from DISARMED, READY and ACTIVE; latched until cleared")


def new_host(bench: Bench) -> Figure:
    """A host that introduces itself to a running board finds it disarming, not moving on."""
    with bench.host() as host:
        host.activate()
        host.hello()
        host.stream(0.2)
        state = host.fresh_state()
        expect(state.mode == Mode.DAMPING, f"after a hello: {describe(state)}")
        host.wait_mode(Mode.DISARMED, 2.0)
        host.arm()
        host.hello()
        host.wait_mode(Mode.DISARMED)
    return Figure(f"disarmed; commands live {LIFE_MS} ms, armed or not")


CHECKS = (
    Check("disarmed_ignores", "takes no command while disarmed", disarmed_ignores),
    Check("life", "arm, active, disarm, damping, disarmed", life),
    Check("ready_timeout", "disarms if no command follows", ready_timeout),
    Check("watchdog", "damps when commands stop", watchdog),
    Check("latched", "stays damped until cleared", latched),
    Check("emergency_stop", "emergency stop latches in every mode", emergency_stop),
    Check("new_host", "a new host disarms a running board", new_host),
)
