"""One function for every kind of file: the content decides, and whatever else is refused."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.errors import RecordError
from calibration.readers import read_record
from calibration.record import Board

HOSTILE = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def walk_data(walk_arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **walk_arrays)
    return buffer.getvalue()


def attempt(path):
    """Reads; a refusal must be one line of moderate length."""
    try:
        read_record(path)
    except RecordError as error:
        text = str(error)
        assert "\n" not in text
        assert len(text) < 600


def test_the_content_decides_not_the_name(make_openlog, walk_data, sim_log, write, tmp_path):
    assert read_record(write(make_openlog().data, "a.npz")).source.board is Board.MAINBOARD
    assert read_record(write(walk_data, "b.log")).source.board is Board.FOOT_COMMANDS
    sim_log.save(tmp_path / "run" / "run.npz")
    assert read_record(tmp_path / "run").source.board is Board.OWN
    assert read_record(tmp_path / "run" / "run.npz").source.board is Board.OWN


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"speed,time\n1,2\n", "no record of a robot"),
        (b"\x7fELF" + bytes(100), "no record of a robot"),
        (b"t,r,p,y,q0,", "ends within its two header lines"),
        (b"t,r\nIf\n", "lacks the columns p, y, q0"),
    ],
)
def test_what_is_no_record_is_refused(write, data, words):
    with pytest.raises(RecordError, match=words):
        read_record(write(data))


def test_arrays_of_somebody_else_are_named(write):
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.ones(3), bias=np.ones(3))
    with pytest.raises(RecordError, match="it holds bias, weights"):
        read_record(write(buffer.getvalue()))


def test_a_folder_of_nothing_and_a_path_to_nothing_are_refused(tmp_path):
    with pytest.raises(RecordError, match="folder with no"):
        read_record(tmp_path)
    with pytest.raises(RecordError, match="No such file"):
        read_record(tmp_path / "none")


@HOSTILE
@given(st.binary(max_size=300), st.sampled_from((b"", b"t,r,p\nIff\n", b"PK\x03\x04")))
def test_no_bytes_do_worse_than_a_refusal(write, data, begin):
    attempt(write(begin + data))


@HOSTILE
@given(st.lists(st.tuples(st.floats(0.0, 0.9999), st.integers(0, 255)), min_size=1, max_size=20))
def test_no_damage_to_a_log_does_worse(make_openlog, write, hits):
    data = bytearray(make_openlog(60).data)
    for at, value in hits:
        data[int(at * len(data))] = value
    attempt(write(bytes(data)))


@HOSTILE
@given(st.lists(st.tuples(st.floats(0.0, 0.9999), st.integers(0, 255)), min_size=1, max_size=5))
def test_no_damage_to_an_archive_does_worse(walk_data, write, hits):
    data = bytearray(walk_data)
    for at, value in hits:
        data[int(at * len(data))] = value
    attempt(write(bytes(data)))


@HOSTILE
@given(st.floats(0.0, 0.9999))
def test_no_cut_does_worse(make_openlog, walk_data, write, part):
    for data in (make_openlog(60).data, walk_data):
        attempt(write(data[: int(part * len(data))]))
