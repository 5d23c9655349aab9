"""The transfer protocol's table, JSON and figure, against numbers by hand."""

import json

from studies.transfer import report as transfer_report
from studies.transfer.conditions import CONDITIONS
from studies.transfer.report import Cell, as_json, draw, push_curve, table


def cell(policy, condition, survived, mean, p5, power=40.0, cost=0.7):
    report = {
        "episodes": 10,
        "survived": survived,
        "survival_rate": survived / 10,
        "speed_mps": {"mean": mean, "p5": p5, "min": p5},
        "mean_power_w": power,
        "cost_of_transport": cost,
        "mean_abs_drift_m": 0.1,
        "overheated": 2,
        "falls": [{"index": 3}],
    }
    return Cell(policy, CONDITIONS[condition], report, policy * 2, "1234", 9.5)


CELLS = [
    cell("a", "nominal", 10, 0.894, 0.851),
    cell("b", "nominal", 7, 0.004, -0.1, cost=9999.0),
    cell("a", "push130", 4, 0.5, 0.0),
    cell("a", "push60", 9, 0.7, 0.6),
    cell("a", "mujoco", 10, 0.8, 0.7),
]


def test_table_by_hand():
    rows = [line for line in table(CELLS, 10, 20.0).splitlines() if line.startswith("|")]
    assert rows[0].count("|") == rows[1].count("|") == 9
    assert rows[2] == (
        "| identified robot (`nominal`) | a | 10 of 10 | 2 | 0.89 | 0.85 | 40.0 | 0.70 |"
    )
    # The condition is named once; a robot that stands has no cost of transport.
    assert rows[3] == "|  | b | 7 of 10 | 2 | 0.00 | -0.10 | 40.0 | - |"
    assert rows[4].startswith("| 130 N every 1.2 s (`push130`) | a | 4 of 10 |")
    assert len(rows) == 2 + len(CELLS)


def test_json_has_what_repeats_it():
    data = as_json(CELLS, 10, 20.0)
    assert data["protocol"]["seconds"] == 20.0
    assert [c["name"] for c in data["protocol"]["conditions"]] == [
        "nominal", "push130", "push60", "mujoco",
    ]  # fmt: skip
    assert data["policies"] == {"a": {"sha256": "aa"}, "b": {"sha256": "bb"}}
    assert data["versions"]["pybullet"]
    assert data["cells"][1]["speed_mps"] == {"mean": 0.004, "p5": -0.1, "min": -0.1}
    assert "falls" not in data["cells"][0]
    json.dumps(data, allow_nan=False)


def test_survival_curve_starts_without_a_push():
    assert push_curve(CELLS, "a") == [(0.0, 1.0), (60.0, 0.9), (130.0, 0.4)]
    assert push_curve(CELLS, "b") == [(0.0, 0.7)]


def test_figure_is_drawn_even_of_little(tmp_path):
    for name, cells in (("all", CELLS), ("one", CELLS[2:3]), ("none", [])):
        draw(cells, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    sizes = [(tmp_path / f"{name}.png").stat().st_size for name in ("all", "none")]
    assert sizes[0] > sizes[1]


def test_engines_that_are_not_installed_have_no_version(monkeypatch):
    monkeypatch.setattr(transfer_report, "_ENGINES", ("no-such-package",))
    assert as_json([], 1, 1.0)["versions"] == {"no-such-package": None}


def test_what_ended_episodes_on_the_board_stands_in_the_table(tmp_path):
    fallen = cell("a", "emulator", 7, 0.5, 0.0)
    fallen.report.update(causes={"robot_fault OVERCURRENT": 2, "stale_state": 1}, disturbed=1)
    expected = "7 of 10 (robot_fault OVERCURRENT 2, stale_state 1, disturbed 1)"
    assert fallen.figures[0] == expected
    assert as_json([fallen], 10, 20.0)["cells"][0]["causes"]["stale_state"] == 1
    draw([*CELLS, fallen], tmp_path / "with.png")
    draw(CELLS, tmp_path / "without.png")
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()
