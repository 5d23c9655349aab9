"""The pictures of docs/real-robot.md, of runs that a scripted robot made, and their sizes."""

import dataclasses
import re

import numpy as np
import pytest
from support.processes import ROOT

from studies.pictures import ARMED, LEGS, LINE, PICTURES, Flight, draw_columns, draw_legs, main

MOST_BYTES = 150_000


@pytest.fixture
def log(bench):
    b = bench()
    b.loop.run()
    return b.log


def flights(cases, log):
    return [Flight(each, log, each.look, "" if each.good else "tilt: it leans") for each in cases]


@pytest.mark.parametrize("dry", [True, False])
def test_runs_are_drawn_beside_each_other(log, tmp_path, dry):
    """A run of 20 ticks and one of a single tick."""
    short = {name: rows[:1] for name, rows in log.arrays().items()}
    shown = flights(LEGS[:1], dataclasses.replace(log, dry_run=dry))
    shown += flights(LEGS[1:], dataclasses.replace(log, dry_run=dry, **short))
    seen = []

    def panel(axis, log, leg):
        seen.append((len(log), leg))
        axis.plot(log.t_s, np.zeros(len(log)), label="zero")

    draw_legs(shown, tmp_path / "legs.png")
    draw_columns(shown, [panel], tmp_path / "columns.png")
    assert seen == [(len(log), LEGS[0].leg), (1, LEGS[1].leg)]
    for name in ("legs.png", "columns.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("cases", [LEGS, LINE, ARMED])
def test_each_picture_begins_with_one_good_run(cases):
    assert [case.good for case in cases] == [True] + [False] * (len(cases) - 1)
    assert all(case.board for case in cases if not case.good)


def test_the_document_shows_every_picture_and_each_is_there_and_small():
    shown = re.findall(
        r"!\[[^]]+\]\(pictures/(.*)\.png\)", (ROOT / "docs/real-robot.md").read_text()
    )
    assert sorted(shown) == sorted(PICTURES)
    for name in shown:
        assert (ROOT / f"docs/pictures/{name}.png").stat().st_size < MOST_BYTES


def test_a_picture_that_is_unknown_is_refused(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--only", "x"]) == 2
    assert "no picture 'x': there are poses, dry-run-legs" in capsys.readouterr().err
