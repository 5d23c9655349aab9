"""What a policy file says about itself, to people and to programs."""

import dataclasses
import json

import pytest
from support.processes import ROOT

from deploy.errors import PolicyError
from deploy.policy.contract import ObservationTerm
from deploy.policy.info import main
from deploy.policy.onnx_policy import OnnxPolicy

STEER = ROOT / "policies" / "steer.onnx"


def printed(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_people_read_every_fact_with_its_unit(capsys):
    text = printed(capsys, STEER)
    facts = dict(line.strip().split("  ", 1) for line in text.splitlines() if "  " in line.strip())
    facts = {name: value.strip() for name, value in facts.items()}
    assert facts["control period"] == "6 ms (167 Hz)"
    assert facts["gains"] == "kp 1 duty/rad, kd 0.015 duty s/rad"
    # 19 * 250 + 251 * 178 + 179 * 8 weights and biases
    assert facts["network"] == "18 - 250 - 178 - 8, 50860 parameters"
    assert facts["SHA-256"] == OnnxPolicy.load(STEER).digest
    assert facts["observation"] == "18 numbers"
    assert facts["gait"] == "walk, 7 Hz, swing 0.02 rad, extension 0.9 +- 0.2 rad"
    assert facts["gait's timing"].startswith(
        "swing 0.2 of a cycle ahead, legs (0, 0.25, 0.5, 0.75)"
    )
    assert facts["steering"] == "swing 0.37 rad per m/s, (-0.35, 0.9, 0.35, -0.9) rad per rad/s"
    assert facts["velocity command"] == "-0.2 to 0.8 m/s, -0.5 to 0.5 rad/s"
    assert (facts["config"], facts["seed"], facts["steps"]) == ("steer", "0", "501933")
    assert "us on this computer" in facts["inference"]


def test_programs_read_the_whole_contract(capsys):
    facts = json.loads(printed(capsys, STEER, "--json"))
    policy = OnnxPolicy.load(STEER)
    assert facts["contract"] == json.loads(policy.contract.to_json())
    assert (facts["sha256"], facts["sizes"]) == (policy.digest, [18, 250, 178, 8])
    assert 0.0 < facts["inference_us"] < 6000.0


def test_what_a_term_does_is_said_and_no_text_of_a_file_commands_the_terminal(
    capsys, write_policy, contract
):
    terms = (ObservationTerm("roll_pitch", scale=2.0, clip=5.0, history=3),)
    text = dataclasses.replace(
        contract, observation=terms, provenance={"run": "a\x1b[2J\nb", "figures": [1, None]}
    ).to_json()
    out = printed(capsys, write_policy(text=text, size=6))
    assert "2, the last 3 control steps, times 2, clipped at 5\n" in out
    assert r"a\x1b[2J\nb" in out
    assert "[1, null]" in out


def test_a_file_that_is_no_policy_is_an_error_of_this_floor(tmp_path):
    with pytest.raises(PolicyError, match="no policy file"):
        main([str(tmp_path / "none.onnx")])
