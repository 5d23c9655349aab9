"""The soak: drawn by seed and number, resumed, and hard on a wrong diagnosis."""

import dataclasses
import json
import signal
from pathlib import Path

import pytest

from hil import harms
from hil.harms import BY_NAME, HARMS
from hil.soak import (
    Options,
    Result,
    draw,
    driven_after_damping,
    growth_kb,
    is_good,
    log_problem,
    main,
    problems,
    read,
    soak,
    summary,
    table,
)
from sim.board.console import VERBS

NAMES = tuple(harm.name for harm in HARMS)


def test_a_trial_is_what_its_seed_and_number_say():
    once = [draw(7, index, 3.0, NAMES) for index in range(100)]
    assert once == [draw(7, index, 3.0, NAMES) for index in range(100)]
    assert once != [draw(8, index, 3.0, NAMES) for index in range(100)]
    assert once[40] == draw(7, 40, 3.0, NAMES)  # whatever came before
    assert all(0.3 <= each.moment_s <= 2.0 + 3.0 - 0.5 for each in once)
    assert len({each.moment_s for each in once}) == 100


def test_every_harm_comes_once_in_each_round():
    for round_ in range(3):
        drawn = [draw(1, round_ * len(NAMES) + k, 3.0, NAMES).harm for k in range(len(NAMES))]
        assert sorted(drawn) == sorted(NAMES)
    assert len(BY_NAME) == len(HARMS)


def test_every_order_of_the_boards_console_is_in_a_harm():
    text = Path(harms.__file__).read_text()
    assert [verb for verb in VERBS if f'"{verb} ' not in text and f'"{verb}"' not in text] == [
        "quit"
    ]


# ---- two real trials, in two calls ---------------------------------------------------------------


def test_a_soak_goes_on_after_the_last_trial_that_ended(tmp_path, capsys):
    folder, path = tmp_path / "soak", tmp_path / "soak" / "trials.jsonl"
    # The least that takes a trial: each call makes one, as no time is over before it.
    words = ["--seconds", "1", "--folder", str(folder), "--only", "none", "--only", "ctrl_c"]
    assert main(["--minutes", "1e-9", *words]) == 0
    (first,) = read(path)
    with path.open("a") as file:
        file.write('{"seed": 0, "index": 1, "ha')  # a line of a trial that was cut
    minutes = (first.seconds + 0.001) / 60.0
    assert main(["--minutes", str(minutes), *words]) == 0
    results = read(path)
    assert [result.index for result in results] == [0, 1]
    assert {result.harm for result in results} == {"none", "ctrl_c"}
    assert [result.wrong for result in results] == [[], []] or any(r.disturbed for r in results)
    assert main(["--minutes", str(minutes), *words]) == 0  # it was over already
    assert len(read(path)) == 2
    data = json.loads((folder / "soak.json").read_text())
    assert data["ok"] is True
    assert data["rows"][-1]["trials"] == 2
    assert "| all " in (folder / "soak.md").read_text()
    assert "written" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"minutes": 0.0}, "minutes must be positive"),
        ({"seconds": 0.5}, "seconds must be 1 or more"),
        ({"only": ("storm",)}, "no harm 'storm' for --only; there are none, few_bytes_lost"),
    ],
)
def test_what_cannot_be_soaked_is_refused(tmp_path, options, said):
    with pytest.raises(Exception, match=said):
        soak(Options(folder=tmp_path, **options))


# ---- what is wrong is found ----------------------------------------------------------------------


def found(name, code, faults, detail=""):
    report = None if faults is None else {"faults": faults}
    return list(problems(BY_NAME[name], code, report, detail))


@pytest.mark.parametrize(
    ("name", "code", "faults", "detail"),
    [
        ("none", 0, [], ""),
        ("bytes_held_16_ms", 0, [], ""),
        ("bytes_held_16_ms", 1, ["stale_state"], ""),
        ("host_stopped_300_ms", 1, ["stale_state", "robot_fault"], "reports COMMAND_TIMEOUT"),
        ("encoder_slips_0.4_rad", 1, ["encoder_jump", "robot_fault"], ""),
        ("host_terminated", 130, [], ""),
        ("host_killed", -signal.SIGKILL, None, ""),
        ("policy_cut", 2, None, ""),
    ],
)
def test_a_right_end_has_no_problem(name, code, faults, detail):
    assert found(name, code, faults, detail) == []


@pytest.mark.parametrize(
    ("name", "code", "faults", "detail", "problem"),
    [
        ("none", 1, ["stale_state"], "", "wrong diagnosis: stale_state, should be no fault"),
        ("cable_pulled", 0, [], "", "wrong diagnosis: no fault, should be robot_link or stale"),
        ("cable_pulled", 1, ["stale_state"], "", "wrong diagnosis: no 'was lost' in"),
        ("cable_pulled", 1, ["encoder_jump"], "was lost", "should be robot_link or stale_state"),
        ("motor_hot", 1, ["robot_fault"], "reports STALL", "wrong diagnosis: no 'OVERHEAT' in"),
        ("encoder_slips_0.4_rad", 1, ["encoder_jump", "tilt"], "", "encoder_jump, tilt, should"),
        ("none", 1, [], "", "exit code 1, should be 0"),
        ("host_terminated", 0, [], "", "exit code 0, should be 130"),
        ("none", 0, None, "", "no report"),
        ("policy_cut", 0, None, "", "exit code 0, should be 2"),
    ],
)
def test_a_wrong_end_is_flagged(name, code, faults, detail, problem):
    assert any(problem in line for line in found(name, code, faults, detail))


def modes(*names):
    return [{"event": "boot"} if name == "boot" else mode(name) for name in names]


def mode(name):
    return {"event": "mode", "mode": name}


@pytest.mark.parametrize(
    ("events", "armed", "problem"),
    [
        (modes("READY", "ACTIVE", "DAMPING", "DISARMED"), True, None),
        (modes("READY", "ACTIVE", "FAULT"), True, None),
        (modes("READY", "ACTIVE", "boot"), True, None),
        ([], False, None),
        (modes("READY", "ACTIVE", "DAMPING", "ACTIVE", "DAMPING"), True, "driven after damping"),
        (modes("READY", "ACTIVE", "boot", "READY", "ACTIVE"), True, "driven after damping"),
        (modes("READY", "ACTIVE"), True, "not damped at the end"),
        (modes("READY", "ACTIVE", "DISARMED"), False, "though the run was refused"),
        ([], True, "never active"),
    ],
)
def test_a_board_that_drives_when_it_must_not_is_flagged(events, armed, problem):
    lines = list(driven_after_damping(events, armed))
    assert lines == [] if problem is None else problem in lines[0]


def test_a_missing_or_broken_log_is_flagged(tmp_path):
    assert "missing log" in log_problem(tmp_path / "run.npz")
    (tmp_path / "run.npz").write_bytes(b"PK")
    assert "missing log" in log_problem(tmp_path / "run.npz")


# ---- the end -------------------------------------------------------------------------------------

RESULT = Result(0, 0, "none", 1.0, code=0, seconds=8.0, board_kb=85_000.0, board_pid=5)
WRONG = dataclasses.replace(RESULT, harm="ctrl_c", wrong=["wrong diagnosis: tilt"], seconds=4.0)


def test_the_table_counts_by_harm_and_in_all():
    disturbed = dataclasses.replace(WRONG, disturbed=True)
    rows = {row["harm"]: row for row in table([RESULT, WRONG, disturbed, RESULT])}
    assert rows["none"] == {
        "harm": "none", "trials": 2, "good": 2, "wrong": 0, "diagnosis": 0, "log": 0,
        "driven": 0, "disturbed": 0, "mean_s": 8.0,
    }  # fmt: skip
    assert (rows["ctrl_c"]["wrong"], rows["ctrl_c"]["disturbed"]) == (1, 1)
    assert (rows["all"]["trials"], rows["all"]["good"], rows["all"]["diagnosis"]) == (4, 2, 1)
    assert rows["all"]["mean_s"] == 6.0


def test_one_wrong_trial_is_a_bad_soak_and_a_disturbed_one_is_not():
    assert is_good([RESULT])
    assert not is_good([RESULT, WRONG])
    assert is_good([RESULT, dataclasses.replace(WRONG, disturbed=True)])
    text, data = summary([RESULT, WRONG])
    assert data["ok"] is False
    assert "wrong diagnosis: tilt" in text


def test_a_board_whose_memory_grows_is_a_bad_soak():
    def grown(kb, trials=30):
        return [
            dataclasses.replace(RESULT, index=n, board_kb=85_000.0 + kb * n) for n in range(trials)
        ]

    assert growth_kb(grown(51.0), "board_kb") == pytest.approx(51.0)
    assert not is_good(grown(51.0))
    assert is_good(grown(49.0))
    assert growth_kb(grown(51.0, trials=19), "board_kb") is None
