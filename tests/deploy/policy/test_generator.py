"""The generator of a gait under modulation, against values worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest

from deploy.policy.generator import NUM_MODULATORS, Generator, Modulation

MODULATION = Modulation(
    frequency_hz=1.0,
    extension_amplitude_rad=0.2,
    extension_centre_rad=0.4,
    swing_amplitude_rad=0.1,
    phase=0.125,
    lowpass_hz=1.0,
)
FAST = dataclasses.replace(MODULATION, lowpass_hz=100.0)


def outputs(**values):
    """Outputs of the network by the field of the modulation that each moves."""
    out = np.zeros(NUM_MODULATORS)
    for name, value in values.items():
        place = {
            "frequency_hz": slice(0, 1),
            "extension_amplitude_rad": slice(1, 2),
            "extension_centre_rad": slice(2, 3),
            "swing_amplitude_rad": slice(3, 7),
            "phase": slice(7, 11),
        }[name]
        out[place] = value
    return out


def held(generator, wanted, seconds=1.0):
    """Hold outputs until the low pass has followed; return the time."""
    steps = round(seconds / 0.01)
    for step in range(steps + 1):
        generator.advance(0.01 * step)
        generator.modulate(wanted, 0.01 * step)
    return 0.01 * steps


def test_without_a_modulation_it_is_the_gait_to_the_bit(gait):
    generator = Generator(gait)
    assert generator.modulators.shape == (0,)
    for t_s in (0.0, 0.006, 0.5, 60.0):
        generator.advance(t_s)
        generator.modulate(np.zeros(0), t_s)
        assert generator.phase_rad == gait.phase_rad(t_s)
        np.testing.assert_array_equal(generator.leg_targets(t_s), gait.leg_targets(t_s))


def test_outputs_of_zero_leave_the_gait_as_it_is(gait):
    generator = Generator(gait, MODULATION)
    for step in range(200):
        t_s = 0.006 * step
        generator.advance(t_s)
        generator.modulate(np.zeros(NUM_MODULATORS), t_s)
        np.testing.assert_allclose(generator.leg_targets(t_s), gait.leg_targets(t_s), atol=1e-9)


def test_the_frequency_is_summed_up_to_a_phase(gait):
    # 2 Hz, raised to 3 Hz from the first step on: three cycles in a second, less what the first
    # step of 10 ms, which ran at 2 Hz, lacks.
    generator = Generator(gait, FAST)
    held(generator, outputs(frequency_hz=1.0))
    turned = (2.0 * 0.01 + 3.0 * 0.99) % 1.0
    assert generator.phase_rad / math.tau == pytest.approx(turned, abs=2e-4)


def test_a_sudden_change_of_frequency_moves_no_leg(gait):
    generator = Generator(gait, FAST)
    for step in range(50):
        t_s = 1.0 + 0.001 * step
        generator.advance(t_s)
        before = generator.leg_targets(t_s)
        generator.modulate(outputs(frequency_hz=(-1.0) ** step), t_s)
        np.testing.assert_array_equal(generator.leg_targets(t_s), before)


def test_height_lift_and_stride_by_hand(gait):
    # At a whole period the extension is at its greatest, a quarter later the swing: 2 + 0.4 + 0.35
    # + 0.2 and 0.3 + 0.1, the other diagonal opposite.
    wanted = outputs(
        extension_amplitude_rad=1.0, extension_centre_rad=1.0, swing_amplitude_rad=[1, 1, 1, -1]
    )
    generator = Generator(gait, FAST)
    t_s = held(generator, wanted)
    assert generator.phase_rad % math.tau == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(generator.leg_targets(t_s)[4:], [2.95, 1.85, 1.85, 2.95], atol=1e-3)
    generator.advance(t_s + 0.125)
    np.testing.assert_allclose(
        generator.leg_targets(t_s + 0.125)[:4], [0.4, -0.4, -0.4, 0.2], atol=1e-3
    )


def test_each_leg_has_a_phase_of_its_own(gait):
    # An eighth of a cycle ahead: swing and extension at 45 degrees.
    generator = Generator(gait, FAST)
    t_s = held(generator, outputs(phase=[1.0, 0.0, 0.0, 0.0]))
    legs = generator.leg_targets(t_s)
    assert legs[0] == pytest.approx(0.3 * math.sqrt(0.5), abs=1e-3)
    assert legs[4] == pytest.approx(2.0 + 0.35 * math.sqrt(0.5), abs=1e-3)
    np.testing.assert_allclose(legs[[1, 2, 3, 5, 6, 7]], [0, 0, 0, 1.65, 1.65, 2.35], atol=1e-3)


def test_the_low_pass_by_hand(gait):
    # Steps of ln 2 / (2 pi 1 Hz) halve what is left.
    generator, step_s = Generator(gait, MODULATION), math.log(2.0) / math.tau
    for step, followed in enumerate((0.0, 0.5, 0.75, 0.875)):
        generator.advance(step * step_s)
        generator.modulate(np.ones(NUM_MODULATORS), step * step_s)
        np.testing.assert_allclose(generator.modulators, followed, atol=1e-12)
    generator.reset()
    assert not generator.modulators.any()


def test_a_gait_cannot_be_turned_back(gait):
    problem = dataclasses.replace(MODULATION, frequency_hz=2.5).problem(gait)
    assert problem == "frequency_hz must be at most the gait's 2"
    assert MODULATION.problem(gait) is None
