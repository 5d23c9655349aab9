"""What is evaluated, and what one episode of it gave."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from deploy.command_sources import AHEAD, Script, script_of
from deploy.policy.contract import Contract
from deploy.policy.controller import Network
from deploy.policy.onnx_policy import OnnxPolicy
from sim.model.minitaur import MODELS
from sim.plant.params import GRAVITY_M_S2, MAX_PUSH_N, Value
from sim.plant.params_file import PlantFile, read_plant_file
from sim.plant.randomization import MEASURED, RANDOMIZATION_NAMES
from sim.plant.registry import PLANTS
from sim.plant.terrain import FLAT, terrain_named
from training.errors import EvaluationError
from training.rollout.dump import Dump
from training.rollout.episode import Stream, seed_sequence
from training.tasks.course import course_for

# Not a plant to step from here: the control loop over the wire, against the firmware.
EMULATOR = "emulator"
# The cause of an episode whose simulation diverged: its figures mean nothing.
DIVERGED = "diverged"
# Of the simulator's own line between policy and motors. The emulated board has a real one.
_OF_THE_LINE = ("jitter", "lost")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Evaluate a policy on many drawn plants and write a report.

    Attributes:
        policy: ONNX policy file.
        plant: Physics to evaluate on: pybullet, mujoco, pybullet-full, pybullet-stock,
            pybullet-ideal (motors without limits), or pybullet-duck, where the duck on the robot's
            back must stay there as well; or emulator, the control loop over the serial protocol
            against the firmware of the emulated board.
        randomization: Ranges to draw plants from: none, table1 (Tan et al. 2018), beyond (that
            table, its ranges half as wide again), original (pybullet_envs' randomiser), or measured
            (the intervals of PARAMS). What no training draws: offsets, play, uneven, jitter, lost,
            sag, soft, all of them as unmodelled, load2 (2 kg), weak (a motor at half its torque);
            see ``sim.plant.randomization``. With PARAMS, the ranges are about that plant.
        params: Calibrated plant in the place of the nominal robot: a file that `make calibrate`
            wrote, or the name of one that ships.
        episodes: Number of episodes.
        seconds: Length of an episode.
        seed: Seed of the plants.
        report: Where to write the JSON report.
        workers: Processes; 0 for this one. The figures do not depend on it.
        push: Force of a 60 ms push every 1.2 s in a random direction, N; 0 for none.
        terrain: Ground to walk on: flat, blocks20 (up to 20 mm), sill30, waves40 or stairs20 (mm),
            patches25 (% of the friction), slope10-up, slope10-down or slope10-across (degrees), ice
            (a friction of 0.25), or some with + between them. It beats what is drawn.
        model: Robot model in the simulator.
        course: What a policy that takes commands is told: the path of a script, SPEED,YAW_RATE in
            m/s and rad/s, or ahead, the policy's greatest speed straight on;
            ``training.tasks.course.COURSE`` if left out, slowed to the ranges of the policy.
        reference_only: Put a network of zeros in the place of the policy: the reference gait alone,
            in the same episodes.
    """

    policy: Path = Path("policies/trot.onnx")
    plant: str = "pybullet"
    randomization: str = "none"
    params: Annotated[str | None, tyro.conf.arg(metavar="FILE|NAME")] = None
    episodes: int = 100
    seconds: float = 20.0
    seed: int = 0
    report: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    workers: int = 2
    push: float = 0.0
    terrain: str = FLAT
    model: str = "minitaur_rainbow_dash"
    course: Annotated[str | None, tyro.conf.arg(metavar="PATH|SPEED,YAW_RATE|ahead")] = None
    reference_only: bool = False

    @property
    def surroundings(self) -> dict[str, Any]:
        """Plant parameters of the pushes and of the ground."""
        pushes = {"push_force_low_n": self.push, "push_force_high_n": self.push}
        return {**pushes, **terrain_named(self.terrain)}

    def check(self) -> None:
        """Refuse what cannot be evaluated.

        Raises:
            EvaluationError: Names the option, its value and what it can be.
            ParameterError: There is no such terrain.
        """
        known = {
            "plant": (self.plant, (*PLANTS, EMULATOR)),
            "randomization": (self.randomization, RANDOMIZATION_NAMES),
            "model": (self.model, tuple(MODELS)),
        }
        for name, (value, allowed) in known.items():
            if value not in allowed:
                raise EvaluationError(f"unknown {name} {value!r}; known: {', '.join(allowed)}")
        if self.randomization == MEASURED and self.params is None:
            raise EvaluationError(
                "randomization 'measured' draws from the intervals of a calibrated plant: name one "
                "with --params"
            )
        if self.plant == EMULATOR and self.randomization in _OF_THE_LINE:
            raise EvaluationError(
                f"randomization {self.randomization!r} is of the simulator's line: on the emulator "
                "commands and states travel over the board's own; take another plant"
            )
        positive = 0.0 < self.seconds < math.inf and self.episodes >= 1
        if not positive or self.workers < 0 or self.seed < 0:
            raise EvaluationError(
                "episodes and seconds must be positive, workers and seed 0 or more, got "
                f"episodes={self.episodes} seconds={self.seconds} workers={self.workers} "
                f"seed={self.seed}"
            )
        if not 0.0 <= self.push <= MAX_PUSH_N:
            raise EvaluationError(f"--push must be in [0, {MAX_PUSH_N:g}] N, is {self.push:g}")
        terrain_named(self.terrain)

    def calibrated(self) -> PlantFile | None:
        """Read the calibrated plant; None if there is none.

        Raises:
            ParameterError: The file or the name is not one of a calibrated plant.
        """
        return None if self.params is None else read_plant_file(self.params)

    def seed_of(self, index: int) -> int:
        """Return the seed of episode ``index``, by which its plant is drawn."""
        sequence = seed_sequence(self.seed, Stream.EVALUATION, index)
        return int(sequence.generate_state(1)[0])

    def course_of(self, contract: Contract) -> Script | None:
        """Return the course for a policy; None if it takes no velocity command.

        Raises:
            RunError: The script is not there or malformed, or requests too much of the policy.
            EvaluationError: There is a script, and the policy takes no velocity command.
        """
        spec = contract.velocity_command
        if spec is None:
            if self.course not in (None, AHEAD):  # ahead is all that it can go
                raise EvaluationError(f"{self.policy} takes no command: leave --course out")
            return None
        return course_for(spec) if self.course is None else script_of(self.course, spec, "--course")


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """One episode of an evaluation; ``params`` replays it, ``cause`` says what ended it early.

    The drift is None on a course that turns, the errors are None without a course. ``bearable_s``
    is how long motors that start cold bear such an episode, see ``deploy.record.thermal``; the
    clearances are those of ``deploy.record.clearance``, None where no stride was walked. ``dump``
    is there where the simulation diverged.
    """

    index: int
    survived: bool
    distance_m: float
    seconds: float
    speed_mps: float
    mean_power_w: float
    cost_of_transport: float
    drift_m: float | None
    overheated: bool
    cause: str
    params: dict[str, Value]
    speed_error_mps: float | None = field(default=None, kw_only=True)
    yaw_rate_error_rad_s: float | None = field(default=None, kw_only=True)
    bearable_s: float = field(kw_only=True)
    toe_clearance_m: float | None = field(kw_only=True)
    body_clearance_m: float | None = field(kw_only=True)
    dump: Dump | None = field(default=None, kw_only=True, compare=False, repr=False)


def cost_of_transport(power_w: float, mass_kg: float, speed_mps: float) -> float:
    """Return power over weight and speed; for a robot that does not walk, at 1 mm/s."""
    return power_w / (GRAVITY_M_S2 * mass_kg * max(speed_mps, 1e-3))


def load_policy(job: Evaluation) -> tuple[Contract, Network]:
    """Load the policy of a job; its network is one of zeros where that is the job.

    Raises:
        DeployError: The policy file cannot be used.
    """
    policy = OnnxPolicy.load(job.policy)
    still = np.zeros(policy.contract.action.size, np.float32)
    return policy.contract, (lambda _: still) if job.reference_only else policy
