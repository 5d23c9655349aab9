"""The ends of a run as a process on a real terminal or disk: nothing lost, nothing overwritten."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support.processes import ROOT, until

from deploy.errors import RunError
from deploy.files import write_somewhere
from deploy.record.flight_log import FlightLog
from deploy.record.read_log import MCAP_MAGIC, read_log, read_run_log
from deploy.record.run_files import RunFiles, new_folder, prove
from deploy.replay import main as replay_main
from deploy.run import main as run_main
from robot_firmware_bridge.serial.link import SerialLink
from robot_firmware_bridge.serial.robot import SerialRobot
from sim.board.process import StartedBoard

RUN = [sys.executable, "-m", "minitaur", "run", "--no-plot"]


@pytest.fixture
def start(tmp_path):
    """Starts `minitaur run` in a folder of its own; ends what is left of it."""
    children = []

    def start(*arguments, shell="", **options):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = ["bash", "-c", f'{shell} exec "$0" "$@"', *RUN, *map(str, arguments)]
        children.append(
            subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **options)
        )
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()


@pytest.fixture
def terminal():
    """A pseudo terminal: the end that a user sees, and the end of the program."""
    ours, theirs = pty.openpty()
    open_ends = {ours, theirs}

    def close(end):
        if end in open_ends:
            os.close(end)
            open_ends.discard(end)

    yield ours, theirs, close
    for end in list(open_ends):
        close(end)


def the_report(folder):
    """The report and log of the one run of a folder."""
    (run,) = [path for path in folder.iterdir() if path.name != "last"]
    return json.loads((run / "run.json").read_text()), FlightLog.load(run / "run.npz")


def wait_for(ours, word):
    """Read a terminal until a word was seen on it."""
    seen = b""

    def read():
        nonlocal seen
        seen += os.read(ours, 4096)

    read()
    until(lambda: word in seen, read)


@pytest.mark.parametrize("command", [(), ("--policy", "steer", "--command", "keyboard")])
def test_a_terminal_that_hangs_up_ends_the_run_gently_with_log_and_report(
    start, terminal, tmp_path, command
):
    ours, theirs, close = terminal
    child = start("--seconds", "30", *command, preexec_fn=lambda: os.login_tty(theirs))
    close(theirs)
    wait_for(ours, b"run ")
    close(ours)  # the kernel sends SIGHUP; every write to the terminal fails from now on
    assert child.wait() == 130
    report, log = the_report(tmp_path / "runs-robot")
    assert report["interrupted"] is True
    assert report["faults"] == []
    assert log.kp[-1] == 0.0


def test_where_the_hang_up_is_ignored_the_run_goes_on_to_its_end(start, terminal, tmp_path):
    """As under nohup: the terminal is gone, and so is nothing else."""
    ours, theirs, close = terminal
    child = start("--seconds", "2", shell="trap '' HUP;", preexec_fn=lambda: os.login_tty(theirs))
    close(theirs)
    wait_for(ours, b"run ")
    close(ours)
    assert child.wait() == 0
    report, log = the_report(tmp_path / "runs-robot")
    assert report["seconds"] == pytest.approx(2.0, abs=0.01)
    assert log.kp[-1] == 0.0


# ---- a board whose motors are on when the terminal goes away -------------------------------------

ON = {"READY", "ACTIVE"}


class Wired:
    """An emulated board, whose robot a run drives by its port."""

    def __init__(self, kind):
        self.kind, self.board = kind, StartedBoard(["--kind", kind])
        robot, policy = ("minitaur", "trot-stock") if kind == "stock" else ("serial", "trot")
        self.words = ["--robot", robot, "--port", self.board.port, "--policy", policy]

    def events(self, name, since=0):
        return [e for e in self.board.process.events()[since:] if e["event"] == name]

    def torque(self, since):
        """Whether the motors may be on, after each of the events since then."""
        if self.kind == "stock":
            return [event["on"] for event in self.events("drivers", since)]
        return [event["mode"] in ON for event in self.events("mode", since)]

    def await_stand(self):
        """Wait until the robot hangs on its stand, and return the number of events so far."""
        if any(event["fault"] != "none" for event in self.events("mode")[-1:]):
            link = SerialLink(self.board.port)
            with contextlib.closing(SerialRobot(link)) as robot:  # it damps until it is cleared
                robot.clear_fault()
        until(lambda: len(self.events("on_stand")) == len(self.events("off_stand")))
        return len(self.board.process.events())


@pytest.fixture(scope="module", params=["core", "stock"])
def wired(request):
    made = Wired(request.param)
    yield made
    made.board.close()


def close_terminal(run):
    run.close_terminal()


def close_stdout(run):
    run.child.stdout.close()


def hang_up(run):
    run.child.send_signal(signal.SIGHUP)


def sleep(run):
    """Stop it for two seconds, as a computer that sleeps does."""
    run.child.send_signal(signal.SIGSTOP)
    time.sleep(2.0)


class Run:
    """A run that is typed into a terminal of its own, and what it prints goes to a pipe."""

    def __init__(self, child, ours, close, report):
        self.child, self.ours, self.report = child, ours, report
        self._close = close

    def close_terminal(self):
        self._close(self.ours)


def login(terminal):
    """Make a terminal that of this process, but leave it its standard output."""
    stdout = os.dup(1)
    os.login_tty(terminal)
    os.dup2(stdout, 1)
    os.close(stdout)


@pytest.fixture
def typed(start, tmp_path):
    """Starts runs, each in a new terminal."""
    ends = []

    def close(end):
        if end in ends:
            os.close(end)
            ends.remove(end)

    with contextlib.ExitStack() as stack:

        def typed(*words):
            ours, theirs = pty.openpty()
            ends.extend((ours, theirs))
            report = tmp_path / f"run-{len(ends)}.json"
            child = start(
                *("--arm", "--report", report, *words),
                stdout=subprocess.PIPE,
                preexec_fn=lambda: login(theirs),
            )
            stack.callback(child.stdout.close)
            close(theirs)
            return Run(child, ours, close, report)

        yield typed
    for end in list(ends):
        close(end)


# What a computer that is busy with other work does to a run.
DISTURBED = {"stale_state", "robot_fault", "overruns", "pace_sit", "link_sit"}


@pytest.mark.parametrize(
    ("harm", "moment", "seconds", "code", "faults"),
    [
        # The motors are on once it stands up.
        (close_terminal, b"\x1b[Krun ", 30, 130, {""}),
        (hang_up, b"\x1b[Kstand up ", 30, 130, {""}),
        (close_stdout, b"\x1b[Kstand up ", 0.2, 0, {""}),
        (sleep, b"\x1b[Kstand up ", 30, 1, {"stale_state", "robot_fault", "robot_link"}),
    ],
    ids=["close", "hang up", "no reader", "sleep"],
)
def test_the_terminal_goes_away_and_the_motors_are_safe(
    typed, wired, harm, moment, seconds, code, faults
):
    for _ in range(3):  # a run that this computer disturbed proves nothing
        since = wired.await_stand()
        run = typed(*wired.words, "--seconds", seconds)
        next(line for line in run.child.stdout if "Type yes" in line)
        os.write(run.ours, b"yes\n")
        with contextlib.suppress(OSError):  # it was disturbed, and has ended by now
            wait_for(run.ours, moment)
        harm(run)
        if harm is sleep:
            assert not wired.torque(since)[-1]
            run.child.send_signal(signal.SIGCONT)
        ended = run.child.wait()
        report = json.loads(run.report.read_text())
        first = (report["faults"] or [""])[0]
        if first in faults or first not in DISTURBED:
            break
    assert ended == code, report["fault_details"]
    assert first in faults
    assert report["interrupted"] is (code == 130)
    assert len(FlightLog.load(run.report.with_suffix(".npz"))) > 10
    until(lambda: not wired.torque(since)[-1])
    torque = wired.torque(since)
    assert torque[0]
    assert torque == sorted(torque, reverse=True)  # on, then off, and not on again


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (close_terminal, 130),
        (lambda run: os.write(run.ours, b"\x03"), 130),  # Ctrl-C
        (lambda run: os.write(run.ours, b"\x04"), 2),  # Ctrl-D, the end of the input
    ],
    ids=["close", "ctrl-c", "ctrl-d"],
)
def test_the_terminal_goes_away_at_the_question_and_nothing_is_armed(typed, board, act, code):
    b = board()
    run = typed("--robot", "serial", "--port", b.path)
    until(lambda: "Type yes" in run.child.stdout.readline())
    act(run)
    assert run.child.wait() == code
    assert not run.report.exists()
    assert not b.moved


@pytest.mark.parametrize("delay_s", [0.15, 0.3, 0.5, 0.8])
def test_a_signal_before_the_loop_is_no_traceback(start, delay_s):
    child = start("--seconds", "30", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(delay_s)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate()
    # Python itself dies of a signal without a word until it has read the first lines of ours. Where
    # C code was running Python code it ends itself by SIGINT, which a shell reports as 130, too.
    assert child.returncode in (130, -signal.SIGTERM, -signal.SIGINT)
    assert said in ("", "interrupted\n")


def test_every_run_has_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run_main(["--no-plot", "--seconds", "0.1", "--no-realtime"]) == 0
    runs = tmp_path / "runs-robot"
    first, second = sorted(path.name for path in runs.iterdir() if not path.is_symlink())
    assert re.fullmatch(r"\d{8}-\d{6}-sim-walk", first)
    assert second > first
    assert (runs / "last").resolve().name == second
    assert sorted(path.name for path in (runs / first).iterdir()) == [
        "run.json",
        "run.mcap",
        "run.npz",
    ]


def test_folders_of_one_second_are_numbered(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda _: "20300101-000000")
    names = []
    for _ in range(3):
        with new_folder(tmp_path, "sim", "trot") as folder:
            (folder / "run.json").write_text("{}")
        names.append(folder.name)
    stem = "20300101-000000-sim-trot"
    assert names == [stem, f"{stem}-2", f"{stem}-3"]
    assert (tmp_path / "last").resolve().name == f"{stem}-3"


def test_a_run_that_is_refused_leaves_no_folder_and_the_last_one_stays_the_last(
    tmp_path, monkeypatch, error_line
):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs-robot"
    with new_folder(runs, "sim", "trot") as before:
        (before / "run.json").write_text("{}")
    assert run_main(["--robot", "serial", "--port", "/dev/null"]) == 2
    assert "no serial port" in error_line()
    assert sorted(path.name for path in runs.iterdir()) == [before.name, "last"]
    assert (runs / "last").resolve() == before


@pytest.mark.parametrize("place", ["/proc/x.json", "/dev/null/x.json", "taken.json", "file/x.json"])
def test_a_report_that_cannot_be_written_is_refused_before_anything_moves(
    tmp_path, monkeypatch, error_line, place
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.json").mkdir()
    (tmp_path / "file").write_text("")
    assert run_main(["--report", place]) == 2
    assert error_line().startswith(f"error: cannot write {place}: ")


def test_no_file_may_be_a_folder(tmp_path):
    files = RunFiles(tmp_path / "run.json", tmp_path / "film.mp4")
    for path in (files.report, files.log, files.black_box, files.plot, files.film):
        path.mkdir()
        with pytest.raises(RunError, match=f"cannot write {path}: Is a directory"):
            prove(files, 0)
        path.rmdir()
    prove(files, 0)
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_the_run_before_do_not_stay_beside_a_new_report(tmp_path):
    files = RunFiles(tmp_path / "run.json", tmp_path / "run.gif")
    for path in (files.plot, files.film, files.page, files.traceback, tmp_path / "other.png"):
        path.write_text("old")
    prove(files, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["other.png"]


def test_a_disk_too_small_for_the_log_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"take up to \d+ MB, and the disk of .* run for fewer"):
        prove(RunFiles(tmp_path / "run.json", None), shutil.disk_usage(tmp_path).free + 10**9)


def test_what_its_place_does_not_take_is_written_elsewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = tmp_path / "a" / "run.txt"
    path.parent.write_text("a file where the folder was")
    spare = write_somewhere(path, lambda draft: draft.write_text("all of it"))
    assert spare.read_text() == "all of it"
    said = capsys.readouterr().err
    assert said.startswith(f"error: cannot write {path} (")
    assert said.endswith(f"): wrote {spare}\n")


def test_half_of_a_file_never_has_its_name(tmp_path):
    def stopped(draft):
        draft.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_somewhere(tmp_path / "run.png", stopped)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills_up_during_the_run_costs_neither_report_nor_log(start, small_disk):
    child = start(
        *("--seconds", "3", "--logdir", small_disk),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    # The proof of its files is over, and the robot stands or walks.
    until(lambda: any(box.stat().st_size > 30_000 for box in small_disk.glob("*/run.mcap")))
    with open(small_disk / "ballast", "wb", buffering=0) as file:
        while file.write(bytes(4096)) == 4096 and shutil.disk_usage(small_disk).free:
            pass
    said, error = child.communicate()
    assert child.returncode == 1  # the report is not where it should be
    assert "speed " in said
    lines = error.splitlines()
    for line, kind in zip(lines, ("npz", "json"), strict=True):
        place = rf"{small_disk}/[^/]+-sim-walk/run\.{kind}"
        assert re.match(rf"error: cannot write {place} \(No space left on device\): wrote ", line)
    log, report = (line.partition("wrote ")[2] for line in lines)
    assert len(FlightLog.load(log)) > 500
    with open(report, encoding="utf-8") as file:
        found = json.load(file)
    assert found["faults"] == []
    # The file that is written while the run lasts has what came before, in whole chunks.
    box = found["black_box"]
    assert box["ticks_lost"] > 0
    assert box["cause"].startswith("No space left on device")
    assert re.search(rf"^log      .*run\.mcap lacks {box['ticks_lost']} of ", said, re.M)
    assert len(read_log(small_disk / "last" / "run.mcap")) == box["ticks"]


@pytest.mark.parametrize("delay_s", [0.0, 0.7])
def test_a_run_that_is_killed_leaves_a_log_that_proves_what_it_did(
    start, tmp_path, capsys, delay_s
):
    report = tmp_path / "run.json"
    child = start("--seconds", "30", "--report", report, stderr=subprocess.DEVNULL)
    path = report.with_suffix(".mcap")
    until(lambda: path.exists() and path.stat().st_size > 30_000)
    time.sleep(delay_s)
    child.kill()
    child.wait()
    until(lambda: path.read_bytes().endswith(MCAP_MAGIC))  # its writer completes the file
    found = read_run_log(path)
    assert (found.cut, found.tick.tolist()) == ("", list(range(len(found.log))))
    assert replay_main([str(path)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("equal: ")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["run.mcap"]
