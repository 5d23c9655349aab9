"""What a run comes to, in a sentence that a stranger understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.record.page.html import Verdict
from deploy.record.page.recording import number, texts
from deploy.record.thermal import LONGEST_S
from robot_firmware_bridge.messages import Fault

_ROBOTS = {"sim": "The simulated robot", "emulator": "The emulated robot"}

# What ended a run, by its name in the report: in plain words, and what to do.
_FAULTS = {
    "tilt": ("it fell over", "Put it upright. See in Attitude how the lean began."),
    "battery_low": ("its battery was low", "Charge the battery."),
    "robot_link": (
        "the line to its motor controller was lost",
        "Check the cable, the adapter and its power. See Link.",
    ),
    "stale_state": (
        "no new measurements came",
        "Check the cable, the adapter and the load of the computer. See Timing.",
    ),
    "robot_fault": (
        "its motor controller switched the motors off",
        "Look for the cause before the fault is cleared.",
    ),
    "robot_mode": (
        "its motor controller took no commands",
        "See whether another program commands it.",
    ),
    "encoder_jump": (
        "a measured motor angle jumped",
        "Check the magnet and the wiring of that motor's encoder.",
    ),
    "pose_out_of_range": ("a leg was where none can be", "Lift the robot, or set the zero again."),
    "overruns": ("the computer was too slow", "Close other programs. See Timing."),
    "motors_on": (
        "nothing said that its motors are off",
        "Cut the power of the motors. Check the wire to the board's RX.",
    ),
    "policy_error": ("the policy failed", "Export the policy again."),
    "internal_error": ("this program failed", "Please report it with its traceback."),
}
# The same for a reaction to trouble, by its signal: it let the robot sit down, or damped it.
_REACTIONS = {
    "battery": ("its battery was low", "Charge the battery."),
    "winding": ("a motor got hot", "Let the motors cool, or take a gait with less power."),
    "stall": ("a motor was blocked", "Look for what blocks the leg."),
    "link": ("measurements came late", "Check the cable and the adapter. See Link and Timing."),
    "pace": ("the computer was too slow", "Close other programs. See Timing."),
}
# The same for what the motor controller reports.
_CONTROLLER = {
    Fault.OVERHEAT: ("a motor got too hot", "Let it cool. See Motors for the hottest one."),
    Fault.UNDERVOLTAGE: ("its battery was low", "Charge the battery."),
    Fault.COMMAND_TIMEOUT: ("commands stayed away", "See Link and Timing."),
    Fault.STALL: ("a motor was blocked", "Look for what blocks the leg."),
    Fault.EMERGENCY_STOP: ("somebody pressed the emergency stop", "Ask why."),
    Fault.ENCODER: ("an encoder failed", "Check the wiring of that encoder."),
    Fault.IMU: ("the attitude sensor failed", "Check the wiring of the IMU."),
    Fault.OVERCURRENT: ("a motor drew too much current", "Look for what blocks the leg."),
}


def run_verdict(report: Mapping[str, Any]) -> Verdict:
    """Return the verdict on a run.

    Args:
        report: Its report; ``faults`` is None where nobody knows what ended it.
    """
    seconds = number(report, "seconds") or 0.0
    robot = _ROBOTS.get(str(report.get("robot")), "The robot")
    way = _way(report, seconds)
    if report.get("faults") is None:
        return Verdict(
            f"{robot} {way} in {seconds:.1f} s; how that ended is not known.",
            "There is no report beside the flight log.",
        )
    setup = report.get("setup")
    if isinstance(setup, Mapping) and setup.get("dry_run"):
        robot = f"Dry run, no motor was commanded: {robot.lower()}"
    if faults := texts(report["faults"]):
        details = texts(report.get("fault_details"))
        why, cure = _explained(faults[0], " ".join(details))
        advice = " ".join([*(f"{line}." for line in details), cure])
        if seconds == 0.0:
            return Verdict(f"{robot} did not start: {why} ({', '.join(faults)}).", advice, "bad")
        end = f"{robot} stopped after {seconds:.1f} s: {why} ({', '.join(faults)})."
        return Verdict(f"{end} Until then it {way}.", advice, "bad")
    if seconds == 0.0:
        return Verdict(f"{robot} did not start; no fault.")
    if report.get("interrupted"):
        return Verdict(f"{robot} {way} in {seconds:.1f} s, until somebody stopped it; no fault.")
    return Verdict(f"{robot} {way} in {seconds:.1f} s, no fault.", tone="good")


def _explained(name: str, details: str) -> tuple[str, str]:
    """Return a fault in plain words, and what to do."""
    if name == "robot_fault":
        for fault, words in _CONTROLLER.items():
            if str(fault.name) in details:
                return words
    if name.startswith("non_finite"):
        return "a number was not finite", "See the line above: which sensor, or the policy."
    signal = name.removesuffix("_sit").removesuffix("_damp")
    known = _FAULTS | (_REACTIONS if signal != name else {})
    return known.get(signal, ("a check stopped it", "See the line above."))


def _way(report: Mapping[str, Any], seconds: float) -> str:
    """Return how far it came: along its heading where it was steered, else as it started."""
    steered = number(report, "yaw_rate_error_rad_s") is not None
    speed = number(report, "heading_speed_mps")
    distance = number(report, "distance_m")
    if steered and speed is not None:
        distance = speed * seconds
    if distance is None:
        return "came an unknown way"
    if abs(distance) < 0.1:
        return f"came {distance:.2f} m ahead"
    return f"walked {distance:.1f} m" if distance > 0.0 else f"went {-distance:.1f} m backwards"


def bearable_words(seconds: float) -> str:
    """Return how long motors bear a gait, for people; see ``deploy.record.thermal``."""
    if seconds >= LONGEST_S:
        return "an hour or more"
    return f"{seconds:.0f} s" if seconds < 120.0 else f"{seconds / 60.0:.0f} min"
