"""What can be evaluated, and what comes of an episode: the values of the evaluation protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from deploy.command_sources import Script, read_script
from deploy.policy.contract import Contract
from sim.model.minitaur import MODELS
from sim.plant.params import GRAVITY_M_S2
from sim.plant.randomization import RANDOMIZATIONS
from sim.plant.registry import PLANTS
from training.errors import EvaluationError
from training.rollout.episode import Stream, seed_sequence
from training.tasks.course import COURSE

# Not a plant to be stepped from here: the deploy loop in real time, over a serial line.
EMULATOR = "emulator"
_EPISODES, _EPISODES_IN_REAL_TIME = 100, 10
# The robot that the emulated board carries, too.
_MODEL = "minitaur_rainbow_dash"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Evaluate a policy on many drawn plants and write a report.

    Attributes:
        policy: ONNX policy file.
        plant: Physics to evaluate on: pybullet, mujoco, pybullet-full, pybullet-stock,
            pybullet-ideal (motors without limits), or pybullet-duck, where the duck on the robot's
            back must stay there as well; or emulator, the deploy loop in real time on the emulated
            board, over a serial line.
        randomization: Ranges to draw plants from: none, table1 (Tan et al. 2018), beyond (that
            table, its ranges half as wide again), or original (pybullet_envs' randomiser).
        episodes: How many; 100 if left out, and 10 on the emulator.
        seconds: Length of an episode.
        seed: Seed of the plants.
        report: Where to write the JSON report.
        workers: Processes; 0 for this one. The figures do not depend on it. Of no meaning on the
            emulator, where episodes come one after another.
        push: Force of a 60 ms push every 1.2 s in a random direction, N; 0 for none.
        model: Robot model in the simulator.
        course: Command script for a policy that takes commands; ``training.tasks.course.COURSE`` if
            left out.
        reference_only: Put a network of zeros in the policy's place: what the reference gait does
            without it, in the same episodes.
    """

    policy: Path = Path("policies/trot.onnx")
    plant: str = "pybullet"
    randomization: str = "none"
    episodes: int | None = None
    seconds: float = 20.0
    seed: int = 0
    report: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    workers: int = 2
    push: float = 0.0
    model: str = _MODEL
    course: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    reference_only: bool = False

    @property
    def count(self) -> int:
        """Number of episodes."""
        if self.episodes is not None:
            return self.episodes
        return _EPISODES_IN_REAL_TIME if self.plant == EMULATOR else _EPISODES

    @property
    def script(self) -> Path:
        """Command script of a policy that takes commands."""
        return self.course or COURSE

    def check(self) -> None:
        """Refuse what cannot be evaluated.

        Raises:
            EvaluationError: Names the option, its value and what it can be.
        """
        known = {
            "plant": (self.plant, (*PLANTS, EMULATOR)),
            "randomization": (self.randomization, tuple(RANDOMIZATIONS)),
            "model": (self.model, tuple(MODELS)),
        }
        for name, (value, allowed) in known.items():
            if value not in allowed:
                raise EvaluationError(f"unknown {name} {value!r}; known: {', '.join(allowed)}")
        if self.count < 1 or self.seconds <= 0.0 or self.workers < 0 or self.seed < 0:
            raise EvaluationError(
                "episodes and seconds must be positive, workers and seed 0 or more, got "
                f"episodes={self.count} seconds={self.seconds} workers={self.workers} "
                f"seed={self.seed}"
            )
        if self.plant == EMULATOR and (self.push or self.reference_only or self.model != _MODEL):
            raise EvaluationError(
                "--push, --reference-only and --model need another plant: the emulated board is "
                "not pushed, runs a policy file as it is, and carries the identified robot"
            )

    def seed_of(self, index: int) -> int:
        """Seed of episode ``index``: what its plant is drawn by."""
        sequence = seed_sequence(self.seed, Stream.EVALUATION, index)
        return int(sequence.generate_state(1)[0])

    def course_of(self, contract: Contract) -> Script | None:
        """The course of a policy that takes commands; None of one that takes none.

        Raises:
            RunError: The script is not there or malformed, or asks for more than the policy can.
            EvaluationError: There is a script, and the policy takes no command.
        """
        if contract.velocity_command is None:
            if self.course is not None:
                raise EvaluationError(f"{self.policy} takes no command: leave --course out")
            return None
        course = read_script(self.script)
        course.check(contract.velocity_command, str(self.script))
        return course


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """One episode of an evaluation; ``params`` replays it, ``cause`` says what ended it early.

    The drift is None on a course, the errors are None without one.
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
    params: dict[str, float]
    speed_error_mps: float | None = field(default=None, kw_only=True)
    yaw_rate_error_rad_s: float | None = field(default=None, kw_only=True)


def cost_of_transport(power_w: float, mass_kg: float, speed_mps: float) -> float:
    """Power over weight and speed; of a robot that does not walk, at 1 mm/s."""
    return power_w / (GRAVITY_M_S2 * mass_kg * max(speed_mps, 1e-3))
