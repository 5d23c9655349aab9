"""The ladder's machinery: all the ways a check can end, and boards that do not start."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from hil import ladder, rungs
from hil.bench import Bench
from hil.check import Check, CheckFailed, CheckSkipped, Disturbed, Figure
from hil.rungs import KINDS, Kind, Rung
from robot_firmware_bridge.errors import LinkError

POLICY = str(Path(__file__).parents[2] / "policies" / "trot.onnx")


def climb(checks, kind="real", port="/dev/null"):
    bench = Bench(Rung(KINDS[kind], port, 921600), 1.0, Path("."), Path(POLICY))
    said = []
    return list(ladder.climb(bench, checks, lambda rung, title: said.append((rung, title)))), said


def raising(error):
    def run(bench):
        raise error

    return run


def test_every_way_a_check_can_end_is_one_result():
    checks = [
        Check("a", "measures", lambda bench: Figure("1 ms", {"ms": 1.0})),
        Check("b", "fails", raising(CheckFailed("2 is not 3"))),
        Check("c", "skips", raising(CheckSkipped("no robot"))),
        Check("d", "loses", raising(LinkError("no answer"))),
        Check("e", "breaks", raising(OSError("input/output error"))),
        Check("f", "harms", lambda bench: Figure(), simulated=True),
        Check("g", "walks", lambda bench: Figure(), walks=True),
    ]
    results, said = climb(checks)
    assert [(r.check, r.outcome, r.figure) for r in results] == [
        ("a", "passed", "1 ms"),
        ("b", "failed", "2 is not 3"),
        ("c", "skipped", "no robot"),
        ("d", "failed", "no answer"),
        ("e", "failed", "the port failed: input/output error"),
        ("f", "skipped", "for simulated robots: it walks, or is done harm"),
        ("g", "skipped", "for simulated robots: it walks, or is done harm"),
    ]
    assert results[0].values == {"ms": 1.0}
    assert ladder.count(results) == {"passed": 1, "failed": 3, "skipped": 3}
    assert [title for _, title in said] == ["starting the board", *(c.title for c in checks)]


@pytest.fixture
def calm(monkeypatch):
    """A computer on which nobody need wait for peace."""
    monkeypatch.setattr(ladder, "_PATIENCE_S", 0.0)


@pytest.mark.parametrize(("disturbed", "outcome"), [(1, "passed"), (4, "passed"), (5, "failed")])
def test_a_disturbed_check_is_made_again_and_says_so(calm, disturbed, outcome):
    tries = []

    def run(bench):
        tries.append(1)
        if len(tries) <= disturbed:
            raise Disturbed("stale_state")
        return Figure("3 m/s")

    ((result,), _) = climb([Check("a", "walks", run)])
    assert result.outcome == outcome
    assert len(tries) == min(5, disturbed + 1)
    words = "3 m/s" if outcome == "passed" else "disturbed in every try"
    assert result.figure == f"{words} ({'; '.join(['before: stale_state'] * disturbed)})"


@pytest.mark.parametrize(
    ("kind", "walks", "outcome"),
    [
        ("emulated", True, "failed"),
        ("qemu", True, "skipped"),
        ("qemu", False, "failed"),
        ("real", False, "failed"),
    ],
)
def test_only_an_emulated_computer_is_excused_from_walking_in_time(kind, walks, outcome):
    """What walks there in real time was shown one rung below; all else must be shown on each."""
    check = Check("a", "walks", raising(Disturbed("stale_state")), walks=walks)
    assert ladder._unproved(Rung(KINDS[kind], None, 921600), check) == outcome


@pytest.mark.parametrize("error", [CheckFailed("late"), LinkError("late"), OSError("late")])
def test_a_failure_while_this_computer_stalled_says_nothing(calm, error):
    stalls = iter([True, False])

    def run(bench):
        if next(stalls):
            bench.held_up.append("the host had no turn for 99 ms")
        raise error

    ((result,), _) = climb([Check("a", "is in time", run)])
    assert result.outcome == "failed"  # and that without a stall
    assert result.figure.count("before: ") == 1
    assert "late, while the host had no turn for 99 ms" in result.figure


def test_what_holds_in_spite_of_a_stall_holds():
    def run(bench):
        bench.held_up.append("the host had no turn for 99 ms")
        return Figure("80 ms")

    ((result,), _) = climb([Check("a", "is in time", run)])
    assert (result.outcome, result.figure) == ("passed", "80 ms")


def test_on_a_computer_that_never_calms_the_climb_comes_to_an_end(calm, monkeypatch):
    monkeypatch.setattr(ladder, "_ALLOWANCE_S", 0.05)
    tries = []

    def run(bench):
        tries.append(1)
        time.sleep(0.03)
        raise Disturbed("stale_state")

    results, _ = climb([Check(name, "walks", run) for name in "abc"])
    assert [result.outcome for result in results] == ["failed"] * 3
    assert 3 <= len(tries) <= 5


def test_a_bug_in_a_check_is_no_result():
    with pytest.raises(ZeroDivisionError):
        climb([Check("a", "has a bug", raising(ZeroDivisionError()))])


def test_a_board_that_does_not_start_is_one_failure(monkeypatch):
    monkeypatch.setitem(KINDS, "broken", Kind("broken", "no such module", "no_such_module"))
    results, _ = climb([Check("a", "never", raising(AssertionError()))], kind="broken")
    ((outcome, figure),) = [(r.outcome, r.figure) for r in results]
    assert outcome == "failed"
    assert figure.startswith("cannot start the board: no_such_module stopped")


def test_what_is_not_installed_is_skipped_with_the_cure(monkeypatch):
    monkeypatch.setattr(rungs.shutil, "which", lambda name: None if "qemu" in name else "/bin/x")
    results, _ = climb([Check("a", "never", raising(AssertionError()))], kind="qemu")
    ((outcome, figure),) = [(r.outcome, r.figure) for r in results]
    assert outcome == "skipped"
    assert figure == "qemu-system-arm is not installed: apt-get install qemu-system-arm"


def test_the_table_shows_figures_as_they_are():
    results, _ = climb([Check("a", "counts", lambda bench: Figure("[1, 2] of [red]"))])
    stream = io.StringIO()
    Console(file=stream, width=100).print(ladder.table(results))
    assert "[1, 2] of [red]" in stream.getvalue()
