"""The contract: exact on the way out, strict on the way in."""

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.edits import edited

from deploy.errors import ContractError
from deploy.policy.contract import Contract, ObservationTerm
from deploy.policy.velocity_command import VelocityCommandSpec
from robot_firmware_bridge.robot import MINITAUR
from training.tasks.gaits import WALK

finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scale=finite, clip=st.none() | finite, hz=finite, numbers=st.tuples(*[finite] * 8))
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
        (("kp", -1.0), "must not be negative"),
        (("control_period_s", 0.0), "control_period_s must be positive"),
        (("control_period_s", float("inf")), "control_period_s must be finite"),
        (("observation", []), "one term or more"),
        (("observation", "roll_pitch"), "contract.observation must be a list"),
        (("observation", 0, "history", 1.5), r"observation\[0\].history must be int"),
        (("observation", 0, "scale", ...), r"observation\[0\] lacks fields: scale"),
        (("action", "scale_rad", [0.1] * 7), "scale_rad must have 8 values"),
        (("action", "gait", "leg_phase", [0.0] * 3), "leg_phase must have 4 values, has 3"),
        (("action", "gait", None), "contract.action.gait must be an object"),
        (("action", "asymmetry", 1.5), r"asymmetry must be in \[0, 1\]"),
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


def test_every_field_is_written_and_none_may_be_left_out(contract):
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
        (("velocity_command", "speed_slew_mps2", 0.0), r"speed_slew_mps2 must be positive"),
        (("velocity_command", "yaw_rate_slew_rad_s2", -1.0), "yaw_rate_slew_rad_s2 must be posi"),
        (("action", "gait", "steering", "per_speed_rad", [0.1] * 3), "must have 4 values"),
    ],
)
def test_wrong_commands_are_named(contract, edit, message):
    with pytest.raises(ContractError, match=message):
        Contract.from_json(edited(steered(contract).to_json(), *edit))
