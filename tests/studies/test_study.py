"""The engine of the studies on a study of squares: what is computed, found, resumed, reported."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from robot_firmware_bridge.command_line import command
from studies.study import Job, Result, Study, StudyError, choose, conduct, working_commit


@dataclass(frozen=True, kw_only=True)
class Squares(Study):
    """Squares of numbers; a number can fail, or stop the study."""

    name: ClassVar[str] = "squares"
    computed: ClassVar[list[int]] = []

    home: Path = Path()
    numbers: int = 3
    failing: int | None = None
    stopping: int | None = None

    @property
    def published(self) -> Path:
        return self.home / "published" / "squares.json"

    def jobs(self, commit: str) -> list[Job]:
        return [self._job(number) for number in range(self.numbers)]

    def _job(self, number: int) -> Job:
        def compute(report):
            report(0.5)
            if number == self.failing:
                raise StudyError("no square today")
            if number == self.stopping:
                os.kill(os.getpid(), signal.SIGTERM)
            self.computed.append(number)
            return {"square": number**2}

        return Job(f"square{number}", {"number": number}, compute)

    def line(self, result: Result) -> str:
        return f"square {result.figures['square']}"

    def page(self, results: Sequence[Result]) -> str:
        return "".join(f"{r.arguments['number']} {r.commit}\n" for r in results)

    def draw(self, results: Sequence[Result], path: Path) -> None:
        path.write_text("figure")


@pytest.fixture
def conducted(tmp_path, capsys):
    """Conducts a study; returns its exit code, what it printed, and the numbers it computed."""

    def run(results="results", **options):
        Squares.computed.clear()
        study = Squares(home=tmp_path, results=tmp_path / results, **options)
        code = command(conduct)(study)
        printed = capsys.readouterr()
        return code, printed.err + printed.out, list(Squares.computed)

    return run


def table(folder):
    return json.loads((folder / "squares.json").read_text())


def test_finished_results_are_found_again(conducted, tmp_path):
    code, output, computed = conducted()
    assert (code, computed) == (0, [0, 1, 2])
    first, second, *_ = output.splitlines()
    assert first == "3 results, 0 done before, 3 to go"
    assert second.startswith("1/3 square0: square 0 (0 s, 0:00:0")
    commit = working_commit()
    assert len(list((tmp_path / "results" / commit).glob("square?.????????.json"))) == 3
    rows = table(tmp_path / "results")["results"]
    assert [row["figures"]["square"] for row in rows] == [0, 1, 4]
    assert {row["commit"] for row in rows} == {commit}
    code, output, computed = conducted(numbers=4)
    assert (code, computed) == (0, [3])
    assert f"square2: square 4 (done at {commit})\n4 results, 3 done before, 1 to go" in output


def test_what_is_cut_off_is_computed_again(conducted, tmp_path):
    conducted()
    paths = sorted((tmp_path / "results" / working_commit()).glob("*.json"))
    paths[0].write_text(paths[0].read_text()[:50])
    paths[1].write_text("[]")
    paths[2].write_text(json.dumps(json.loads(paths[2].read_text()) | {"arguments": {"number": 9}}))
    assert conducted()[::2] == (0, [0, 1, 2])


def test_a_failed_job_is_reported_and_left_out(conducted, tmp_path):
    code, output, computed = conducted(failing=1, out=tmp_path / "out")
    assert (code, computed) == (1, [0, 2])
    assert "2/3 square1: failed: no square today\n" in output
    # What is not complete does not go where the complete study goes.
    assert not (tmp_path / "out").exists()
    page = (tmp_path / "results" / "squares.md").read_text()
    assert page.endswith("1 results are missing:\n\n- square1: failed: no square today\n")
    assert table(tmp_path / "results")["missing"] == ["square1: failed: no square today"]
    assert conducted(out=tmp_path / "out")[::2] == (0, [1])
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json", ".md", ".png"]


def test_a_stopped_study_writes_what_there_is(conducted, tmp_path):
    code, output, computed = conducted(stopping=1)
    assert (code, computed) == (130, [0])
    assert "missing: square1: not computed yet\nmissing: square2: not computed yet\n" in output
    assert [row["name"] for row in table(tmp_path / "results")["results"]] == ["square0"]
    assert conducted()[::2] == (0, [1, 2])


def test_results_of_a_named_commit_count_and_keep_its_name(conducted, tmp_path):
    conducted(numbers=2)
    (tmp_path / "results" / working_commit()).rename(tmp_path / "results" / "abc1234")
    for path in (tmp_path / "results" / "abc1234").iterdir():
        path.write_text(json.dumps(json.loads(path.read_text()) | {"commit": "abc1234"}))
    assert conducted(commit=("abc1234",))[::2] == (0, [2])
    page = (tmp_path / "results" / "squares.md").read_text()
    assert page == f"0 abc1234\n1 abc1234\n2 {working_commit()}\n"
    # The published table counts by the same rule.
    (tmp_path / "published").mkdir()
    (tmp_path / "results" / "squares.json").rename(tmp_path / "published" / "squares.json")
    assert conducted("elsewhere", commit=("abc1234",))[::2] == (0, [])
    assert (tmp_path / "elsewhere" / "squares.md").read_text() == page
    # A commit that is not named does not count, and one that is named may be of no more use.
    assert conducted("other")[::2] == (0, [0, 1])
    assert conducted("other", commit=("abc1234",))[::2] == (0, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": -1}, "error: workers must be positive, got -1"),
        ({"numbers": 0}, "error: numbers must be positive, got 0"),
        ({"commit": ("0000000",)}, "error: no results of commit 0000000"),
    ],
)
def test_bad_input_is_one_line(options, message, conducted):
    code, output, computed = conducted(**options)
    assert (code, computed) == (2, [])
    assert output.startswith(message)
    assert output.count("\n") == 1


def test_a_file_that_is_no_table_is_refused(conducted, tmp_path):
    (tmp_path / "published").mkdir()
    for text in ("[1]", "{", '{"results": [{"name": "square0"}]}'):
        (tmp_path / "published" / "squares.json").write_text(text)
        code, output, _ = conducted()
        assert code == 2
        assert "squares.json is not the table of a study" in output


def test_only_the_whole_study_goes_where_it_is_published(tmp_path):
    home = Path()
    assert Squares().folder == Squares().published.parent
    assert Squares(workers=0, commit=("a",)).folder == home / "published"
    assert Squares(numbers=2).folder == Path("build")
    assert Squares(out=Path("x")).folder == Path("x")


def test_conditions_stand_in_the_order_of_the_known_ones():
    known = {"sun": 1, "moon": 2, "star": 3}
    assert choose((), known) == [1, 2, 3]
    assert choose(("star", "sun"), known) == [1, 3]
    with pytest.raises(StudyError, match=r"\['mars'\]; known: sun, moon, star"):
        choose(("mars",), known)


def test_the_commit_of_a_tree_says_what_differs(tmp_path):
    def git(*arguments):
        user = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ("git", *user, *arguments)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert working_commit(tmp_path) == "unknown"
    git("init")
    for name in ("code.py", "README.md"):
        (tmp_path / name).write_text("first\n")
    git("add", ".")
    git("commit", "-m", "first")
    clean = git("rev-parse", "HEAD")[:7]
    (tmp_path / "README.md").write_text("second\n")
    (tmp_path / "untracked.py").write_text("new\n")
    assert working_commit(tmp_path) == clean
    states = set()
    for text in ("second\n", "third\n", "second\n"):
        (tmp_path / "code.py").write_text(text)
        states.add(working_commit(tmp_path))
    assert len(states) == 2
    assert all(state.startswith(f"{clean}-dirty-") for state in states)
