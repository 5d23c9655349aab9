"""Generated tables inside of documents."""

import json

import pytest

from studies.figures import table, with_blocks
from studies.readme import GAIT_ALONE, ground_table, learning_table, policy_table, shove_table
from studies.study import StudyError
from studies.transfer import CONDITIONS, calibrated_conditions

DOCUMENT = """Before.

<!-- generated: one -->
old
<!-- end -->

Between.

<!-- generated: two -->
<!-- end -->
After.
"""


def test_generated_tables_are_replaced_and_nothing_else():
    text = with_blocks(DOCUMENT, {"one": "| 1 |", "two": "| \\1 |", "three": "| 3 |"})
    assert text == (
        "Before.\n\n<!-- generated: one -->\n\n| 1 |\n\n<!-- end -->\n\nBetween.\n\n"
        "<!-- generated: two -->\n\n| \\1 |\n\n<!-- end -->\nAfter.\n"
    )
    assert with_blocks(text, {"one": "| 1 |", "two": "| \\1 |"}) == text
    with pytest.raises(StudyError, match=r"unknown generated tables \['two'\]; known: one"):
        with_blocks(DOCUMENT, {"one": ""})


def test_a_number_in_a_table_stays_as_it_is_written():
    assert table(("a", "b"), [("1.50", ""), ("x", "-0")]).splitlines()[2:] == [
        "| 1.50 |     |",
        "| x    | -0  |",
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, ["10 of 10", "0.89", "0.85", "40.0", "0.70"]),
        (0.0123, ["10 of 10", "0.012", "0.012", "40.0"]),
    ],
)
def test_a_policys_table_is_of_its_reports(error, expected, tmp_path):
    report = {"episodes": 10, "survived": 10, "overheated": 0, "mean_power_w": 40.0}
    report |= {"speed_mps": {"mean": 0.894, "p5": 0.851}, "cost_of_transport": 0.7}
    report |= {"speed_error_mps": error, "yaw_rate_error_rad_s": error}
    for name in ("reference", "mujoco", "nominal"):
        (tmp_path / f"trot.{name}.json").write_text(json.dumps(report))
    rows = [line.split("|")[1:-1] for line in policy_table("trot", tmp_path).splitlines()]
    assert [row[0].strip() for row in rows[2:]] == [
        "identified robot", "identified robot in MuJoCo",
        "Table I in MuJoCo, its reference gait alone",
    ]  # fmt: skip
    assert [text.strip() for text in rows[2][1:]] == expected


def test_a_table_of_grounds_has_both_engines_in_a_row(tmp_path):
    report = {"episodes": 10, "survived": 9, "overheated": 1, "mean_power_w": 71.6}
    report |= {"speed_mps": {"mean": 0.894, "p5": 0.851}, "mean_abs_drift_m": 0.321}
    for name in ("blocks40", "mujoco-blocks40", "ahead", "mujoco-ahead", "sill30"):
        (tmp_path / f"walk.{name}.json").write_text(json.dumps(report))
    _, _, *rows = (line.split("|")[1:-1] for line in ground_table("walk", tmp_path).splitlines())
    assert [[cell.strip() for cell in row] for row in rows] == [
        [title, "9 of 10, 9 of 10", "1, 1", "0.89, 0.89", "0.85, 0.85", "0.32, 0.32", "72, 72"]
        for title in ("straight on at the greatest speed", "blocks of up to 40 mm")
    ]


@pytest.mark.parametrize("error", [None, 0.0123])
def test_a_policys_table_on_calibrated_robots_has_the_share_of_the_nominal_speed(error, tmp_path):
    conditions = {
        of.name: of for of in (*CONDITIONS.values(), *calibrated_conditions(("icy", "heavy")))
    }
    speeds = {"nominal": 1.25, "mujoco": 1.0, "icy": 1.0, "mujoco-icy": 0.9, "reference": 1.3}
    for name, mean in speeds.items():
        report = {"episodes": 10, "survived": 9, "overheated": 0, "mean_power_w": 40.0}
        report |= {"speed_mps": {"mean": mean, "p5": 0.851}, "cost_of_transport": 0.7}
        report |= {"speed_error_mps": error, "yaw_rate_error_rad_s": error}
        report["plant"] = "mujoco" if "mujoco" in name else "pybullet"
        report["params"] = {"name": "icy"} if "icy" in name else None
        (tmp_path / f"trot.{name}.json").write_text(json.dumps(report))
    rows = [
        [text.strip() for text in line.split("|")[1:-1]]
        for line in policy_table("trot", tmp_path, conditions).splitlines()
    ]
    kinds = ["mean speed, m/s", "5th percentile", "mean power, W", "cost of transport"]
    if error is not None:
        kinds = ["mean speed, m/s", "speed error, m/s", "yaw-rate error, rad/s", "mean power, W"]
    assert rows[0] == ["condition", "survived", *kinds, "share of nominal"]
    assert {len(row) for row in rows} == {7}
    assert [(row[0], row[2], row[-1]) for row in rows[2:]] == [
        ("identified robot", "1.25", "100 %"),
        ("identified robot in MuJoCo", "1.00", "100 %"),
        ("calibrated robot icy", "1.00", "80 %"),
        ("calibrated robot icy in MuJoCo", "0.90", "90 %"),
        ("Table I in MuJoCo, its reference gait alone", "1.30", "104 %"),
    ]
    (tmp_path / "trot.nominal.json").unlink()
    lines = policy_table("trot", tmp_path, conditions).splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["100 %", "-", "90 %", "-"]


def test_the_learning_table_has_the_network_beside_its_gait_alone(tmp_path):
    for policy, condition in GAIT_ALONE.items():
        error = None if policy.startswith("trot") else 0.0
        for name, more in ((condition, 0.0), ("reference", 0.5)):
            report = {"survived": round(90 + 2 * more), "mean_power_w": 40.0 + more}
            report |= {"speed_mps": {"mean": 0.75 + more}}
            errors = dict.fromkeys(("speed_error_mps", "yaw_rate_error_rad_s"))
            report |= errors if error is None else dict.fromkeys(errors, error + more)
            (tmp_path / f"{policy}.{name}.json").write_text(json.dumps(report))
    rows = [
        [text.strip() for text in line.split("|")[1:-1]]
        for line in learning_table(tmp_path).splitlines()[2:]
    ]
    assert [row[0] for row in rows] == [f"`{policy}`" for policy in GAIT_ALONE]
    assert rows[0][1:] == ["Table I in MuJoCo", "90, 91", "0.75, 1.25", "-", "-", "40, 40"]
    assert rows[2][2:] == ["90, 91", "0.75, 1.25", "0.000, 0.500", "0.000, 0.500", "40, 40"]


def test_the_shove_table_has_survivors_by_policy_and_force(tmp_path):
    policies = ("trot", "steer", "gallop", "standing", "peer-gallop")
    results = [
        {"name": f"{policy}.push{force}", "figures": {"survived": i + force}}
        for i, policy in enumerate(policies)
        for force in (30, 60, 90, 130, 175, 220)
        if (policy, force) != ("steer", 175)
    ]
    (tmp_path / "t.json").write_text(json.dumps({"results": results}))
    rows = shove_table(tmp_path / "t.json").splitlines()
    assert [text.strip() for text in rows[3].split("|")[1:-1]] == [
        "`steer`", "131", "-", "221",
    ]  # fmt: skip
