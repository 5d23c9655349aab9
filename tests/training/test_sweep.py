"""Sweeps: real trainings of the pendulum, interrupted, failed and continued."""

import io
import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.processes import ForkedProcess, until

from training.errors import ConfigError, RunFolderError
from training.runs.failure import known_failure
from training.runs.folder import RunFolder
from training.runs.progress import read_rows
from training.sweep import Options, conduct, main, plan
from training.sweeps.folder import Settings, SweepFolder
from training.sweeps.picture import draw, mean_curve
from training.sweeps.results import Training, Trial, best_of, table
from training.sweeps.space import Listed, Ranged

RATE = "ppo.policy_learning_rate"
EPOCHS = "ppo.policy_epochs"


@pytest.fixture
def sweep(tiny_config, tmp_path):
    """Conducts a sweep of the small configuration; returns its exit code and what it printed."""
    config = replace(tiny_config, total_steps=150)

    def sweep(*vary, out=tmp_path / "sweep", config=config, seeds=2, **options):
        text = io.StringIO()
        options = Options(config="", vary=vary, out=out, seeds=seeds, **options)
        code = conduct(plan(options, config), Console(file=text, width=200))
        return code, text.getvalue()

    return sweep


def results(folder):
    """The results without what the clock decides."""
    found = json.loads((folder / "results.json").read_text())
    for each in (part for trial in found["trials"] for part in (trial, *trial["trainings"])):
        del each["seconds"]
    return found


def test_the_table_is_of_the_best_evaluations_and_the_best_trial_is_first(sweep, tmp_path, capsys):
    assert sweep(f"{RATE}=1e-3,1e-2", f"{EPOCHS}=2")[0] == 0
    folder = tmp_path / "sweep"
    found = results(folder)
    assert found["score"] == "return"
    assert found["vary"] == {EPOCHS: "2", RATE: "0.001,0.01"}
    assert sorted(trial["values"][RATE] for trial in found["trials"]) == [0.001, 0.01]
    for trial in found["trials"]:
        scores = []
        for training in trial["trainings"]:
            run = RunFolder(folder / training["run"])
            rows = [row for row in read_rows(run.progress) if row.kind == "evaluation"]
            scores.append(max(row.values["evaluation/return"] for row in rows))
            assert training["score"] == scores[-1]
            assert training["steps"] == rows[-1].steps
            assert run.config().seed == training["seed"]
            assert run.config().ppo.policy_learning_rate == trial["values"][RATE]
            assert run.best.exists()
        assert trial["mean"] == pytest.approx(np.mean(scores))
        assert trial["spread"] == pytest.approx(np.std(scores, ddof=1))
        assert trial["least"] == min(scores)
    assert found["trials"][0]["mean"] >= found["trials"][1]["mean"]
    printed = capsys.readouterr().out
    table = [line for line in (folder / "results.md").read_text().splitlines() if line[:1] == "|"]
    assert "\n".join(table) in printed
    assert len(table) == 4
    assert (folder / "results.png").read_bytes()[:4] == b"\x89PNG"


def test_the_same_command_in_other_words_is_the_same_sweep(sweep, tmp_path):
    assert sweep(f"{RATE}=1e-3,1e-2", f"{EPOCHS}=1,2", trials=2)[0] == 0
    before = results(tmp_path / "sweep")
    code, text = sweep(f"{EPOCHS}=2,1", f"{RATE}=.01,.001", trials=2)
    assert code == 0
    assert text.count("done before") == 4
    assert results(tmp_path / "sweep") == before


def test_more_trials_and_seeds_go_on_where_fewer_ended(sweep, tmp_path):
    vary = f"{RATE}=1e-4..1e-2:log"
    assert sweep(vary, trials=1, seeds=1)[0] == 0
    assert sweep(vary, trials=2, seeds=2)[0] == 0
    code, text = sweep(vary, trials=2, seeds=2, out=tmp_path / "at_once")
    assert code == 0
    assert "done before" not in text
    assert results(tmp_path / "sweep") == results(tmp_path / "at_once")


def test_seeds_alone_are_one_trial(sweep, tmp_path):
    assert sweep(seeds=3)[0] == 0
    (trial,) = results(tmp_path / "sweep")["trials"]
    assert trial["values"] == {}
    assert [training["seed"] for training in trial["trainings"]] == [0, 1, 2]
    assert len({training["score"] for training in trial["trainings"]}) > 1


def test_a_failed_training_is_told_and_the_others_go_on(sweep, tmp_path, capsys):
    vary = f"{RATE}=1e-3,1e30"
    code, text = sweep(vary)
    assert code == 1
    good, bad = results(tmp_path / "sweep")["trials"]
    assert (good["values"][RATE], bad["values"][RATE]) == (0.001, 1e30)
    assert bad["mean"] is None
    errors = capsys.readouterr().err
    for training in bad["trainings"]:
        failure = known_failure(RunFolder(tmp_path / "sweep" / training["run"]))
        assert failure.what == training["failure"]
        assert f"failed: {failure.what}" in text
        assert f"failed: {training['run']}: {failure.what}\n" in errors
    rows = (tmp_path / "sweep" / "results.md").read_text()
    assert "0 of 2, 2 failed" in rows
    assert (tmp_path / "sweep" / "results.png").exists()
    # The same command tries it no more.
    code, text = sweep(vary)
    assert code == 1
    assert text.count("done before") == 4


def test_another_metric_to_compare_by(sweep, tmp_path):
    assert sweep(f"{EPOCHS}=1,2", score="length", seeds=1)[0] == 0
    for trial in results(tmp_path / "sweep")["trials"]:
        (training,) = trial["trainings"]
        end = json.loads(RunFolder(tmp_path / "sweep" / training["run"]).finished.read_text())
        assert end["score_metric"] == "length"
        assert trial["mean"] == end["best_score"]


def test_a_metric_that_is_not_there_leaves_no_folder_behind(sweep, tmp_path):
    with pytest.raises(ConfigError, match="no metric 'speed' to score by: there are"):
        sweep(score="speed")
    assert not (tmp_path / "sweep").exists()


def test_a_value_that_the_task_refuses_is_refused_before_anything_is_trained(sweep, tmp_path):
    with pytest.raises(ConfigError, match=r"--vary task_kwargs\.max_steps=0: max_steps must be 1"):
        sweep("task_kwargs.max_steps=100,0")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("vary", "options", "message"),
    [
        ([f"{RATE}=1e-3,1e-1"], {}, f"--vary {RATE}: 0.001,0.1, not 0.001,0.01"),
        ([], {}, f"--vary {RATE}: None, not 0.001,0.01"),
        ([f"{RATE}=1e-3,1e-2"], {"score": "length"}, "score_metric: 'length', not 'return'"),
    ],
)
def test_another_sweep_in_the_folder_is_refused(vary, options, message, sweep, tmp_path):
    assert sweep(f"{RATE}=1e-3,1e-2", seeds=1, trials=1)[0] == 0
    with pytest.raises(RunFolderError, match="holds another sweep") as caught:
        sweep(*vary, seeds=1, **options)
    assert message in str(caught.value)
    assert str(caught.value).endswith("name another --out")


def test_a_folder_of_something_else_or_in_use_is_refused(sweep, tiny_config, tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "notes").touch()
    with pytest.raises(RunFolderError, match="else holds no sweep but notes: name a new folder"):
        sweep(out=tmp_path / "else")
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"--out .*file is no folder"):
        sweep(out=tmp_path / "file")
    settings = Settings(tiny_config, {}, "return")
    with (
        SweepFolder(tmp_path / "used").opened(settings),
        pytest.raises(RunFolderError, match="used is in use by another process"),
        SweepFolder(tmp_path / "used").opened(settings),
    ):
        pass


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "pendulm"], "no config 'pendulm': did you mean pendulum? there are"),
        (["--config", "trot", "--vary", "ppo.clip=1"], "did you mean ppo.objective.clip_range?"),
        (["--config", "trot", "--vary", f"{RATE}=1..2"], "say how many values to try, --trials N"),
        (["--config", "trot", "--trials", "3"], "--trials is for --vary"),
        (["--config", "trot", "--seeds", "0"], "--seeds must be in [1, 10000], got 0"),
        (
            ["--config", "trot", "--vary", "task_kwargs.reward.fall=1,2"],
            "task_kwargs.reward.fall changes what a return is",
        ),
    ],
)
def test_bad_input_is_one_line(words, message, error_line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert message in error_line()
    assert list(tmp_path.iterdir()) == []


COMMAND = ("--config", "pendulum", "--total-steps", "1500", "--seeds", "1", "--vary")
WORDS = (*COMMAND, f"{RATE}=1e-4..1e-2:log", "--trials", "3", "--workers", "0")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    words = [*WORDS, "--out", str(folder / "sweep")]
    code, _, errors = ForkedProcess(folder, main, words).wait()
    assert code == 0, errors
    return results(folder / "sweep")


def test_a_sweep_that_was_stopped_ends_with_the_table_of_one_that_was_not(undisturbed, tmp_path):
    folder = tmp_path / "sweep"
    out = ["--out", str(folder)]
    for trial, number, code in ((2, signal.SIGKILL, -9), (3, signal.SIGINT, 130)):
        process = ForkedProcess(tmp_path, main, [*WORDS, *out])
        run = SweepFolder(folder).run(trial, 0, "pendulum")
        try:
            until(lambda run=run: list(run.checkpoints.glob("checkpoint-*.pt")))
            process.send_signal(number)
            ended, printed, errors = process.wait()
        finally:
            process.kill()  # a failure must not leave a training behind
        assert ended == code
        assert not run.finished.exists()
    assert errors == f"interrupted; the same command goes on in {folder}\n"
    assert "resuming at update" in printed
    ended, printed, errors = ForkedProcess(tmp_path, main, [*reversed_pairs(WORDS), *out]).wait()
    assert ended == 0, errors
    assert printed.count("done before") == 2
    assert "resuming at update" in printed
    assert results(folder) == undisturbed
    assert len(undisturbed["trials"]) == 3


def reversed_pairs(words):
    """The options of a command in the opposite order."""
    pairs = [words[i : i + 2] for i in range(0, len(words), 2)]
    return [word for pair in reversed(pairs) for word in pair]


def trial(number, scores, **values):
    """A trial of some seeds, each of 1000 steps and 65 s; a text is what broke it off."""
    found = []
    for seed, score in enumerate(scores):
        run, failed = RunFolder(Path(f"run{number}.{seed}")), isinstance(score, str)
        end = {"failure": score} if failed else {"score": score}
        found.append(Training(seed, run, steps=1000, seconds=65.0, **end))
    return Trial(number, values, found)


def test_a_table_by_hand():
    """The mean of 1, 2 and 6 is 3, and their deviation sqrt((4 + 1 + 9) / 2)."""
    trials = [
        trial(1, [9.0, "not finite", None], **{"a.rate": 0.00012347, "b": 7}),
        trial(2, [1.0, 2.0, 6.0], **{"a.rate": 1.0, "b": 8}),
        trial(3, [4.0, 4.0, 4.0], **{"a.rate": 2.0, "b": 123456}),
        trial(4, [None, None, None], **{"a.rate": 4.0, "b": 9}),
    ]
    space = {"a.rate": Ranged(0.0, 4.0, False), "b": Ranged(1, 200_000, False)}
    rows = [
        [text.strip() for text in line.split("|")[1:-1]]
        for line in table(trials, space, "return").splitlines()
    ]
    names = ["trial", "rate", "b", "mean return", "spread", "least", "seeds", "steps", "time"]
    assert rows[0] == names
    assert rows[2:] == [
        ["3", "2", "123456", "4", "0", "4", "3", "3,000", "0:03:15"],
        ["2", "1", "8", "3", "2.646", "1", "3", "3,000", "0:03:15"],
        ["1", "0.0001235", "7", "9", "-", "9", "1 of 3, 1 failed", "3,000", "0:03:15"],
        ["4", "4", "9", "-", "-", "-", "0 of 3", "3,000", "0:03:15"],
    ]
    assert best_of(trials).number == 3
    assert best_of([trials[0]]) is None


def test_names_with_one_end_are_whole_in_the_table():
    space = {"a.rate": Listed((1.0,)), "b.rate": Listed((1.0,))}
    head = table([], space, "return").splitlines()[0]
    assert "| a.rate | b.rate |" in head


def test_a_picture_of_any_sweep_is_drawn(tiny_config, tmp_path):
    """Of nothing finished, too; a range, a list and a single value, with a failed seed."""
    space = {
        "a": Ranged(1e-4, 1e-3, True), "b": Listed((1, 2)), "c": Listed((5.0,)),
        "d": Ranged(0, 3, False), "e": Ranged(0, 3, False),
    }  # fmt: skip
    values = [
        dict(zip("abcde", each, strict=True))
        for each in ((1e-4, 1, 5.0, 0, 1), (1e-3, 1, 5.0, 3, 2))
    ]
    settings = Settings(tiny_config, {}, "return")
    whole = [trial(1, [1.0, 2.0], **values[0]), trial(2, ["no", 3.0], **values[1])]
    for number, trials in enumerate((whole, [trial(1, [None], **values[0])])):
        path = tmp_path / f"{number}.png"
        draw(trials, space, settings, path)
        assert path.read_bytes()[:4] == b"\x89PNG"
    draw([trial(1, [None])], {}, settings, tmp_path / "seeds.png")


def test_the_mean_curve_is_between_points_that_all_curves_have():
    """At step 10: 1 and 3; at 15: 2 (half way from 1 to 3) and 3; at 20: 3 and 3."""
    curves = [
        np.array([[0.0, 10.0, 20.0], [0.0, 1.0, 3.0]]),
        np.array([[10.0, 15.0, 30.0], [3.0, 3.0, 3.0]]),
    ]
    np.testing.assert_allclose(mean_curve(curves), [[10.0, 15.0, 20.0], [2.0, 2.5, 3.0]])
