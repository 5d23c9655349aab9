"""The judgement of short windows: figures, timing, and channels that are wrong in a record."""

import dataclasses

import numpy as np
import pytest
from support.driven_plant import driven_record

from calibration import open_loop
from calibration.open_loop import HORIZONS_MS, OLDER_MS, judge, predictable, reordered, window_count
from calibration.predict import errors_of, predict
from calibration.record import MotorCommands
from calibration.stimulus import stimulus_of
from calibration.windows import cut
from robot_firmware_bridge.robot import MINITAUR
from sim.plant.params import PlantParams


@pytest.fixture(scope="module")
def record(plant):
    return driven_record(plant, PlantParams())


@pytest.fixture(scope="module")
def judged(plant, record):
    plant.reset(PlantParams())
    ticks = []
    judgement, example = judge(record, plant, 12, lambda: ticks.append(None))
    assert len(ticks) == window_count(12)
    return judgement, example


def order(*pairs):
    motors = list(range(8))
    for i, j in pairs:
        motors[i], motors[j] = j, i
    return motors


def test_the_figures_are_those_of_the_windows(plant, record, judged):
    judgement, _ = judged
    plant.reset(PlantParams())
    windows = cut(record, 12)
    found = errors_of(windows, *predict(plant, stimulus_of(record), windows))
    assert judgement.windows == 12
    assert judgement.horizons_ms == HORIZONS_MS
    assert judgement.simulator.angles_rad == pytest.approx(found.rms_position_rad)
    by_hand = np.sqrt(np.mean(found.position_rad[:, 3, 5] ** 2))
    assert judgement.simulator.motors_rad[5] == pytest.approx(by_hand)
    assert judgement.simulator.pitch_rad[-1] == pytest.approx(
        np.sqrt(np.mean(found.rp_rad[:, -1, 1] ** 2))
    )
    held = windows.later_position_rad[:, 3] - windows.position_rad
    assert judgement.holding.angles_rad[3] == pytest.approx(np.sqrt(np.mean(held**2)))
    better = min(judgement.holding.angles_rad[3], judgement.constant_speed.angles_rad[3])
    assert judgement.gain == pytest.approx(better / judgement.simulator.angles_rad[3])


def test_a_plant_knows_its_own_record_and_its_timing(judged):
    judgement, example = judged
    assert judgement.gain > 5.0
    assert judgement.best_older_ms == 0
    assert judgement.older_ms == OLDER_MS
    assert judgement.findings == ()
    assert judgement.runs == ()
    # Predictions are drawn over what was measured.
    row = int(np.argmin(np.abs(example.t_s - example.windows.t_s[0])))
    np.testing.assert_allclose(example.position_rad[row], example.windows.position_rad[0])
    assert example.predicted_rad.shape == (len(example.windows), len(HORIZONS_MS), 8)
    assert np.diff(example.windows.t_s).min() >= 0.1 - 0.011


def test_runs_of_one_record_are_told_apart(plant, record):
    def twice(series):
        values = {}
        for field in dataclasses.fields(series):
            value = getattr(series, field.name)
            if isinstance(value, np.ndarray):
                later = value + 5.0 if field.name == "t_s" else value
                value = np.concatenate((value, later))
            values[field.name] = value
        return type(series)(**values)

    both = dataclasses.replace(
        record,
        motors=twice(record.motors),
        attitude=twice(record.attitude),
        mocap=twice(record.mocap),
    )
    plant.reset(PlantParams())
    judgement, _ = judge(both, plant, 10)
    first, second = judgement.runs
    assert first.windows == second.windows == 5
    assert second.from_s == pytest.approx(first.from_s + 5.0, abs=0.5)
    # Two halves of equal size make the whole.
    mean = np.mean((first.angles_50ms_rad**2, second.angles_50ms_rad**2))
    assert np.sqrt(mean) == pytest.approx(judgement.simulator.angles_rad[3])


@pytest.mark.parametrize(
    ("pairs", "what", "sentence"),
    [
        (
            [(0, 1)],
            "angles",
            "Motor front_leftL moves as front_leftR should: are the angles of the two exchanged?",
        ),
        (
            [(0, 7)],
            "both",
            "Motor front_leftL moves as back_rightR should: are the angles and duties of the two "
            "exchanged?",
        ),
        ([(2, 4), (3, 5)], "both", "The back_left leg moves as the front_right leg should:"),
    ],
)
def test_exchanged_channels_are_named(plant, record, pairs, what, sentence):
    plant.reset(PlantParams())
    swapped = reordered(record, order(*pairs), what)
    (finding,) = open_loop.wrong_channels(swapped, plant, 10)
    assert finding.startswith(sentence)
    # What the error was, and what it would be, are said of the motors in question.
    theirs = sorted({motor for pair in pairs for motor in pair})
    before, after = (
        np.sqrt(np.mean(each[:, theirs] ** 2)) for each in errors_50ms(plant, swapped, record)
    )
    assert f"at 50 ms is {after:.3f} instead of {before:.3f} rad" in finding


@pytest.mark.parametrize("leg", range(4))
def test_a_leg_whose_motors_are_exchanged_is_named_though_it_moves_much_as_it_should(
    plant, record, leg
):
    plant.reset(PlantParams())
    mirrored = reordered(record, order((2 * leg, 2 * leg + 1)), "both")
    # Quick, and without any other suspicion.
    (finding,) = open_loop.channel_findings(mirrored, plant, legs_only=True)
    assert f"the two motors of the {MINITAUR.leg_names[leg]} leg exchanged" in finding


def errors_50ms(plant, *records):
    for each in records:
        windows = cut(each, 50, (50,))
        found = errors_of(windows, *predict(plant, stimulus_of(each), windows))
        yield found.position_rad[:, 0]


def test_a_sign_that_is_turned_round_is_named(plant, record):
    duty = record.motors.duty * np.array((1, 1, 1, -1, 1, 1, 1, 1))
    turned = dataclasses.replace(record, motors=dataclasses.replace(record.motors, duty=duty))
    plant.reset(PlantParams())
    (finding,) = open_loop.channel_findings(turned, plant)
    assert finding.startswith("Motor back_leftR moves against what drives it:")


def test_signs_that_are_all_turned_round_are_one_finding(plant, record):
    motors = dataclasses.replace(record.motors, duty=-record.motors.duty)
    plant.reset(PlantParams())
    (finding,) = open_loop.channel_findings(dataclasses.replace(record, motors=motors), plant)
    assert finding.startswith("All motors move against what drives them:")


def test_a_good_record_of_another_plant_has_no_channel_that_is_wrong(plant, record):
    plant.reset(PlantParams(contact_friction=0.4, motor_strength_scale=0.8))
    assert open_loop.channel_findings(record, plant) == ()


def test_channels_are_reordered_as_told(record):
    commands = MotorCommands(np.zeros(1), np.arange(8.0)[None], np.ones(1), np.zeros(1))
    made = dataclasses.replace(record, commands=commands)
    motors = order((0, 3))
    angles = reordered(made, motors, "angles")
    assert (angles.motors.position_rad[:, 0] == record.motors.position_rad[:, 3]).all()
    assert (angles.motors.velocity_rad_s[:, 3] == record.motors.velocity_rad_s[:, 0]).all()
    assert (angles.motors.duty == record.motors.duty).all()
    duties = reordered(made, motors, "duties")
    assert (duties.motors.duty[:, 0] == record.motors.duty[:, 3]).all()
    assert (duties.motors.position_rad == record.motors.position_rad).all()
    assert duties.commands.target_rad[0].tolist() == [3, 1, 2, 0, 4, 5, 6, 7]


def test_a_record_needs_angles_attitude_and_a_driver(record):
    assert predictable(record)
    assert not predictable(dataclasses.replace(record, attitude=None))
    assert not predictable(dataclasses.replace(record, motors=None))
    undriven = dataclasses.replace(record.motors, duty=None)
    assert not predictable(dataclasses.replace(record, motors=undriven))
