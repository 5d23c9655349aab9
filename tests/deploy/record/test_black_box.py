"""The black box: whole, readable by anybody, and never in the way, whatever ends the run."""

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader, make_reader
from mcap.writer import Writer
from support.flights import about
from support.processes import ROOT, has_ended, until

from deploy.errors import LogError
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.record.black_box import BlackBox
from deploy.record.read_log import MCAP_MAGIC, read_log, read_run_log
from deploy.record.tick_row import TickRow


def assert_same(log, other):
    """Check that two logs have the same contract, robot, and values bit for bit."""
    assert (log.contract, log.robot, log.period_s) == (other.contract, other.robot, other.period_s)
    for name, values in other.arrays().items():
        np.testing.assert_array_equal(log.arrays()[name], values, err_msg=name)
        assert log.arrays()[name].dtype == values.dtype


def rows_of(count):
    """Rows of so many ticks, each with its number in several places."""
    row = TickRow.of(4, 8)
    rows = row.rows(count)
    columns = row.columns(rows)
    columns["tick"][:] = np.arange(count)
    columns["woke_ns"][:] = 6_000_000 * np.arange(count)
    columns["motor_position_rad"][:] = np.arange(count)[:, None]
    return rows


@pytest.fixture
def recorded(fly, contract, box, tmp_path):
    """A short run with its black box: the path of that, and the log in memory."""
    path = tmp_path / "run.mcap"
    box.begin(path, about(contract, policy="test", answer=42))
    b = fly(on_tick=box.put)
    box.note("a fault", error=True)
    box.count({"states": 7})
    report = box.close()
    assert (report.ticks, report.ticks_lost, report.cause) == (len(b.log), 0, "")
    assert report.describe() == ""
    return path, b.log


def test_both_files_of_a_run_say_the_same(recorded, contract, tmp_path):
    path, log = recorded
    run = read_run_log(path)
    assert run.facts == {"policy": "test", "answer": 42}
    assert run.cut == ""
    assert run.tick.tolist() == list(range(len(log)))
    assert "a fault" in run.notes
    assert [note for note in run.notes if note.startswith("mode ")] == [
        "mode STAND_UP", "mode RUN", "mode FINISH", "mode DAMP",
    ]  # fmt: skip
    # The contract is that of the metadata; the run's own differs in its gait.
    for name, values in log.arrays().items():
        np.testing.assert_array_equal(getattr(run.log, name), values, err_msg=name)
    run.log.save(tmp_path / "run.npz")
    assert_same(read_log(tmp_path / "run.npz"), run.log)
    assert_same(read_log(tmp_path), run.log)


def test_the_public_reader_decodes_every_topic_by_the_schemas_in_the_file(recorded):
    path, log = recorded
    with path.open("rb") as file:
        reader = make_reader(file)
        assert reader.get_summary().statistics.message_count > len(log)
        found = [(schema, channel, message) for schema, channel, message in reader.iter_messages()]
        assert next(iter(reader.iter_metadata())).metadata["facts"]
    schemas = {channel.topic: schema for schema, channel, _ in found}
    assert {topic: schema.name for topic, schema in schemas.items()} == {
        "/tick": "minitaur.Tick",
        "/log": "foxglove.Log",
        "/pose": "foxglove.FrameTransform",
        "/link": "minitaur.LinkCounters",
    }
    pool = descriptor_pool.DescriptorPool()
    for each in descriptor_pb2.FileDescriptorSet.FromString(schemas["/tick"].data).file:
        pool.Add(each)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("minitaur.Tick"))
    ticks = [kind.FromString(m.data) for _, channel, m in found if channel.topic == "/tick"]
    np.testing.assert_array_equal([tick.target_rad for tick in ticks], log.target_rad)
    for _, channel, message in found:
        if channel.message_encoding == "json":
            fields = json.loads(message.data)
            assert fields["timestamp"]["sec"] > 1_600_000_000
            assert channel.topic != "/pose" or set(fields["rotation"]) == set("xyzw")


def ticks_of(path):
    """How many ticks are read of a file, -1 for one clear error."""
    with contextlib.suppress(LogError):
        return len(read_log(path))
    with pytest.raises(LogError, match=r"\A[^\n]+\Z"):
        read_log(path)
    return -1


def test_cut_off_anywhere_it_gives_what_comes_before_or_one_clear_error(recorded, tmp_path):
    path, log = recorded
    data = path.read_bytes()
    with path.open("rb") as file:
        chunk = make_reader(file).get_summary().chunk_indexes[-1]
    start, end = chunk.chunk_start_offset, chunk.chunk_start_offset + chunk.chunk_length
    # Every byte about the edges of the last chunk, and some of the rest.
    edges = {edge + near for edge in (start, end, len(data)) for near in range(-30, 31)}
    sizes = sorted({*range(0, len(data), 97), *(size for size in edges if size <= len(data))})
    cut, counts = tmp_path / "cut.mcap", []
    for size in sizes:
        cut.write_bytes(data[:size])
        counts.append(ticks_of(cut))
    assert counts == sorted(counts)
    assert counts[sizes.index(end - 1)] < counts[sizes.index(end)] == len(log)
    assert read_run_log(cut).cut == ""
    cut.write_bytes(data[:-1])
    run = read_run_log(cut)
    assert run.cut != ""
    np.testing.assert_array_equal(run.log.target_rad, log.target_rad)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_at_any_byte_it_gives_no_wrong_tick(damageable, data):
    path, whole = damageable
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    assert ticks_of(path) in (-1, 0, 50)


@pytest.fixture(scope="module")
def damageable(tmp_path_factory):
    """A place for a file, and the bytes of a black box of 50 ticks."""
    contract = OnnxPolicy.load("trot").contract
    folder = tmp_path_factory.mktemp("damaged")
    row = TickRow.of(16, 8)
    box = BlackBox(row, 0.1)
    box.begin(folder / "run.mcap", about(contract))
    for each in row.rows(50):
        box.put(each)
    assert box.close().ticks == 50
    return folder / "damaged.mcap", (folder / "run.mcap").read_bytes()


def killed_after(path, ticks, contract):
    """Put so many ticks into a box, in a process that then kills itself at once."""
    program = (
        "import json, os, signal, sys\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from deploy.record.black_box import BlackBox\n"
        "from deploy.record.tick_row import TickRow\n"
        "path, ticks, about = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])\n"
        "row = TickRow.of(4, 8)\n"
        "rows = row.rows(ticks)\n"
        "row.columns(rows)['tick'][:] = np.arange(ticks)\n"
        "row.columns(rows)['woke_ns'][:] = 6_000_000 * np.arange(ticks)\n"
        "box = BlackBox(row, 0.006)\n"
        "box.begin(path, about)\n"
        "for each in rows:\n"
        "    box.put(each)\n"
        "print(box.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(ticks), json.dumps(about(contract))],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("ticks", [1, 1000])
def test_a_loop_that_is_killed_leaves_every_tick_and_a_whole_file(tmp_path, contract, ticks):
    path = tmp_path / "run.mcap"
    writer = killed_after(path, ticks, contract)
    until(lambda: has_ended(writer))
    run = read_run_log(path)
    assert run.tick.tolist() == list(range(ticks))
    assert run.cut == ""
    assert path.read_bytes().endswith(MCAP_MAGIC)
    assert "killed" in run.notes[-1]


def test_a_writer_that_is_killed_leaves_whole_chunks_and_the_report_says_so(
    box, contract, tmp_path
):
    path = tmp_path / "run.mcap"
    box.begin(path, about(contract))
    rows = rows_of(150)
    for row in rows[:100]:
        box.put(row)
    until(lambda: len(read_log(path)) == 100)  # on the disk, though the run goes on
    os.kill(box.pid, signal.SIGKILL)
    for row in rows[100:]:
        box.put(row)
    report = box.close()
    assert (report.ticks, report.ticks_lost, report.lost_since_tick) == (100, 50, 100)
    assert "ended too early (exit -9)" in report.cause
    with path.open("rb") as file:
        messages = NonSeekingReader(file).iter_messages(["/tick"], log_time_order=False)
        assert [next(messages)[2].sequence for _ in range(100)] == list(range(100))
        with pytest.raises(EndOfFile):
            next(messages)
    assert len(read_run_log(path).log) == 100


def test_a_writer_that_stands_still_costs_ticks_and_no_time(box, contract, tmp_path):
    path = tmp_path / "run.mcap"
    box.begin(path, about(contract))
    os.kill(box.pid, signal.SIGSTOP)
    for row in rows_of(250):  # the ring has room for 200
        box.put(row)
    os.kill(box.pid, signal.SIGCONT)
    report = box.close()
    assert (report.ticks, report.ticks_lost, report.lost_since_tick) == (200, 50, 200)
    assert report.describe() == (
        f"{path} lacks 50 of 250 ticks, from tick 200 on: the disk was too slow: take a faster "
        "one, or stop what uses it"
    )
    assert read_run_log(path).tick.tolist() == list(range(200))


def test_ticks_that_are_lost_are_missing_and_those_after_them_are_there(box, contract, tmp_path):
    path = tmp_path / "run.mcap"
    box.begin(path, about(contract))
    rows = rows_of(300)
    os.kill(box.pid, signal.SIGSTOP)
    for row in rows[:250]:
        box.put(row)
    os.kill(box.pid, signal.SIGCONT)
    until(lambda: len(read_log(path)) == 200)
    for row in rows[250:]:
        box.put(row)
    report = box.close()
    assert (report.ticks, report.ticks_lost, report.lost_since_tick) == (250, 50, 200)
    run = read_run_log(path)
    assert run.tick.tolist() == [*range(200), *range(250, 300)]
    np.testing.assert_array_equal(run.log.motor_position_rad[:, 0], run.tick)


def test_a_full_disk_costs_the_ticks_for_which_there_was_no_room(box, contract, tmp_path):
    path = tmp_path / "run.mcap"
    box.begin(path, about(contract))
    limit = path.stat().st_size + 20
    resource.prlimit(box.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for row in rows_of(100):
        box.put(row)
    report = box.close()
    assert (report.ticks, report.ticks_lost, report.lost_since_tick) == (0, 100, 0)
    assert report.cause == "File too large: make room on the disk"
    run = read_run_log(path)  # no half of a chunk is in it
    assert len(run.log) == 0
    assert "EndOfFile" in run.cut


def test_where_the_disk_has_room_again_nothing_is_lost(box, contract, tmp_path):
    path = tmp_path / "run.mcap"
    box.begin(path, about(contract))
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(box.pid, resource.RLIMIT_FSIZE, (path.stat().st_size + 20, unlimited))
    for row in rows_of(100):
        box.put(row)
    time.sleep(1.0)  # it tried, most likely
    resource.prlimit(box.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
    report = box.close()
    assert (report.ticks, report.ticks_lost) == (100, 0)
    assert read_run_log(path).cut == ""


def test_a_folder_that_is_removed_costs_the_log_and_nothing_else(box, contract, tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    box.begin(folder / "run.mcap", about(contract))
    shutil.rmtree(folder)
    for row in rows_of(100):
        box.put(row)
    report = box.close()
    assert (report.ticks, report.ticks_lost, report.lost_since_tick) == (0, 100, 0)
    assert report.cause == "the file was removed while the run lasted"


def test_a_file_that_cannot_be_made_is_an_error_before_the_run(box, contract, tmp_path):
    with pytest.raises(FileNotFoundError):
        box.begin(tmp_path / "nowhere" / "run.mcap", about(contract))


def test_a_box_that_never_began_leaves_no_process(box):
    box.close()
    assert has_ended(box.pid)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither an MCAP file nor an .npz file"),
        (b"PK\x03\x04 nonsense", "damaged"),
        (MCAP_MAGIC, "it does not say of which run it is"),
    ],
)
def test_what_is_no_log_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(LogError, match=message):
        read_log(path)


def test_a_folder_without_a_log_is_one_clear_error(tmp_path):
    with pytest.raises(LogError, match=r"a folder with no run\.mcap and no run\.npz"):
        read_log(tmp_path)


def test_an_mcap_file_of_somebody_else_is_one_clear_error(tmp_path):
    stream = io.BytesIO()
    writer = Writer(stream)
    writer.start()
    writer.add_metadata("theirs", {"a": "b"})
    writer.finish()
    path = tmp_path / "theirs.mcap"
    path.write_bytes(stream.getvalue())
    with pytest.raises(LogError, match="it does not say of which run it is: no log of this stack"):
        read_log(path)
