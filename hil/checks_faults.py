"""Checks of the board's own protections: what breaks on the robot stops it, and says what it was.

The commands have no torque; whether a walking robot is caught is among the checks that walk.
"""

from __future__ import annotations

from hil.bench import Bench
from hil.check import Check, Figure, expect
from hil.host import Host, describe
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol.layout import Action, Result

# A motor cools down slowly; the sensor that says so is taken away after it has.
MEND_HEAT = ("heat 5 25", "cool")

# A protection that takes longer than this on the bench is none.
_WITHIN_S = 1.0
_TOLD_S = 5.0


def _trips(
    bench: Bench, harm: str, mends: tuple[str, ...], fault: Fault, mode: Mode, lasts: bool
) -> Figure:
    """Harm a running board: it must stop in this mode, and stay so until mended and cleared.

    Args:
        bench: Where the board is.
        harm: Order that does the harm.
        mends: Orders that take it back.
        fault: What the board must say that it was.
        mode: Mode in which it must stop.
        lasts: The cause is there until mended, so that clearing it before is refused.
    """
    with bench.host() as host:
        host.activate()
        since = len(bench.rung.board.events())
        bench.rung.board.inject(harm)
        _await_stop(host, fault, mode)
        done = bench.done(harm, since, host.receive)
        if lasts:
            host.demand(Action.CLEAR_FAULT, Result.FAULTY, mode)
        bench.mend(mends, host)
        host.stream(0.1)
        expect(host.fresh_state().mode == mode, "it did not stay stopped")
        host.clear()
        host.activate()
    stopped = bench.await_event(
        lambda e: e["event"] == "mode" and e["mode"] == mode.name, _TOLD_S, mode.name, since
    )
    waited_ms = 1e3 * (stopped["t_s"] - done["t_s"])
    expect(waited_ms <= 1e3 * _WITHIN_S, f"{mode.name} after {waited_ms:.0f} ms only")
    return Figure(f"{mode.name} by {fault.name} after {waited_ms:.0f} ms", {"after_ms": waited_ms})


def _await_stop(host: Host, fault: Fault, mode: Mode) -> None:
    """Go on commanding until the board stops, which must be for this reason."""
    state = host.wait_state(
        lambda state: state.mode != Mode.ACTIVE, "stop", meanwhile=host.send_command
    )
    good = state.mode == mode and Fault(state.fault) & fault
    expect(bool(good), f"{describe(state)}; not {mode.name} by {fault.name}")


def frozen_imu(bench: Bench) -> Figure:
    """An IMU that repeats itself is dead."""
    return _trips(bench, "freeze-imu", ("thaw-imu",), Fault.IMU, Mode.DAMPING, lasts=True)


def encoder_jump(bench: Bench) -> Figure:
    """A motor angle that jumps is not believed, nor used for damping."""
    jump, back = (f"encoder-jump 2 {side * 2 * LIMITS.encoder_jump_rad}" for side in (1, -1))
    return _trips(bench, jump, (back,), Fault.ENCODER, Mode.FAULT, lasts=False)


def low_battery(bench: Bench) -> Figure:
    """A battery that stays low ends the run."""
    low_v = LIMITS.undervoltage_v - 1.0
    return _trips(
        bench, f"battery {low_v}", ("battery 16",), Fault.UNDERVOLTAGE, Mode.DAMPING, True
    )


def hot_motor(bench: Bench) -> Figure:
    """A motor that is too hot ends the run."""
    hot_c = LIMITS.max_housing_c + 10.0
    return _trips(bench, f"heat 5 {hot_c}", MEND_HEAT, Fault.OVERHEAT, Mode.DAMPING, lasts=True)


def noisy_line(bench: Bench) -> Figure:
    """A line that loses and turns bits costs frames, and neither the mode nor the peace."""
    with bench.host() as host:
        host.activate()
        before = host.fresh_state()
        host.states.clear()
        crc_before, sequence = host.decoder.crc_errors + host.decoder.framing_errors, host.sequence
        for order in ("flip 0.001", "drop 0.001", "duplicate 0.001"):
            bench.inject(order, host.pulse)
        host.stream(5.0)
        for order in ("flip 0", "drop 0", "duplicate 0"):
            bench.inject(order, host.pulse)
        host.send_command()
        after = host.await_echo()
        for state in host.states:
            expect(state.mode == Mode.ACTIVE, f"it came to {describe(state)}")
        damaged = host.decoder.crc_errors + host.decoder.framing_errors - crc_before
        lost = (after.commands_lost - before.commands_lost) & 0xFFFF
        expect(damaged > 0 and lost > 0, "the line was not noisy")
        sent = (host.sequence - sequence) & 0xFFFF
    return Figure(
        f"{lost} of {sent} commands and {damaged} states lost at 0.3 % per byte, ACTIVE throughout",
        {"commands_lost": lost, "commands": sent, "states_damaged": damaged},
    )


CHECKS = (
    Check("frozen_imu", "stops on a frozen IMU", frozen_imu, simulated=True),
    Check("encoder_jump", "stops on an encoder that jumps", encoder_jump, simulated=True),
    Check("low_battery", "stops on a low battery", low_battery, simulated=True),
    Check("hot_motor", "stops on a hot motor", hot_motor, simulated=True),
    Check("noisy_line", "bears a noisy line", noisy_line, simulated=True),
)
