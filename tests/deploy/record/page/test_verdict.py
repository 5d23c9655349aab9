import pytest

from deploy.loop.safety import STOPS
from deploy.record.page.verdict import bearable_words, run_verdict
from robot_firmware_bridge.messages import Fault

GOOD = {
    "robot": "serial",
    "seconds": 10.0,
    "distance_m": 9.31,
    "heading_speed_mps": 0.94,
    "yaw_rate_error_rad_s": None,
    "faults": [],
    "interrupted": False,
    "setup": {"dry_run": False},
}


@pytest.mark.parametrize(
    ("changed", "sentence", "tone"),
    [
        ({}, "The robot walked 9.3 m in 10.0 s, no fault.", "good"),
        ({"robot": "sim"}, "The simulated robot walked 9.3 m in 10.0 s, no fault.", "good"),
        ({"yaw_rate_error_rad_s": 0.1}, "The robot walked 9.4 m in 10.0 s, no fault.", "good"),
        ({"distance_m": 0.031}, "The robot came 0.03 m ahead in 10.0 s, no fault.", "good"),
        ({"distance_m": -0.8}, "The robot went 0.8 m backwards in 10.0 s, no fault.", "good"),
        ({"distance_m": None}, "The robot came an unknown way in 10.0 s, no fault.", "good"),
        (
            {"interrupted": True},
            "The robot walked 9.3 m in 10.0 s, until somebody stopped it; no fault.",
            "plain",
        ),
        (
            {"faults": ["battery_low"], "seconds": 3.14},
            "The robot stopped after 3.1 s: its battery was low (battery_low). "
            "Until then it walked 9.3 m.",
            "bad",
        ),
        (
            {"faults": ["pose_out_of_range"], "seconds": 0.0},
            "The robot did not start: a leg was where none can be (pose_out_of_range).",
            "bad",
        ),
        (
            {"faults": ["robot_fault"], "fault_details": ["robot_fault: it reports OVERHEAT"]},
            "The robot stopped after 10.0 s: a motor got too hot (robot_fault). "
            "Until then it walked 9.3 m.",
            "bad",
        ),
        (
            {"faults": ["news"]},
            "The robot stopped after 10.0 s: a check stopped it (news). "
            "Until then it walked 9.3 m.",
            "bad",
        ),
        (
            {"setup": {"dry_run": True}},
            "Dry run, no motor was commanded: the robot walked 9.3 m in 10.0 s, no fault.",
            "good",
        ),
        (
            {"faults": None},
            "The robot walked 9.3 m in 10.0 s; how that ended is not known.",
            "plain",
        ),
    ],
)
def test_the_sentence(changed, sentence, tone):
    verdict = run_verdict({**GOOD, **changed})
    assert (verdict.sentence, verdict.tone) == (sentence, tone)


def test_the_advice_has_the_reports_own_line_and_what_to_do():
    details = ["battery_low: 12.1 V, bound 12.7 V: charge the battery"]
    verdict = run_verdict({**GOOD, "faults": ["battery_low"], "fault_details": details})
    assert verdict.advice == f"{details[0]}. Charge the battery."


def test_every_fault_has_plain_words():
    """Those in the table of the safety checks, and those of the motor controller."""
    for name in [stop.name for stop in STOPS]:
        verdict = run_verdict({**GOOD, "faults": [name]})
        assert "a check stopped it" not in verdict.sentence
    for fault in list(Fault):
        details = [f"robot_fault: the motor controller reports {fault.name}"]
        verdict = run_verdict({**GOOD, "faults": ["robot_fault"], "fault_details": details})
        assert "switched the motors off" not in verdict.sentence


@pytest.mark.parametrize(
    ("seconds", "words"), [(17.4, "17 s"), (780.0, "13 min"), (3600.0, "an hour or more")]
)
def test_how_long_motors_bear_it(seconds, words):
    assert bearable_words(seconds) == words
