"""Records that a plant writes of itself: of a robot whose every parameter is known."""

import numpy as np

from calibration.record import (
    AttitudeSeries,
    Board,
    FootCommands,
    MotionCapture,
    MotorSeries,
    Record,
    Source,
)
from calibration.windows import leg_length_m
from robot_firmware_bridge.geometry import LEG_TO_MOTOR, MOTOR_TO_LEG, rotation_from_quaternion

STEP = 10  # milliseconds between two samples


def driven_record(plant, params, seconds=1.2):
    """The record of a trot in place by a controller that changes duties linearly over 10 ms.

    So duties between two samples are known exactly. Angles and attitude are those that the
    controller sees, ``pd_latency_s`` old.
    """
    plant.reset(params)
    states, duties, duty = [_state(plant)], [np.zeros(8)], np.zeros(8)
    for knot in range(round(seconds * 1e3) // STEP):
        position, velocity, _ = plant.motor_truth()
        wanted = 0.8 * (_trot(1e-3 * STEP * (knot + 1)) - position) - 0.02 * velocity
        wanted = np.clip(wanted, -1.0, 1.0)
        for tick in range(STEP):
            plant.drive(duty + (tick + 0.5) / STEP * (wanted - duty))
            states.append(_state(plant))
        duty = wanted
        duties.append(duty)
    late = round(1e3 * params.pd_latency_s)
    rows = np.maximum(0, STEP * np.arange(len(duties)) - late)
    position, velocity, rpy, rate, where = (
        np.array(each) for each in zip(*(states[row] for row in rows), strict=True)
    )
    t_s, ok = 1e-3 * STEP * np.arange(len(duties)), np.ones(len(duties), bool)
    return Record(
        source=Source.of("driven.log", b"driven", Board.MAINBOARD),
        motors=MotorSeries(t_s, ok, position, velocity_rad_s=velocity, duty=np.array(duties)),
        attitude=AttitudeSeries(t_s, ok.copy(), rpy, rate),
        mocap=MotionCapture(t_s, where),
    )


def _state(plant):
    body, (position, velocity, _) = plant.truth(), plant.motor_truth()
    rate = rotation_from_quaternion(body.quaternion).T @ body.angular_velocity_rad_s
    return position, velocity, body.rpy_rad, rate, body.position_m


def _trot(t_s):
    phase = 2.0 * np.pi * (2.0 * t_s + np.array((0.0, 0.5, 0.5, 0.0)))
    # Legs that the others do not mirror, so that no two motors do the same.
    swing = np.array((0.25, 0.2, 0.3, 0.15)) * np.sin(phase) + 0.05
    extension = 1.9 + np.array((0.25, 0.35, 0.3, 0.2)) * np.maximum(0.0, np.cos(phase))
    return LEG_TO_MOTOR @ np.concatenate((swing, extension))


def foot_commands(seconds=1.5):
    """Feet that stand, then step in pairs of diagonal legs, 200 commands a second."""
    t_s = np.arange(0.0, seconds, 0.005)
    phase = 2.0 * np.pi * (2.0 * t_s[:, None] + np.array((0.0, 0.5, 0.5, 0.0)))
    begun = np.minimum(1.0, 2.0 * t_s)[:, None]
    x_m = 0.17 - 0.03 * begun * np.maximum(0.0, np.cos(phase))
    return FootCommands(t_s, x_m, 0.03 * begun * np.sin(phase))


def foot_duty(gains, x_m, y_m, position, velocity):
    """The duties of the foot board's law, leg by leg: a slow reference."""
    duty = np.zeros(8)
    leg, rate = MOTOR_TO_LEG @ position, MOTOR_TO_LEG @ velocity
    for i in range(4):
        swing, extension = leg[i], leg[4 + i]
        length = float(leg_length_m(np.array([extension]), gains)[0][0])
        beyond = float(leg_length_m(np.array([extension + 1e-6]), gains)[0][0])
        slope = (beyond - length) / 1e-6
        wanted, turned = np.hypot(x_m[i], y_m[i]), np.arctan2(-y_m[i], x_m[i])
        push = slope * (gains.length_kp * (wanted - length) - gains.length_kd * slope * rate[4 + i])
        turn = gains.angle_kp * (turned - swing) - gains.angle_kd * rate[i]
        side = 1.0 if i < 2 else -1.0
        duty[2 * i] = push - side * turn
        duty[2 * i + 1] = push + side * turn
    return np.clip(duty, -0.7, 0.7)
