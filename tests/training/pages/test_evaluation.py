import json
import re

import pytest

from training.pages.evaluation import evaluation_page, evaluation_verdict

EVIL = "</script><script>alert(1)</script>"


def report(**changed):
    """Three episodes on a course; the second fell."""
    fall = {
        "index": 1,
        "cause": "fell",
        "seconds": 2.5,
        "distance_m": 1.25,
        "params": {"contact_friction": 0.6, "battery_v": 15.0},
    }
    each = [
        {
            "index": i,
            "survived": i != 1,
            "speed_mps": speed,
            "mean_power_w": power,
            "bearable_s": 90.0,
        }
        for i, (speed, power) in enumerate(((0.5, 50.0), (0.1, 40.0), (0.6, 60.0)))
    ]
    course = [
        {"index": i, "survived": i != 1, "speed_error_mps": 0.1 * i, "yaw_rate_error_rad_s": 0.2}
        for i in range(3)
    ]
    return {
        "policy": "policies/walk.onnx",
        "plant": "pybullet",
        "reference_only": False,
        "seconds": 20.0,
        "episodes": 3,
        "survived": 2,
        "survival_rate": 2 / 3,
        "speed_mps": {"mean": 0.4, "p5": 0.14, "min": 0.1},
        "mean_power_w": 50.0,
        "bearable_s": 90.0,
        "causes": {"fell": 1},
        "course": "steer.csv",
        "course_episodes": course,
        "each_episode": each,
        "falls": [fall],
        **changed,
    }


@pytest.mark.parametrize(
    ("survived", "tone"), [(100, "good"), (95, "good"), (94, "plain"), (80, "plain"), (79, "bad")]
)
def test_the_verdict(survived, tone):
    verdict = evaluation_verdict(report(episodes=100, survived=survived))
    assert verdict.sentence == (
        f"{survived} of 100 simulated robots came through 20 s, at 0.40 m/s on average."
    )
    assert verdict.tone == tone
    assert verdict.advice == "The policy failed so: fell in 1. See Falls."


def test_the_page_shows_episodes_steering_and_falls():
    text = evaluation_page(report(), "walk.json")
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Episodes", "Steering", "Falls", "Setup"]
    assert text.count('class="chart"') == 6
    assert '<td>fell</td><td class="number">1</td>' in text
    assert '<td class="number">2.5</td><td class="number">1.25</td>' in text
    assert "&quot;contact_friction&quot;: 0.6" in text


def test_a_report_of_before_says_what_it_lacks():
    old = {name: value for name, value in report().items() if name != "each_episode"}
    text = evaluation_page({**old, "course_episodes": [], "falls": [], "causes": {}}, "walk.json")
    assert "no figures of single episodes" in text
    assert "nothing to steer" in text


def test_texts_of_a_file_do_not_run():
    evil = report(policy=EVIL, plant=EVIL, course=EVIL, causes={EVIL: 1})
    evil["falls"][0].update(cause=EVIL, params={EVIL: EVIL})
    text = evaluation_page(json.loads(json.dumps(evil)), EVIL)
    assert "&lt;script&gt;" in text
    assert "<script>alert" not in text
