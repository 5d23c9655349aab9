"""Episodes of the control loop against the emulated board, in lockstep."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from deploy.command_sources import Script
from deploy.loop.loop import ControlLoop
from deploy.loop.modes import Durations
from deploy.loop.reactions import NO_REACTIONS
from deploy.policy.controller import Controller
from deploy.record.clearance import clearance
from deploy.record.flight_log import FlightLog
from deploy.record.metrics import stride_ticks
from deploy.record.thermal import bearable_s, heat_of_torque_w
from robot_firmware_bridge.robot import NUM_MOTORS
from sim.board.lockstep import lockstep, stock_lockstep
from sim.plant.params import PlantParams
from sim.plant.params_file import CalibratedPlant
from sim.plant.randomization import drawn
from sim.plant.registry import make_plant
from training.errors import EvaluationError
from training.evaluation.job import EpisodeResult, Evaluation, cost_of_transport, load_policy
from training.tasks.course import Track, turns
from training.tasks.env import FALLEN_HEIGHT_M


class BoardEvaluator:
    """Runs the control loop against the emulated board, in lockstep."""

    def __init__(self, job: Evaluation, plant: CalibratedPlant | None = None) -> None:
        self._job, self._calibrated = job, plant
        self._contract, self._network = load_policy(job)
        self._course = job.course_of(self._contract)
        self._plant = make_plant(model=job.model)

    def run(self, index: int) -> EpisodeResult:
        """Run episode ``index``: the policy's time of one run of the loop."""
        job, contract = self._job, self._contract
        params = dataclasses.replace(
            drawn(job.randomization, job.seed_of(index), self._calibrated),
            control_step_s=contract.control_period_s,
            **job.surroundings,
        )
        self._plant.reset(params)
        attitudes: list[NDArray[np.float64]] = []
        board = (stock_lockstep if contract.board == "stock" else lockstep)(self._plant)
        loop = ControlLoop(
            board.robot,
            board.clock,
            Controller(contract, self._network),
            Durations(run_s=job.seconds),
            odometry=board.odometry,
            commands=self._course,
            rules=NO_REACTIONS,  # it is the policy that is measured, on every plant alike
            observers=(lambda _: attitudes.append(self._plant.truth().rpy_rad),),
        )
        try:
            loop.run()
        finally:
            board.robot.close()
        if loop.crash is not None:
            raise loop.crash
        cause = "; ".join(fault.detail for fault in loop.faults)
        return board_result(
            index,
            cause,
            loop.log(),
            np.reshape(attitudes, (-1, 3)),
            params,
            self._plant.engine.mass_kg,
            job.seconds,
            self._course,
        )

    def close(self) -> None:
        """Release the plant."""
        self._plant.close()


def board_result(
    index: int,
    cause: str,
    log: FlightLog,
    rpy_rad: NDArray[np.float64],
    params: PlantParams,
    mass_kg: float,
    seconds: float,
    course: Script | None,
) -> EpisodeResult:
    """Compute the result of an episode of ``seconds`` from the flight log of its run.

    Only the policy's own time counts: standing up and arming come before it. A fault while the loop
    stops the robot afterwards ends the episode badly all the same. ``cause`` is what ended the run
    before its time, ``name: detail``; empty for a good run. ``rpy_rad`` is the true attitude after
    each tick, shape (T, 3): the log has what the IMU said. Power is that of the torques and speeds
    that the board reports. ``course`` is None for a policy that takes no velocity command.
    """
    run = log.run
    end = min(run.stop, len(log) - 1)  # the tick that ended RUN, where there is one
    low = np.flatnonzero(log.base_position_m[run.start : end + 1, 2] < FALLEN_HEIGHT_M)
    if run.stop > run.start and low.size:
        end = run.start + int(low[0])
        cause = f"fell: the body is {log.base_position_m[end, 2]:.2f} m above the floor"
    ran = slice(run.start, max(run.start, min(end, run.stop)))
    distance_m = ran_s = power_w = 0.0
    heat_w, off = np.zeros(NUM_MOTORS), None
    drift_m = None if turns(course) else 0.0
    speed_error = yaw_rate_error = None
    if ran.stop > ran.start:
        x, y, _ = log.base_position_m[end] - log.base_position_m[ran.start]
        sine, cosine = math.sin(params.start_heading_rad), math.cos(params.start_heading_rad)
        distance_m, drift_m = float(cosine * x + sine * y), float(cosine * y - sine * x)
        if course is not None:
            track = _track(log, rpy_rad[:, 2], ran.start, end, course)
            errors = track.errors(seconds)
            distance_m, drift_m = track.forward_m, None if turns(course) else drift_m
            speed_error, yaw_rate_error = errors.speed_error_mps, errors.yaw_rate_error_rad_s
        ran_s = float(log.deadline_ns[end] - log.deadline_ns[ran.start]) / 1e9
        power = np.abs(log.motor_torque_nm[ran] * log.motor_velocity_rad_s[ran]).sum(axis=1)
        power_w = float(power.mean())
        heat_w = heat_of_torque_w(log.motor_torque_nm[ran])
        ticks = stride_ticks(log.contract.action.gait, log.period_s)
        off = clearance(log.motor_position_rad[ran], rpy_rad[ran], ticks)
    speed = distance_m / seconds
    return EpisodeResult(
        index=index,
        survived=not cause,
        distance_m=distance_m,
        seconds=ran_s,
        speed_mps=speed,
        mean_power_w=power_w,
        cost_of_transport=cost_of_transport(power_w, mass_kg, speed),
        drift_m=drift_m,
        overheated="OVERHEAT" in cause,
        cause=cause,
        params=dataclasses.asdict(params),
        speed_error_mps=speed_error,
        yaw_rate_error_rad_s=yaw_rate_error,
        bearable_s=bearable_s(heat_w),
        toe_clearance_m=None if off is None else off.toe_m,
        body_clearance_m=None if off is None else off.body_m,
    )


def _track(
    log: FlightLog, yaw_rad: NDArray[np.float64], start: int, end: int, course: Script
) -> Track:
    """Return motion and velocity command from one tick to another, at least one later."""
    contract = log.contract
    if contract.velocity_command is None:
        raise EvaluationError("the policy takes no velocity command, and has no course to walk")
    where, spec, action = log.base_position_m, contract.velocity_command, contract.action
    track = Track(course, spec, action, where[start], yaw_rad[start])
    for tick in range(start, end):
        t_s = float(log.deadline_ns[tick + 1] - log.deadline_ns[start]) / 1e9
        track.add(t_s, where[tick + 1], yaw_rad[tick + 1], log.velocity_command[tick])
    return track
