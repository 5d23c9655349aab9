"""Checks of the mode machine, watchdog and emergency stop; no command among them has torque."""

from __future__ import annotations

from collections.abc import Callable

from hil.bench import Bench
from hil.check import Check, Disturbed, Figure, expect
from hil.host import LIFE_MS, STATE_INTERVAL_MS, Host, describe, elapsed_ms, lived_ms
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol.layout import Action, Result
from robot_firmware_bridge.protocol.wire import State
from sim.board.process import Event

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
        host.states.clear()
        host.stream(0.2)
        host.fresh_state()
        for state in host.states:
            expect(state.mode == Mode.DISARMED and state.fault == Fault.NONE, describe(state))
    return Figure("commands for 0.2 s, DISARMED throughout")


def life(bench: Bench) -> Figure:
    """Arm, active, disarm, damping, disarmed."""
    with bench.host() as host:
        host.activate()
        host.demand(Action.ARM, Result.WRONG_MODE, Mode.ACTIVE)
        host.demand(Action.DISARM, Result.DONE, Mode.DAMPING)
        disarmed = host.wait_mode(Mode.DISARMED)
        damping = host.first(Mode.DAMPING)
    expect(damping.fault == Fault.NONE, f"disarming is no fault: {describe(damping)}")
    return _lasts(bench, damping, disarmed, LIMITS.damping_ms, "damped for")


def _lasts(bench: Bench, begin: State, end: State, wanted_ms: int, what: str) -> Figure:
    """The time between two states must be this.

    The board counts its ticks. An emulation that was held up lost some while its clock went on:
    there, the time counts that it lived.
    """
    passed_ms = elapsed_ms(begin, end)
    took_ms = lived_ms(begin, end, STATE_INTERVAL_MS) if bench.rung.is_emulated else passed_ms
    expect(abs(took_ms - wanted_ms) <= _GRAIN_MS, f"{what} {took_ms:.0f} ms, not {wanted_ms}")
    held_up_ms = passed_ms - took_ms
    more = f", and held up for {held_up_ms:.0f} ms" if held_up_ms > _GRAIN_MS else ""
    return Figure(f"{what} {took_ms:.0f} ms{more}", {"took_ms": took_ms, "passed_ms": passed_ms})


def ready_timeout(bench: Bench) -> Figure:
    """An armed board that hears no command disarms."""
    with bench.host() as host:
        host.arm()
        host.wait_mode(Mode.READY)
        disarmed = host.wait_mode(Mode.DISARMED, 5 * LIMITS.ready_timeout_ms / 1e3)
        ready = host.first(Mode.READY)
    return _lasts(bench, ready, disarmed, LIMITS.ready_timeout_ms, "disarmed after")


def watchdog(bench: Bench) -> Figure:
    """A board damps within 100 ms of its last valid command, by its own clock."""
    with bench.host() as host:
        host.activate()
        silent_ms = silence(bench, host)
    return Figure(
        f"{silent_ms:.1f} ms from the last command to DAMPING", {"damped_after_ms": silent_ms}
    )


def silence(bench: Bench, host: Host, meanwhile: Callable[[], object] | None = None) -> float:
    """Send one last command and wait for the damping, which must be in time; the time between, ms.

    The command came after the last state that does not echo it, so that is where time begins.

    Args:
        bench: Where the board is.
        host: Who commands it.
        meanwhile: Done every 10 ms of the silence.

    Raises:
        CheckFailed: It comes too late, or the command was not taken.
        Disturbed: It comes too late because the board was held up.
    """
    before = host.fresh_state()
    host.states.clear()
    host.send_command()
    damping = host.wait_mode(Mode.DAMPING, 1.0, meanwhile)
    expect(damping.fault == Fault.COMMAND_TIMEOUT, describe(damping))
    taken = [s for s in host.states if s.command_echo == host.sequence and s.mode == Mode.ACTIVE]
    expect(bool(taken), "it damped before its last command")
    before = [before, *(s for s in host.states if s.command_echo != host.sequence)][-1]
    silent_ms = elapsed_ms(before, damping)
    late = f"{silent_ms:.1f} ms from the last command to DAMPING"
    lived = lived_ms(before, damping, STATE_INTERVAL_MS) <= DAMPED_WITHIN_MS
    if silent_ms > DAMPED_WITHIN_MS and lived and bench.rung.is_emulated:
        raise Disturbed(f"{late}, of which the board lost ticks")
    expect(silent_ms <= DAMPED_WITHIN_MS, late)
    return silent_ms


def latched(bench: Bench) -> Figure:
    """What the watchdog stopped stays stopped: no command and no arming undoes it."""
    with bench.host() as host:
        host.activate()
        silence(bench, host)
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
        before = len(host.states)
        host.hello()
        host.wait_mode(Mode.DISARMED, meanwhile=host.send_command)
        modes = [state.mode for state in host.states[before:]]
        damping = modes.index(Mode.DAMPING) if Mode.DAMPING in modes else len(modes)
        expect(Mode.DAMPING in modes, "it did not damp after a hello")
        expect(Mode.ACTIVE not in modes[damping:], "it moved on after a hello")
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
