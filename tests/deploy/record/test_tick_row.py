"""The row of a tick is a protobuf message that any decoder reads."""

import dataclasses

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from deploy.record.flight_log import FlightLog
from deploy.record.tick_row import SCHEMA_NAME, TickRow


@pytest.fixture
def message():
    """The class that protobuf makes of the schema in a file."""
    files = descriptor_pb2.FileDescriptorSet.FromString(TickRow.schema())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(SCHEMA_NAME))


@pytest.mark.parametrize("sizes", [(1, 8), (16, 8), (66, 19), (4096, 19)])
def test_protobuf_reads_what_numpy_wrote(message, sizes):
    row = TickRow.of(*sizes)
    rows = row.rows(3)
    columns = row.columns(rows)
    rng = np.random.default_rng(0)
    for values in columns.values():
        if values.dtype.kind == "f":
            values[:] = rng.normal(size=values.shape)
        else:
            values[:] = rng.integers(0, 4, size=values.shape)
    columns["state_t_ns"][1] = -(2**62)
    columns["robot_fault"][1] = 2**31
    found = message.FromString(rows[1].tobytes())
    for name, values in columns.items():
        np.testing.assert_array_equal(getattr(found, name), values[1], err_msg=name)
    assert found.ByteSize() <= row.nbytes


def test_the_fields_of_a_log_are_those_of_a_row():
    names = {field.name for field in dataclasses.fields(FlightLog)}
    columns = set(TickRow.of(16, 8).columns(TickRow.of(16, 8).rows(1)))
    assert columns - {"tick"} == names - {
        "contract",
        "also",
        "robot",
        "period_s",
        "events",
        "dry_run",
    }


def test_a_blank_row_says_that_nothing_is_known(message):
    row = TickRow.of(16, 8)
    found = message.FromString(row.blank.tobytes())
    assert np.isnan(found.observation).all()
    assert np.isnan(found.kp)
    assert (found.tick, found.woke_ns, found.mode) == (0, 0, 0)


def test_a_message_of_another_layout_does_not_fit():
    row, other = TickRow.of(16, 8), TickRow.of(8, 16)
    assert row.nbytes == other.nbytes
    assert row.fits(row.rows(2))
    assert not row.fits(other.rows(2))
