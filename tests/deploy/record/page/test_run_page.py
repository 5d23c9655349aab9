"""The page of a run that a scripted robot made, whole, cut and damaged."""

import dataclasses
import json
import re

import numpy as np
import pytest

from deploy.errors import RunError
from deploy.loop.loop import RunFault
from deploy.loop.modes import LoopMode
from deploy.record.page.html import MOST_BYTES
from deploy.record.page.recording import Recording, read_recording
from deploy.record.page.run_page import run_page, stretches
from deploy.record.report import LinkReport, Percentiles, summarise

EVIL = "</script><script>alert(1)</script>"


@pytest.fixture
def log(bench):
    """The log of a good run, of 20 ticks, on a robot that stands."""
    b = bench()
    b.loop.run()
    return b.log


def recording(log, **changed):
    report = json.loads(summarise(log, (), policy="p.onnx", robot="sim").to_json())
    return Recording({**report, **changed}, log, None)


def sections(text):
    return re.findall(r"<h2>(.*?)</h2>", text)


def test_a_run_has_every_section_stays_small_and_loads_nothing(log):
    text = run_page(recording(log))
    assert sections(text) == [
        *("Motion", "Attitude", "Legs", "Gait", "Motors", "Timing", "Events", "Setup"),
    ]
    assert "The simulated robot came" in text
    assert "the policy takes over" in text
    assert len(text.encode()) < MOST_BYTES
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", outside)
    assert "<link" not in outside
    assert "@import" not in outside
    assert "Content-Security-Policy\" content=\"default-src 'none';" in outside


def test_texts_of_a_file_do_not_run(log):
    robot = dataclasses.replace(
        log.robot, leg_names=(EVIL,) * 4, motor_names=tuple(f"{EVIL}{i}" for i in range(8))
    )
    text = run_page(
        recording(
            dataclasses.replace(log, robot=robot),
            policy=EVIL,
            robot=EVIL,
            faults=[EVIL],
            fault_details=[EVIL],
            setup={EVIL: EVIL},
            events=[{EVIL: EVIL}, EVIL],
            link={EVIL: EVIL},
            saturations={EVIL: 1},
        )
    )
    assert "&lt;script&gt;" in text
    assert "<script>alert" not in text
    # Bokeh and its start, the charts, the page's own: no name in a chart ends one of them.
    assert text.count("<script>") == text.count("</script>") == 4


def test_events_counters_and_faults_are_listed(log):
    fault = RunFault("tilt", "tilt: the body leans by 0.60 rad")
    trip = Percentiles(4790, 9000, 11700)
    link = LinkReport("/dev/ttyUSB0", 921600, 5000, 3, 0, 0, 0, 0, 0, 0, trip, None, True, 0)
    report = summarise(log, [fault], policy="p.onnx", robot="serial", link=link)
    data = json.loads(report.to_json())
    slow = {"t_s": 0.013, "signal": "battery", "level": "slow", "detail": "13.30 V: charge it"}
    data["reactions"] = [slow, {"t_s": "soon"}, 7]
    text = run_page(Recording(data, log, None))
    assert "it fell over (tilt)" in text
    assert "fault: tilt: the body leans by 0.60 rad" in text
    assert '<td>states_lost</td><td class="number">3</td>' in text
    assert "p50 4,790, p99 9,000, max 11,700" in text
    assert "<td>0.013 s</td><td>battery slow 13.30 V: charge it</td>" in text.replace(
        "0.012", "0.013"
    )


@pytest.mark.parametrize("mode", LoopMode)
def test_each_mode_is_told_in_plain_words(log, mode):
    """No name of the code stands among the events, such as SWITCH."""
    modes = log.mode.copy()
    modes[10:15] = mode
    text = run_page(recording(dataclasses.replace(log, mode=modes)))
    words = {
        LoopMode.SWITCH: "back to the stance, as something else was chosen",
        LoopMode.STAND: "stands, without a policy",
    }
    assert f"<td>{words.get(mode, '')}" in text
    events = text.partition("<h2>Events</h2>")[2].partition("<h2>")[0]
    assert mode.name not in events


def cut(log, ticks):
    return dataclasses.replace(log, **{name: rows[:ticks] for name, rows in log.arrays().items()})


@pytest.mark.parametrize("ticks", [0, 1, 6])
def test_a_run_may_end_at_any_tick(log, ticks):
    assert "Setup" in sections(run_page(recording(cut(log, ticks))))


def test_a_run_without_odometry_temperatures_or_a_sound_state(log):
    unknown = {
        name: np.full_like(getattr(log, name), np.nan)
        for name in ("base_position_m", "winding_temperature_c", "rpy_rad", "battery_v")
    }
    text = run_page(recording(dataclasses.replace(log, **unknown), distance_m=None))
    assert "this run had no odometry" in text
    assert "reports no winding temperature" in text
    assert "greatest tilt" not in text


def test_a_report_without_a_log_and_a_log_without_a_report(log, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(dict(recording(log).report)))
    assert sections(run_page(read_recording(path))) == ["Events", "Setup"]
    log.save(tmp_path / "alone.npz")
    text = run_page(read_recording(tmp_path / "alone.npz"))
    assert "how that ended is not known" in text
    assert "Motion" in sections(text)


def test_files_that_are_no_recording(tmp_path):
    for name, content, message in (
        ("a.npz", b"rubbish", "is no flight log that this version reads"),
        ("b.json", b"{", "is no JSON"),
        ("c.json", b"[]", "has no JSON object"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RunError, match=message):
            read_recording(tmp_path / name)
    np.savez(tmp_path / "d.npz", x=np.zeros(3))
    with pytest.raises(RunError, match="no flight log"):
        read_recording(tmp_path / "d.npz")
    with pytest.raises(RunError, match="there is no such file"):
        read_recording(tmp_path / "e.json")


def test_stretches_by_hand():
    on = np.array([True, True, False, False, True, False])
    assert stretches(on, np.arange(7.0)) == [(0.0, 2.0), (4.0, 5.0)]
    assert stretches(np.ones(2, bool), np.arange(3.0)) == [(0.0, 2.0)]
    assert stretches(np.zeros(2, bool), np.arange(3.0)) == []
