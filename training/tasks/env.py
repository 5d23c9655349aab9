"""Minitaur locomotion as a Gymnasium environment over the plant and the deployed controller.

An episode is a plant drawn from randomisation ranges, stepped through the same ``Controller`` that
runs on the robot. ``reset(seed=...)`` determines everything in it but the actions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from deploy.command_sources import Script
from deploy.policy.contract import Contract
from deploy.policy.controller import Controller
from deploy.record.metrics import stride_s
from robot_firmware_bridge.robot import MINITAUR
from sim.plant.params import TICK_S, PlantParams, Value, checked_range, entries
from sim.plant.plant import BaseTruth, control_ticks
from sim.plant.randomization import (
    MEASURED,
    RANDOMIZATIONS,
    TABLE1,
    Randomization,
    Ranges,
    check_ranges,
    sample,
)
from sim.plant.registry import PLANTS, make_plant
from sim.view.display import has_display
from training.errors import ConfigError
from training.tasks.checked_env import CheckedEnv, Step
from training.tasks.course import Shares, Track, draw_course
from training.tasks.rewards import StepMotion, check_weights, weighted
from training.tasks.symmetry import Mirror, mirror_of

# A body whose origin is this low lies on the floor; standing it is at about 0.2 m.
FALLEN_HEIGHT_M = 0.10
# Of every observation, in its own unit (rad, rad/s): far beyond what the robot can do.
_BOUND = 1000.0


@dataclass(frozen=True, slots=True)
class LocomotionTask:
    """What is asked of the robot.

    Attributes:
        contract: Observation and action of the policy, as deployed.
        reward: Weight of each term of ``training.tasks.rewards``.
        episode_s: Time after which an episode is truncated.
        top_speed_mps: Speed beyond which the term ``over_speed`` counts.
        requests: What a policy that takes commands is asked for how often.
        nominal: Plant parameters that are not randomised.
    """

    contract: Contract
    reward: Mapping[str, float]
    episode_s: float = 6.0
    top_speed_mps: float = math.inf
    requests: Shares = field(default_factory=Shares)
    nominal: PlantParams = field(default_factory=PlantParams)


class LocomotionEnv(CheckedEnv):
    """One Minitaur walking forward along the heading it started with, or as it is told.

    That heading is drawn; places, headings and speeds here are relative to it.

    A contract with commands makes the episode a course: drawn from the episode's seed, or given.

    Observations are the contract's, raw (the normaliser belongs to the policy); actions are in
    [-1, 1]. Terminates when the body tilts or lies down, or loses what the plant loads it with, or
    when a motor's protection switches it off, upon which a real board opens all bridges; truncates
    after ``episode_s``. The ``info`` of an episode's last step holds its ``metrics``.
    ``reset(options={"params": PlantParams(...)})`` replays a given plant instead of drawing one.

    Args:
        task: What is asked.
        randomization: A name in ``sim.plant.randomization.RANDOMIZATIONS``, or ranges.
        nominal: Plant parameters that replace those of the task's nominal plant, e.g. the values of
            a calibrated plant; ranges about it are ``sim.plant.randomization.randomization_named``.
        nominal_share: Share of the episodes that are on the nominal plant all the same.
        scenes: Further ranges of plant parameters, one set for each kind of ground or of shoves; an
            episode has any one of them, with the same chance.
        robots: Further robots, each with its ``nominal`` and its ``randomization``, which must be
            ranges; an episode is on any of all robots, with the same chance.
        params: Plant parameters to override in every episode, drawn or not, e.g. pushes.
        reward: Reward weights; replace the task's as a whole.
        episode_s: Overrides the task's.
        top_speed_mps: Overrides the task's.
        model: Robot model in the simulator.
        plant: Its physics, a name in ``sim.plant.registry.PLANTS``.
        course: The course of every episode, for a contract with commands; None draws them.
        render_mode: ``rgb_array`` for pictures, ``human`` for a window, or None.

    Attributes:
        contract: What a policy trained here expects of its runner.
        metadata: Gymnasium's; ``human`` is a render mode only where there may be a display.
        plant: The plant underneath, for measurements.

    Raises:
        ConfigError: An argument names nothing known or is impossible.
        SimError: A window or the physics engine cannot be had.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        task: LocomotionTask,
        *,
        randomization: str | Ranges = "none",
        nominal: Mapping[str, Value] | None = None,
        nominal_share: float = 0.0,
        robots: Sequence[Mapping[str, Mapping[str, Any]]] = (),
        scenes: Sequence[Ranges] = (),
        params: Mapping[str, Value] | None = None,
        reward: Mapping[str, float] | None = None,
        episode_s: float | None = None,
        top_speed_mps: float | None = None,
        model: str = "minitaur_rainbow_dash",
        plant: str = "pybullet",
        course: Script | None = None,
        render_mode: str | None = None,
    ) -> None:
        modes = self.metadata["render_modes"]
        if render_mode not in (None, *modes):
            raise ConfigError(f"unknown render_mode {render_mode!r}; known: {', '.join(modes)}")
        if not has_display():
            self.metadata = {**self.metadata, "render_modes": ["rgb_array"]}
        self.task, self.contract = task, task.contract
        self._course = course
        self._track: Track | None = None
        self.render_mode = render_mode
        if isinstance(randomization, str):
            if randomization not in RANDOMIZATIONS:
                known = sorted(RANDOMIZATIONS)
                hint = (
                    "; give the ranges of a calibrated plant themselves"
                    if randomization == MEASURED
                    else ""
                )
                raise ConfigError(f"unknown randomization {randomization!r}; known: {known}{hint}")
            randomization = RANDOMIZATIONS[randomization]
        if not 0.0 <= nominal_share <= 1.0:
            raise ConfigError(f"nominal_share must be in [0, 1], got {nominal_share}")
        self._nominal_share = nominal_share
        self._reward = task.reward if reward is None else reward
        self._params: dict[str, Any] = dict(params or {})
        try:
            check_weights(self._reward)
            self._robots = [
                _robot(task.nominal, params or {}, **each)
                for each in ({"nominal": nominal or {}, "randomization": randomization}, *robots)
            ]
            for scene in scenes:
                check_ranges(scene)
            _check_overrides(self._params, [robot.ranges for robot in self._robots], scenes)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"locomotion task: {error}") from error
        self._scenes = scenes
        ranged = {name for each in (*(r.ranges for r in self._robots), *scenes) for name in each}
        self._privileged_names = sorted(ranged | TABLE1.keys())
        self._episode_s = task.episode_s if episode_s is None else episode_s
        self._top_speed_mps = task.top_speed_mps if top_speed_mps is None else top_speed_mps
        if not (0.0 < self._episode_s < math.inf and self._top_speed_mps > 0.0):
            raise ConfigError(
                "episode_s and top_speed_mps must be positive, got "
                f"episode_s={self._episode_s} top_speed_mps={self._top_speed_mps}"
            )
        self._controller = Controller(task.contract)
        if plant not in PLANTS:
            raise ConfigError(f"unknown plant {plant!r}; known: {', '.join(PLANTS)}")
        self.plant = make_plant(plant, model, gui=render_mode == "human")
        size = self._controller.observation_size
        self.observation_space = gymnasium.spaces.Box(-_BOUND, _BOUND, (size,), np.float32)
        self.action_space = gymnasium.spaces.Box(
            -1.0, 1.0, (task.contract.action.size,), np.float32
        )

    @property
    def mirror(self) -> Mirror:
        """How an observation and an action look in the mirror.

        Raises:
            ConfigError: The gait has no mirror image of its own.
        """
        return mirror_of(self.contract)

    def _reset(self, options: dict[str, Any]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Draw a plant and stand on it."""
        params = options.get("params")
        if params is None:
            params = self._draw()
        elif not isinstance(params, PlantParams):
            raise ConfigError(f"reset: options['params'] must be PlantParams, not {params!r}")
        self.plant.reset(params)
        self._drawn = np.concatenate(
            [entries(getattr(params, name)) for name in self._privileged_names]
        )
        self._ticks = control_ticks(params)
        self._controller.reset(self._ticks * TICK_S)
        self._start = self.plant.truth()
        self._before = self._start.seen_from(self._start)
        self._energy_j = 0.0
        self._earned = dict.fromkeys(self._reward, 0.0)
        info: dict[str, Any] = {"params": params}
        self._track = self._start_course()
        if self._track is not None:
            info["course"] = self._track.course
        return self._observe(), {**info, "privileged": self._privileged()}

    def _start_course(self) -> Track | None:
        spec, action, start = self.contract.velocity_command, self.contract.action, self._before
        if spec is None:
            return None
        course = self._course or draw_course(
            spec, self._episode_s, self.np_random, self.task.requests
        )
        return Track(course, spec, action, start.position_m, start.rpy_rad[2])

    def _draw(self) -> PlantParams:
        """Draw a robot and a plant from its ranges, or now and then its nominal one."""
        rng, robots = self.np_random, self._robots
        robot = robots[0] if len(robots) == 1 else robots[rng.integers(len(robots))]
        share = self._nominal_share
        ranges = {} if share and rng.random() < share else robot.ranges
        if self._scenes:
            ranges = {**ranges, **self._scenes[int(rng.integers(len(self._scenes)))]}
        return dataclasses.replace(sample(ranges, rng, robot.nominal), **self._params)

    def _step(self, action: NDArray[np.float32]) -> Step:
        """Advance by one control step, as long as the drawn plant has it."""
        plant = self.plant
        controller = self._controller
        target = controller.limit(controller.targets(action, plant.t_ns * 1e-9))
        plant.command(target, self.contract.kp, self.contract.kd)
        plant.advance(self._ticks)
        truth = plant.truth().seen_from(self._start)
        if self._track is not None:
            self._track.add(
                plant.t_ns * 1e-9, truth.position_m, truth.rpy_rad[2], controller.velocity_command
            )
        stands = truth.tilt_rad <= MINITAUR.max_tilt_rad and truth.position_m[2] >= FALLEN_HEIGHT_M
        fell = not stands  # nor does a body whose pose is NaN
        dropped, off = plant.load_lost, not plant.drives.enabled.all()
        terms = weighted(self._reward, self._motion(truth, fell or off))
        for name, term in terms.items():
            self._earned[name] += term
        reward = sum(terms.values())
        self._before = truth
        self._energy_j = plant.energy_j
        timed_out = plant.t_ns * 1e-9 >= self._episode_s - 1e-9
        info: dict[str, Any] = {"privileged": self._privileged()}
        over = fell or dropped or off
        if over or timed_out:
            info["metrics"] = self._metrics(fell, dropped)
        return self._observe(), reward, over, timed_out and not over, info

    def _observe(self) -> NDArray[np.float32]:
        t_s = self.plant.t_ns * 1e-9
        if self._track is not None:
            self._controller.requested_velocity = self._track.course.requested(t_s)
        return self._controller.observe(self.plant.sense(), t_s).copy()

    def _motion(self, after: BaseTruth, fell: bool) -> StepMotion:
        dt_s = self._ticks * TICK_S
        x_m, y_m, _ = after.position_m.tolist()
        x_before_m, y_before_m, _ = self._before.position_m.tolist()
        astray_rad, astray_before_rad = float(after.rpy_rad[2]), float(self._before.rpy_rad[2])
        forward_m = x_m - x_before_m
        track = self._track
        speed_error = yaw_rate_error = 0.0
        if track is not None:
            speed_error, yaw_rate_error = self._stride_errors(track)
            astray_before_rad, astray_rad = track.heading_errors_rad
        return StepMotion(
            dt_s=dt_s,
            forward_m=forward_m,
            too_fast_m=max(0.0, forward_m - self._top_speed_mps * dt_s),
            sideways_m=abs(y_m) - abs(y_before_m),
            energy_j=self.plant.energy_j - self._energy_j,
            turn_rad=abs(astray_rad) - abs(astray_before_rad),
            tilt_rad=after.tilt_rad,
            fell=fell,
            stalled=self.plant.drives.stalled,
            speed_error_mps=speed_error,
            yaw_rate_error_rad_s=yaw_rate_error,
            heading_error_rad=astray_rad,
        )

    def _stride_errors(self, track: Track) -> tuple[float, float]:
        return track.stride_errors(stride_s(self._controller.generator.frequency_hz))

    def _privileged(self) -> NDArray[np.float32]:
        """Return what only a simulator knows: true motion and the drawn plant, for the value."""
        truth, (_, speeds, _) = self._before, self.plant.motor_truth()
        now = [truth.position_m[1:], truth.rpy_rad, truth.velocity_m_s]
        if self._track is not None:  # on a course, where it is and where it looks is nothing to it
            errors = np.array(
                (*self._stride_errors(self._track), self._track.heading_errors_rad[1])
            )
            now = [truth.position_m[2:], truth.rpy_rad[:2], _along_heading(truth), errors]
        return np.concatenate(
            (*now, truth.angular_velocity_rad_s, speeds, self._drawn), dtype=np.float32
        )

    def _metrics(self, fell: bool, dropped: bool) -> dict[str, float]:
        truth, seconds = self._before, self.plant.t_ns * 1e-9
        metrics = {
            "speed_mps": float(truth.position_m[0]) / seconds,
            "distance_m": float(truth.position_m[0]),
            "drift_m": float(truth.position_m[1]),
            "turn_rad": float(truth.rpy_rad[2]),
            "mean_power_w": self.plant.energy_j / seconds,
            "hottest_w": float(self.plant.drives.heat_j.max()) / seconds,
            "fell": float(fell),
            "dropped": float(dropped),
            "seconds": seconds,
            "overheated": float(not self.plant.drives.enabled.all()),
            **{f"reward_{name}": earned for name, earned in self._earned.items()},
        }
        if self._track is not None:
            errors = self._track.errors(self._episode_s)
            forward_m = self._track.forward_m
            metrics.update(distance_m=forward_m, speed_mps=forward_m / seconds)
            metrics.update(dataclasses.asdict(errors))
        return metrics

    def render(self) -> NDArray[np.uint8] | None:
        """Return a picture of the robot in ``rgb_array`` mode; the window draws itself."""
        self._check_open("render")
        return self.plant.camera() if self.render_mode == "rgb_array" else None

    def _close(self) -> None:
        """Release the plant."""
        self.plant.close()


def _robot(
    task: PlantParams,
    overrides: Mapping[str, Value],
    *,
    nominal: Mapping[str, Value],
    randomization: Ranges,
) -> Randomization:
    """Return where the plants of a robot are drawn from."""
    check_ranges(randomization)
    values: dict[str, Any] = {**nominal, **overrides}
    return Randomization(randomization, dataclasses.replace(task, **values))


def _check_overrides(
    params: Mapping[str, Any], robots: Sequence[Ranges], scenes: Sequence[Ranges]
) -> None:
    """Refuse overrides that contradict what is drawn beside them, at either end of the ranges."""
    for ranges in ({**robot, **scene} for robot in robots for scene in (scenes or ({},))):
        for end in (0, 1):
            drawn = {name: checked_range(name, bounds)[end] for name, bounds in ranges.items()}
            dataclasses.replace(PlantParams(), **{**drawn, **params})


def _along_heading(truth: BaseTruth) -> NDArray[np.float64]:
    """Return the speeds ahead and to the left on the floor, shape (2,), m/s."""
    yaw_rad = truth.rpy_rad[2]
    sine, cosine = np.sin(yaw_rad), np.cos(yaw_rad)
    x, y = truth.velocity_m_s[:2]
    return np.array((cosine * x + sine * y, cosine * y - sine * x))
