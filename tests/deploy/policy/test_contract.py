"""The contract: exact on the way out, strict on the way in."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.edits import edited
from support.states import standing

from deploy.errors import ContractError
from deploy.policy.contract import Contract, ObservationTerm
from deploy.policy.controller import Controller
from deploy.policy.generator import Modulation
from deploy.policy.pipeline import MAX_OBSERVATION_SIZE
from deploy.policy.velocity_command import VelocityCommandSpec
from robot_firmware_bridge.robot import MINITAUR
from training.tasks.gaits import WALK


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scale=st.floats(-1e3, 1e3),
    clip=st.none() | st.floats(1e-6, 1e6),
    hz=st.floats(0.0, 1e3),
    numbers=st.tuples(*[st.floats(-3.2, 3.2)] * 8),
)
def test_every_number_survives_exactly(contract, scale, clip, hz, numbers):
    action = dataclasses.replace(contract.action, scale_rad=numbers, lowpass_hz=hz)
    term = ObservationTerm("roll_pitch", scale, clip, 3)
    before = dataclasses.replace(contract, observation=(term,), action=action)
    assert Contract.from_json(before.to_json()) == before


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("kp", ...), "contract lacks fields: kp"),
        (("colour", "red"), "contract has unknown fields: colour"),
        (("kp", "1"), "contract.kp must be float, is str"),
        (("kp", True), "contract.kp must be float, is bool"),
        (("kd", float("nan")), "contract.kd must be finite"),
        (("kp", -1.0), r"contract.kp must be in \[0, 4\] \(max_kp of the board\), is -1.0"),
        (("kp", 100), r"contract.kp must be in \[0, 4\] \(max_kp of the board\), is 100.0"),
        (("kd", 100.0), r"contract.kd must be in \[0, 0.1\] \(max_kd of the board\), is 100.0"),
        (("control_period_s", 0.0), r"control_period_s must be in \[0.001, 0.1\], is 0.0"),
        (("control_period_s", float("inf")), "control_period_s must be finite"),
        (("observation", []), "contract.observation must have 1 to 32 values, has 0"),
        (("observation", 0, "history", 10**18), r"history must be in \[1, 100\], is 10{18}$"),
        (("observation", 0, "history", 10**300), r"history must be in \[1, 100\], is 1e\+300"),
        (("observation", 0, "clip", -1.0), r"observation\[0\].clip must be in \[1e-06, 1e\+06\]"),
        (
            ("action", "scale_rad", [1e9] * 8),
            r"scale_rad\[0\] must be in \[-3.2, 3.2\], is 10{9}.0",
        ),
        (
            ("action", "gait", "frequency_hz", 1e308),
            r"frequency_hz must be in \[0, 20\], is 1e\+308",
        ),
        (("action", "gait", "frequency_hz", 1e9), r"frequency_hz must be in \[0, 20\]"),
        (("action", "gait", "swing_lead", 1e308), r"swing_lead must be in \[-1, 1\], is 1e\+308"),
        (("action", "gait", "ramp_s", -1.0), r"ramp_s must be in \[0, 60\], is -1.0"),
        (("robot_hash", "a\nb"), "robot_hash must have 64 characters, has 3"),
        (("a\nb", 1), r"contract has unknown fields: a\\nb"),
        (("observation", "roll_pitch"), "contract.observation must be a list"),
        (("observation", 0, "history", 1.5), r"observation\[0\].history must be int"),
        (("observation", 0, "scale", ...), r"observation\[0\] lacks fields: scale"),
        (("action", "scale_rad", [0.1] * 7), "scale_rad must have 8 values"),
        (("action", "gait", "leg_phase", [0.0] * 3), "leg_phase must have 4 values, has 3"),
        (("action", "gait", None), "contract.action.gait must be an object"),
        (("action", "asymmetry", 1.5), r"asymmetry must be in \[0, 1\], is 1.5"),
        (("format", "minitaur-policy/1"), "format is 'minitaur-policy/1'.*export the policy again"),
    ],
)
def test_what_is_wrong_is_named(contract, edit, message):
    with pytest.raises(ContractError, match=message):
        Contract.from_json(edited(contract.to_json(), *edit))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "{}"])
def test_what_is_no_contract_is_refused(text):
    with pytest.raises(ContractError):
        Contract.from_json(text)


@given(st.text())
def test_garbage_raises_nothing_but_a_contract_error(text):
    with pytest.raises(ContractError):
        Contract.from_json(text)


def test_a_number_of_5000_digits_and_hostile_nesting_are_refused(contract):
    for text in ("9" * 5000, "[" * 100_000 + "]" * 100_000):
        whole = contract.to_json().replace('"provenance": {}', f'"provenance": {{"a": {text}}}')
        with pytest.raises(ContractError, match=r"contract (is not JSON|is nested)") as caught:
            Contract.from_json(whole)
        assert "\n" not in str(caught.value)


def test_an_observation_of_too_many_numbers_is_refused(contract):
    terms = (ObservationTerm("motor_offset", history=100),) * 6
    with pytest.raises(ContractError, match=f"has 4800 numbers, at most {MAX_OBSERVATION_SIZE}"):
        Controller(dataclasses.replace(contract, observation=terms))


MODULATION = Modulation(2.0, 0.3, 0.5, 0.4, 0.15, lowpass_hz=2.0)


def paths(data, path=()):
    """Every place in JSON data."""
    yield path
    keys = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    for key in keys:
        yield from paths(data[key], (*path, key))


def controller_or_error(text):
    try:
        return Controller(Contract.from_json(text))
    except ContractError as error:
        return error


absurd = st.sampled_from(
    [1e308, -1e308, 1e9, -1e-9, 5e-324, 10**18, 10**300, -1, 0, "a\nb", "\ud800"]
)
numbers = st.floats(-4.0, 4.0) | st.floats(0.0, 1.0) | st.floats() | st.integers() | absurd
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.randoms(), numbers | anything), min_size=1, max_size=4))
def test_whatever_is_changed_a_contract_is_refused_or_runs_within_the_limits(contract, edits):
    """A contract that loads gives finite targets within the motors' range for a minute."""
    whole = steered(dataclasses.replace(contract, provenance={"seed": 1}))
    action = dataclasses.replace(whole.action, modulation=MODULATION)
    whole = dataclasses.replace(whole, action=action)
    data = json.loads(whole.to_json())
    for random, value in edits:
        *path, last = random.choice([path for path in paths(data) if path])
        at = data
        for key in path:
            at = at[key]
        at[last] = value
    controller = controller_or_error(json.dumps(data))
    if isinstance(controller, ContractError):
        assert len(str(controller)) < 600
        assert str(controller).isprintable()
        return
    action = controller.contract.action
    low, high = MINITAUR.motor_limits_rad
    controller.requested_velocity = (9.0, -9.0)
    for tick, t_s in enumerate(np.linspace(0.0, 60.0, 97).tolist()):
        assert np.abs(action.gait.leg_targets(t_s, controller.velocity_command)).max() < 1e3
        state = standing(angular_rate_rad_s=np.full(3, 3.0 * (tick % 2)))
        assert np.isfinite(controller.observe(state, t_s)).all()
        target = controller.targets(np.full(action.size, (-1.0) ** tick, np.float32), t_s)
        sent = controller.limit(target)
        assert (low <= sent).all()
        assert (sent <= high).all()


def test_another_motor_order_or_robot_is_refused(contract):
    swapped = dataclasses.replace(contract, motor_names=MINITAUR.motor_names[::-1])
    with pytest.raises(ContractError, match="motor_names differ"):
        swapped.check_robot(MINITAUR)
    with pytest.raises(ContractError, match="robot_hash differs"):
        contract.check_robot(dataclasses.replace(MINITAUR, kp=MINITAUR.kp * 1.01))


def steered(contract):
    action = dataclasses.replace(contract.action, gait=WALK)
    spec = VelocityCommandSpec((-0.1, 0.7), (-0.3, 0.4), 1 / 3, 1.0)
    return dataclasses.replace(contract, action=action, velocity_command=spec)


def test_velocity_commands_and_provenance_survive_exactly(contract):
    provenance = {"config": "trot", "seed": 3, "figures": [0.1]}
    whole = dataclasses.replace(steered(contract), provenance=provenance)
    again = Contract.from_json(whole.to_json())
    assert (again, again.provenance) == (whole, provenance)


def fields(value):
    """Every field of a value and of the values in it, by its path."""
    if not dataclasses.is_dataclass(value):
        return
    for field in dataclasses.fields(value):
        yield (field.name,)
        yield from ((field.name, *path) for path in fields(getattr(value, field.name)))


def modulated(contract):
    whole = steered(contract)
    return dataclasses.replace(
        whole, action=dataclasses.replace(whole.action, modulation=MODULATION)
    )


def test_a_modulation_fits_its_gait(contract):
    text = modulated(contract).to_json()
    with pytest.raises(ContractError, match="frequency_hz must be at most the gait's 7"):
        Contract.from_json(edited(text, "action", "modulation", "frequency_hz", 7.5))
    with pytest.raises(ContractError, match="modulation lacks fields: phase"):
        Contract.from_json(edited(text, "action", "modulation", "phase", ...))


def test_every_field_is_written_and_no_other_may_be_left_out(contract):
    for path in fields(steered(contract)):
        message = "format is None" if path == ("format",) else rf"lacks fields: {path[-1]}$"
        with pytest.raises(ContractError, match=message):
            Contract.from_json(edited(steered(contract).to_json(), *path, ...))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("velocity_command", None), "steering needs contract.velocity_command, which is null"),
        (("velocity_command", "speed_mps", [0.2, 0.7]), "command.speed_mps must include 0"),
        (("velocity_command", "yaw_rate_rad_s", [0.5, -0.5]), "yaw_rate_rad_s must include 0"),
        (("velocity_command", "speed_mps", [0.2]), r"command.speed_mps must have 2 values"),
        (
            ("velocity_command", "speed_slew_mps2", 0.0),
            r"speed_slew_mps2 must be in \[0.001, 1000\]",
        ),
        (("velocity_command", "yaw_rate_slew_rad_s2", -1.0), "yaw_rate_slew_rad_s2 must be in"),
        (("action", "gait", "steering", "per_speed_rad", [0.1] * 3), "must have 4 values"),
    ],
)
def test_wrong_commands_are_named(contract, edit, message):
    with pytest.raises(ContractError, match=message):
        Contract.from_json(edited(steered(contract).to_json(), *edit))
