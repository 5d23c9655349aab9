"""The command `minitaur report`: what it takes, what it refuses, and what a browser makes of it."""

import numpy as np
import pytest
from PIL import Image
from support.commands import assert_one_line, python

from deploy.record.page.html import MOST_BYTES
from deploy.record.report import summarise
from training.report import main


@pytest.fixture
def run(bench, tmp_path):
    """The folder of a run, as `minitaur run` leaves it."""
    b = bench()
    b.loop.run()
    folder = tmp_path / "last"
    folder.mkdir()
    b.log.save(folder / "run.npz")
    summarise(b.log, (), policy="<b>p.onnx", robot="sim").save(folder / "run.json")
    return folder


@pytest.mark.parametrize("name", [".", "run.npz"])
def test_a_run_is_given_by_its_folder_or_a_file(run, name, capsys):
    assert main([str(run / name)]) == 0
    page = run / "run.html"
    assert capsys.readouterr().out.startswith(f"wrote {page} (1.")
    assert "Run of &lt;b&gt;p.onnx on sim" in page.read_text()


def test_the_page_goes_where_it_is_asked_to(run, tmp_path):
    (run / "run.npz").unlink()
    out = tmp_path / "deep" / "page.html"
    assert main([str(run / "run.json"), "--out", str(out)]) == 0
    assert out.stat().st_size < MOST_BYTES
    assert not (run / "run.html").exists()


def test_what_has_no_page_is_refused_in_one_line(run, tmp_path, error_line):
    (tmp_path / "other.json").write_text('{"x": 1}')
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    two = tmp_path / "two"
    two.mkdir()
    for name in ("a.npz", "b.npz"):
        (two / name).write_bytes((run / "run.npz").read_bytes())
    for path, message in (
        (tmp_path / "absent", "there is no "),
        (tmp_path / "other.json", "is no report of a run or an evaluation: give a run's folder"),
        (tmp_path / "notes.txt", "has no page: give a run's folder"),
        (tmp_path / "empty", "has no run: give a run's folder"),
        (two, "has 2 flight logs, name one of them"),
    ):
        assert main([str(path)]) == 2
        assert message in error_line()
    assert main([str(run), "--out", "page.pdf"]) == 2
    assert "--out page.pdf must end in .html" in error_line()


def test_a_run_needs_neither_torch_nor_physics_and_says_what_it_lacks(run):
    """On a computer without any of them, and then without Bokeh too."""
    code = """
import importlib.abc, sys
absent = sys.argv[1].split(",")
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from training.report import main
sys.exit(main([sys.argv[2]]))
"""
    missing = "torch,pybullet,mujoco,gymnasium,onnx,matplotlib,tensorboard,ray,sim"
    done = python("-W", "ignore", "-c", code, missing, run)
    assert (done.returncode, done.stderr) == (0, "")
    done = python("-c", code, f"{missing},bokeh", run)
    assert done.returncode == 2
    assert_one_line(done.stderr, "this needs bokeh: pip install '.[plot]'")


def test_a_browser_draws_every_chart_and_asks_nobody(run, browser):
    assert main([str(run)]) == 0
    page = run / "run.html"
    facts = browser.facts(page)
    assert facts["problems"] == []
    assert facts["requests"] == []
    # Bokeh has a canvas or more for each chart, and one of them has its lines.
    assert facts["charts"] > 15
    assert facts["drawn"] >= facts["charts"]
    assert facts["overflow"] <= 0
    picture = np.asarray(Image.open(browser.picture(page, 1400, 1600)).convert("RGB"), np.int16)
    assert picture.shape == (1600, 1400, 3)
    # Lines of the charts' blue, #0072B2, in a page whose own style has none.
    blue = (np.abs(picture - (0, 0x72, 0xB2)) < 12).all(axis=2)
    assert blue.sum() > 300
