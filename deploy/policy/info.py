"""Describe a policy file: `minitaur policy info FILE`.

Prints what the file holds and how long one inference takes on this computer; no robot is needed.
The file is checked as for a run, so what is described here would also be loaded there.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from deploy.policy.contract import ActionSpec, Contract
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.policy.pipeline import TERMS, term_slices
from robot_firmware_bridge.robot import MINITAUR

_LEFT_OUT = "training"  # the whole configuration of the run: --json has it


@dataclass(frozen=True, slots=True)
class Options:
    """Describe a policy file.

    Attributes:
        file: Policy file, as `make export` writes it.
        json: Print JSON for programs, with the whole contract.
    """

    file: Annotated[Path, tyro.conf.Positional]
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Raises:
        DeployError: The file is no policy for this robot, or too slow on this computer.
    """
    options = tyro.cli(Options, args=arguments, prog="minitaur policy info")
    policy = OnnxPolicy.load(options.file)
    print(to_json(policy) if options.json else describe(policy, options.file))
    return 0


def to_json(policy: OnnxPolicy) -> str:
    """Return all that a policy file holds as JSON: contract, digest, network, time."""
    facts = {
        "sha256": policy.digest,
        "sizes": policy.sizes,
        "parameters": _parameters(policy),
        "inference_us": policy.inference_s * 1e6,
        "contract": dataclasses.asdict(policy.contract),
    }
    return json.dumps(facts, indent=2)


def describe(policy: OnnxPolicy, file: Path) -> str:
    """Return a policy file as text for people, each fact on a line of its own."""
    contract, period_s = policy.contract, policy.contract.control_period_s
    inference = (
        f"{policy.inference_s * 1e6:.0f} us on this computer, "
        f"{100.0 * policy.inference_s / period_s:.1f} % of the control period"
    )
    rows = [
        ("robot", f"{MINITAUR.name}, description {contract.robot_hash[:12]}"),
        ("control period", f"{period_s * 1e3:g} ms ({1.0 / period_s:.0f} Hz)"),
        ("gains", f"kp {contract.kp:g} duty/rad, kd {contract.kd:g} duty s/rad"),
        ("network", f"{' - '.join(map(str, policy.sizes))}, {_parameters(policy)} parameters"),
        ("inference", inference),
        ("SHA-256", policy.digest),
        *_observation(contract),
        *_action(contract.action),
        *_velocity(contract),
        *_provenance(contract.provenance),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [str(file), *(f"  {name:<{width}}  {text}".rstrip() for name, text in rows)]
    return "\n".join(map(_printable, lines))


def _parameters(policy: OnnxPolicy) -> int:
    """Return how many weights and biases the linear layers have."""
    pairs = itertools.pairwise(policy.sizes)
    return sum((inputs + 1) * outputs for inputs, outputs in pairs)


def _observation(contract: Contract) -> list[tuple[str, str]]:
    rows = [("observation", f"{term_slices(contract)[-1].stop} numbers")]
    for term in contract.observation:
        parts = [str(TERMS[term.name][0])]
        if term.history > 1:
            apart = "" if term.every == 1 else f", each {term.every} apart"
            parts.append(f"the last {term.history} control steps{apart}")
        if term.scale != 1.0:
            parts.append(f"times {term.scale:g}")
        if term.clip is not None:
            parts.append(f"clipped at {term.clip:g}")
        rows.append((f"  {term.name}", ", ".join(parts)))
    return rows


def _action(action: ActionSpec) -> list[tuple[str, str]]:
    gait = action.gait
    swing, extension = action.scale_rad[:4], action.scale_rad[4:]
    rows = [("action", f"swing {_each(swing)} rad, extension {_each(extension)} rad at 1")]
    low_pass = f"{action.lowpass_hz:g} Hz" if action.lowpass_hz else "none"
    rows += [("  low pass", low_pass), ("  left to right", f"{action.asymmetry:g} of a difference")]
    motion = (
        f"{gait.name}, {gait.frequency_hz:g} Hz, swing {gait.swing_amplitude_rad:g} rad, extension "
        f"{gait.extension_centre_rad:g} +- {gait.extension_amplitude_rad:g} rad"
    )
    timing = (
        f"swing {gait.swing_lead:g} of a cycle ahead, legs {_each(gait.leg_phase)}, "
        f"blended in over {gait.ramp_s:g} s"
    )
    rows += [("  gait", motion), ("  gait's timing", timing)]
    if gait.steering is not None:
        per_speed, per_yaw = gait.steering.per_speed_rad, gait.steering.per_yaw_rate_rad
        steering = f"swing {_each(per_speed)} rad per m/s, {_each(per_yaw)} rad per rad/s"
        rows.append(("  steering", steering))
    if (change := action.modulation) is not None:
        sizes = (
            f"+-{change.frequency_hz:g} Hz, lift +-{change.extension_amplitude_rad:g} rad, "
            f"height +-{change.extension_centre_rad:g} rad"
        )
        each = (
            f"swing +-{change.swing_amplitude_rad:g} rad, phase +-{change.phase:g} of a cycle, "
            f"low pass {change.lowpass_hz:g} Hz"
        )
        rows += [("  modulation", sizes), ("  of each leg", each)]
    return rows


def _velocity(contract: Contract) -> list[tuple[str, str]]:
    spec = contract.velocity_command
    if spec is None:
        return [("velocity command", "none: it cannot be steered")]
    (slow, fast), (right, left) = spec.speed_mps, spec.yaw_rate_rad_s
    return [
        ("velocity command", f"{slow:g} to {fast:g} m/s, {right:g} to {left:g} rad/s"),
        ("  changes by", f"{spec.speed_slew_mps2:g} m/s2, {spec.yaw_rate_slew_rad_s2:g} rad/s2"),
    ]


def _provenance(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    if not provenance:
        return [("provenance", "none in the file")]
    known = {name: value for name, value in provenance.items() if name != _LEFT_OUT}
    return [("provenance", ""), *((f"  {name}", _value(value)) for name, value in known.items())]


def _value(value: object) -> str:
    """Return a value of the provenance in a line."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(each)}" for name, each in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def _each(values: Sequence[float]) -> str:
    """Return numbers in a line; equal ones once."""
    texts = [f"{value:g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"({', '.join(texts)})"


def _printable(text: str) -> str:
    """Return text of a file without characters that could command a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


if __name__ == "__main__":
    sys.exit(main())
