"""A record in a few plain lines, for people."""

from __future__ import annotations

from calibration.record import FootCommands, Record


def describe(record: Record) -> str:
    """Return what a record holds: board, seconds, rates, signals, and what was flagged."""
    source = record.source
    kind = f" ({source.robot})" if source.robot else ""
    lines = [
        f"{source.name}: {source.board}{kind}, {record.seconds:.1f} s, sha256 {source.sha256[:12]}"
    ]
    lines += [f"  {line}" for line in _signals(record)]
    if record.flags:
        lines.append("flagged:")
        lines += [f"  {flag.samples:6d}  {flag.reason}" for flag in record.flags]
    else:
        lines.append("nothing flagged")
    return "\n".join(lines)


def _signals(record: Record) -> list[str]:
    """Return a line for each series."""
    lines = []
    if (motors := record.motors) is not None:
        parts = {
            "angles": motors.position_rad,
            "speeds": motors.velocity_rad_s,
            "duties": motors.duty,
            "torques": motors.torque_nm,
            "currents": motors.current_a,
        }
        names = ", ".join(name for name, values in parts.items() if values is not None)
        spans = motors.stretches()
        longest_s = max((motors.t_s[s.stop - 1] - motors.t_s[s.start] for s in spans), default=0.0)
        lines.append(
            f"motors: {names}; {motors.rate_hz:.0f} Hz, {int(motors.ok.sum())} of {len(motors)} "
            f"samples good, in {len(spans)} stretches, the longest {longest_s:.2f} s"
        )
    if (attitude := record.attitude) is not None:
        names = "roll, pitch, yaw" + ("" if attitude.rate_rad_s is None else " and their rates")
        lines.append(
            f"attitude: {names}; {attitude.rate_hz:.0f} Hz, {int(attitude.ok.sum())} of "
            f"{len(attitude)} samples good"
        )
    if (battery := record.battery) is not None:
        voltage = battery.voltage_v[battery.ok]
        lines.append(f"battery: {voltage.min():.1f} to {voltage.max():.1f} V")
    if (speed := record.speed) is not None:
        lines.append(
            f"speed: the board's own estimate, up to {speed.speed_mps[speed.ok].max():.2f} m/s"
        )
    if (mocap := record.mocap) is not None:
        what = "positions" if mocap.quaternion is None else "poses"
        lines.append(
            f"motion capture: {what}; {mocap.rate_hz:.0f} Hz, net distance {mocap.distance_m:.3f} m"
        )
    if (commands := record.commands) is not None:
        law = "feet, PD in leg space" if isinstance(commands, FootCommands) else "motor angles, PD"
        seconds = float(commands.t_s[-1] - commands.t_s[0])
        rate = (len(commands) - 1) / seconds if seconds > 0.0 else 0.0
        lines.append(f"commands: {law}; {len(commands)}, {rate:.0f} a second")
    return lines
