"""Generated tables inside of documents."""

import json

import pytest

from studies.figures import table, with_blocks
from studies.readme import policy_table, shove_table
from studies.study import StudyError

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
        "Table I of the paper, its reference gait alone",
    ]  # fmt: skip
    assert [text.strip() for text in rows[2][1:]] == expected


def test_the_shove_table_has_survivors_by_policy_and_force(tmp_path):
    policies = ("trot", "steer", "gallop", "standing", "peer-gallop")
    results = [
        {"name": f"{policy}.push{force}", "figures": {"survived": i + force}}
        for i, policy in enumerate(policies)
        for force in (30, 60, 90, 130, 175, 220)
    ]
    (tmp_path / "t.json").write_text(json.dumps({"results": results}))
    rows = shove_table(tmp_path / "t.json").splitlines()
    assert [text.strip() for text in rows[3].split("|")[1:-1]] == [
        "`steer`", "61", "91", "131", "176", "221",
    ]  # fmt: skip
