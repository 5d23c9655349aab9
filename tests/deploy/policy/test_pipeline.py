"""The pipeline that trains and deploys: golden numbers worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest
from support.states import standing

from deploy.errors import ContractError
from deploy.policy.contract import ObservationTerm
from deploy.policy.pipeline import RESOLUTION, TERMS, Pipeline, term_resolution
from deploy.policy.velocity_command import VelocityCommandSpec
from robot_firmware_bridge.geometry import motor_to_leg
from training.tasks.gaits import WALK
from training.tasks.minitaur import walk_task


def state(roll=0.0, pitch=0.0, rates=(0.0, 0.0, 0.0), motors=2.0):
    return standing(
        motor_position_rad=np.broadcast_to(motors, 8).copy(),
        rpy_rad=np.array((roll, pitch, 1.0)),
        angular_rate_rad_s=np.array(rates),
    )


def with_terms(contract, *terms):
    return dataclasses.replace(contract, observation=terms)


def with_action(contract, **changes):
    return dataclasses.replace(contract, action=dataclasses.replace(contract.action, **changes))


def test_every_term_has_a_resolution_in_the_unit_of_the_observation(contract):
    assert RESOLUTION.keys() == TERMS.keys()
    terms = ObservationTerm("roll_pitch", scale=-2.0), ObservationTerm("orientation", history=2)
    seen = term_resolution(with_terms(contract, *terms))
    np.testing.assert_allclose(seen, [0.04, 0.04, *(0.01, 0.01, 0.01, 5e-4) * 2], rtol=1e-12)


def test_terms_stand_in_order_scaled_and_clipped(contract):
    terms = (
        ObservationTerm("roll_pitch_rate", scale=0.5, clip=1.0),
        ObservationTerm("roll_pitch", scale=2.0),
        ObservationTerm("motor_offset", scale=10.0),
    )
    pipeline = Pipeline(with_terms(contract, *terms))
    seen = pipeline.observe(state(0.1, -0.2, (1.0, -8.0, 99.0), motors=2.05), 0.0)
    np.testing.assert_allclose(seen, [0.5, -1.0, 0.2, -0.4, *[0.5] * 8], rtol=1e-6)
    assert seen.dtype == np.float32


def test_history_is_newest_first_and_starts_full(contract):
    pipeline = Pipeline(with_terms(contract, ObservationTerm("roll_pitch", history=3)))

    def seen(roll, pitch, t_s):
        return pipeline.observe(state(roll, pitch), t_s).tolist()

    assert seen(0.1, 0.2, 0.0) == pytest.approx([0.1, 0.2] * 3)
    assert seen(0.3, 0.4, 0.006) == pytest.approx([0.3, 0.4, 0.1, 0.2, 0.1, 0.2])
    assert seen(0.5, 0.6, 0.012) == pytest.approx([0.5, 0.6, 0.3, 0.4, 0.1, 0.2])
    pipeline.reset()
    assert seen(0.7, 0.8, 0.0) == pytest.approx([0.7, 0.8] * 3)


def test_a_history_may_skip_control_steps(contract):
    term = ObservationTerm("roll_pitch", history=3, every=2)
    pipeline = Pipeline(with_terms(contract, term))
    seen = [pipeline.observe(state(0.1 * k), 0.006 * k)[::2].tolist() for k in range(6)]
    assert seen[0] == pytest.approx([0.0, 0.0, 0.0])
    assert seen[1] == pytest.approx([0.1, 0.0, 0.0], abs=1e-7)
    assert seen[4] == pytest.approx([0.4, 0.2, 0.0], abs=1e-7)
    assert seen[5] == pytest.approx([0.5, 0.3, 0.1], abs=1e-7)


def test_the_heading_error_adds_up_less_what_is_commanded_and_is_bounded():
    pipeline = Pipeline(with_terms(walk_task().contract, ObservationTerm("heading_error")))

    def seen(rates, ticks, since=0, roll=0.0):
        each = [
            pipeline.observe(state(roll, rates=rates), 0.01 * (since + tick)).item()
            for tick in range(1, ticks + 1)
        ]
        return each[-1]

    pipeline.observe(state(), 0.0)
    assert seen((0.0, 0.0, 0.4), 10) == pytest.approx(0.04)
    # Rolled by 90 degrees, a turn about the body's y axis is one about the vertical.
    assert seen((0.0, 0.4, 9.0), 10, 10, roll=math.pi / 2) == pytest.approx(0.08)
    assert seen((0.0, 0.0, 9.0), 20, 20) == 0.5
    assert seen((0.0, 0.0, -1.0), 10, 40) == pytest.approx(0.4)
    # The command slews to 0.2 rad/s within 20 ticks, at 1 rad/s^2: in all 0.021 rad.
    pipeline.requested_velocity = (0.0, 0.2)
    assert seen((0.0, 0.0, 0.0), 20, 50) == pytest.approx(0.379)
    assert seen((0.0, 0.0, 0.2), 100, 70) == pytest.approx(0.379)


def test_unrest_is_the_mean_turn_rate_of_the_last_second(contract):
    pipeline = Pipeline(with_terms(contract, ObservationTerm("unrest")))
    shaking, still = state(rates=(0.3, -0.4, 9.0)), state()  # 0.5 rad/s, however it turns
    assert pipeline.observe(shaking, 0.0).item() == 0.0
    for step in range(1, 101):
        seen = pipeline.observe(shaking, 0.01 * step).item()
    assert seen == pytest.approx(0.5 * (1.0 - math.exp(-1.0)))
    for step in range(101, 201):
        later = pipeline.observe(still, 0.01 * step).item()
    assert later == pytest.approx(seen * math.exp(-1.0))


def test_gait_clock_shows_the_phase(contract, gait):
    clocked = with_terms(contract, ObservationTerm("gait_clock"))
    pipeline = Pipeline(with_action(clocked, gait=gait))
    # 2 Hz: a twelfth of the period is 1/24 s, where sine is 1/2.
    seen = pipeline.observe(state(), 1.0 / 24.0)
    np.testing.assert_allclose(seen, [0.5, math.sqrt(0.75)], rtol=1e-6)


def test_last_action_is_the_clipped_one_before(contract):
    pipeline = Pipeline(with_terms(contract, ObservationTerm("last_action")))
    assert pipeline.observe(state(), 0.0).tolist() == [0.0] * 8
    pipeline.targets(np.array([2.0, -3.0, 0.5, 0, 0, 0, 0, 0]), 0.0)
    assert pipeline.observe(state(), 0.006).tolist() == [1.0, -1.0, 0.5, 0, 0, 0, 0, 0]


def test_targets_by_hand(contract):
    # Swing 0.25 * 0.4 = 0.1 and extension 2 + 0.1 on every leg, left legs L = e - s.
    targets = Pipeline(contract).targets(np.full(8, 0.4), 0.0)
    np.testing.assert_allclose(targets, [2.0, 2.2, 2.0, 2.2, 2.2, 2.0, 2.2, 2.0])


def test_feedback_is_added_to_the_reference_of_that_time(contract, gait):
    # A quarter period into a grown trot: swing +-0.3 by diagonal; extension 2 + 0.25 * 1.
    feedback = np.array([0, 0, 0, 0, 1.0, 1.0, 1.0, 1.0])
    targets = Pipeline(with_action(contract, gait=gait)).targets(feedback, 0.625)
    np.testing.assert_allclose(targets, [1.95, 2.55, 2.55, 1.95, 1.95, 2.55, 2.55, 1.95])


def test_leg_limits_bound_every_target(contract):
    targets = Pipeline(with_action(contract, scale_rad=(9.0,) * 8)).targets(np.ones(8), 0.0)
    # Swing is held to 1, extension to 2.8.
    np.testing.assert_allclose(targets, [1.8, 3.8, 1.8, 3.8, 3.8, 1.8, 3.8, 1.8])


def test_lowpass_by_hand(contract):
    pipeline = Pipeline(with_action(contract, lowpass_hz=10.0))
    ones = np.array([0, 0, 0, 0, 1.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(pipeline.targets(ones, 0.0), 2.0)  # no time has passed
    keep = math.exp(-2.0 * math.pi * 10.0 * 0.006)
    np.testing.assert_allclose(pipeline.targets(ones, 0.006), 2.0 + 0.25 * (1.0 - keep))
    np.testing.assert_allclose(pipeline.targets(ones, 0.012), 2.0 + 0.25 * (1.0 - keep**2))
    np.testing.assert_allclose(pipeline.targets(ones, 9.0), 2.25)


def test_the_same_inputs_give_the_same_bits_after_a_reset(contract, gait):
    terms = (ObservationTerm("roll_pitch", history=2), ObservationTerm("last_action"))
    pipeline = Pipeline(with_action(with_terms(contract, *terms), lowpass_hz=7.0, gait=gait))
    rng = np.random.default_rng(0)
    actions = rng.normal(size=(20, 8))

    def run():
        pipeline.reset()
        out = []
        for k, action in enumerate(actions):
            seen = pipeline.observe(state(action[0], action[1]), 0.006 * k).copy()
            out.append(np.concatenate((seen, pipeline.targets(action, 0.006 * k))))
        return np.array(out)

    np.testing.assert_array_equal(run(), run())


def test_the_callers_action_is_left_alone(contract):
    action = np.full(8, 5.0)
    Pipeline(contract).targets(action, 0.0)
    assert (action == 5.0).all()


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (ObservationTerm("roll_pich"), "did you mean 'roll_pitch'"),
        (ObservationTerm("roll_pitch", history=0), "history 0"),
        (ObservationTerm("velocity_command"), "command' needs contract.velocity_command"),
    ],
)
def test_an_impossible_term_is_refused(contract, term, message):
    with pytest.raises(ContractError, match=message):
        Pipeline(with_terms(contract, term))


def test_sizes_in_the_table_are_true():
    for name, (size, _) in TERMS.items():
        contract = with_terms(walk_task().contract, ObservationTerm(name, history=2))
        pipeline = Pipeline(contract)
        assert len(pipeline.observe(state(), 0.0)) == pipeline.observation_size == 2 * size


def test_recent_turn_adds_up_and_is_forgotten(contract):
    pipeline = Pipeline(with_terms(contract, ObservationTerm("recent_turn")))
    turning, still = state(rates=(9.0, 9.0, 0.5)), state()
    assert pipeline.observe(turning, 0.0).item() == 0.0
    for step in range(1, 11):
        seen = pipeline.observe(turning, 0.01 * step).item()
    # Ten steps of 5 mrad, each forgotten with a time constant of 2 s.
    assert seen == pytest.approx(sum(0.005 * math.exp(-0.005 * k) for k in range(10)), rel=1e-5)
    assert pipeline.observe(still, 2.1).item() == pytest.approx(seen * math.exp(-1.0), rel=1e-5)
    pipeline.reset()
    assert pipeline.observe(turning, 0.0).item() == 0.0


def test_recent_turn_does_not_depend_on_the_control_step(contract):
    turned = []
    for step_s in (0.003, 0.012):
        pipeline = Pipeline(with_terms(contract, ObservationTerm("recent_turn")))
        for k in range(round(1.2 / step_s) + 1):
            seen = pipeline.observe(state(rates=(0.0, 0.0, 0.3)), k * step_s).item()
        turned.append(seen)
    assert turned[0] == pytest.approx(turned[1], rel=0.01)


@pytest.mark.parametrize(("asymmetry", "apart"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_left_and_right_legs_are_drawn_together(contract, asymmetry, apart):
    pipeline = Pipeline(with_action(contract, scale_rad=(0.1,) * 8, asymmetry=asymmetry))
    #                 swing FL BL FR BR, then extension
    wanted = np.array([1.0, 0.2, 0.0, -0.2, -1.0, 0.5, 1.0, 0.5])
    leg = (motor_to_leg(pipeline.targets(wanted, 0.0)) - [0, 0, 0, 0, 2, 2, 2, 2]) / 0.1
    for left, right in ((0, 2), (1, 3), (4, 6), (5, 7)):
        assert leg[left] + leg[right] == pytest.approx(wanted[left] + wanted[right], abs=1e-9)
        difference = apart * (wanted[left] - wanted[right])
        assert leg[left] - leg[right] == pytest.approx(difference, abs=1e-9)


def test_motor_speeds_and_torques_are_the_controllers(contract):
    speeds, torques = np.linspace(-8.0, 6.0, 8), np.linspace(0.1, 2.2, 8)
    moving = standing(motor_velocity_rad_s=speeds, motor_torque_nm=torques)
    terms = (ObservationTerm("motor_torque"), ObservationTerm("motor_velocity"))
    seen = Pipeline(with_terms(contract, *terms)).observe(moving, 0.0)
    np.testing.assert_allclose(seen, [*torques, *speeds], rtol=1e-6)


def turned(*rpy_rad):
    return standing(rpy_rad=np.array(rpy_rad))


def test_orientation_by_hand(contract):
    """Quaternions (x, y, z, w) of quarter turns, to the heading of the first observation."""
    pipeline = Pipeline(with_terms(contract, ObservationTerm("orientation")))
    half = math.sqrt(0.5)
    quarter = 0.5 * math.pi
    for start, (roll, pitch, yaw), expected in (
        (2.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
        (3.0, (quarter, 0.0, 0.0), (half, 0.0, 0.0, half)),
        (2.0, (0.0, quarter, 0.0), (0.0, half, 0.0, half)),
        (1.0, (0.0, 0.0, quarter), (0.0, 0.0, half, half)),
        # Yaw, then roll about the body's own x axis: (z q)(x q) has all components alike.
        (2.0, (quarter, 0.0, quarter), (0.5, 0.5, 0.5, 0.5)),
    ):
        pipeline.reset()
        first = pipeline.observe(turned(0.0, 0.0, start), 0.0)
        np.testing.assert_allclose(first, (0.0, 0.0, 0.0, 1.0))
        seen = pipeline.observe(turned(roll, pitch, start + yaw), 0.01)
        np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_a_command_follows_a_request_no_faster_than_the_contract_lets_it(contract):
    spec = VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), 0.8, 1.0)
    terms = with_terms(contract, ObservationTerm("velocity_command"))
    gait = dataclasses.replace(WALK, extension_centre_rad=1.2)  # within the legs' limits
    steered = dataclasses.replace(with_action(terms, gait=gait), velocity_command=spec)
    pipeline = Pipeline(steered)
    pipeline.requested_velocity = (0.4, -9.0)
    assert pipeline.observe(state(), 0.0).tolist() == [0.0, 0.0]
    np.testing.assert_allclose(pipeline.observe(state(), 0.1), (0.08, -0.1), rtol=1e-6)
    np.testing.assert_allclose(pipeline.observe(state(), 1.1), (0.4, -0.5), rtol=1e-6)
    leg = motor_to_leg(pipeline.targets(np.zeros(8), 1.1))
    np.testing.assert_allclose(leg, gait.leg_targets(1.1, np.array((0.4, -0.5))), atol=1e-12)
    pipeline.reset()
    assert pipeline.observe(state(), 0.5).tolist() == [0.0, 0.0]
