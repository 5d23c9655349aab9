"""Tables of numbers: any that people write read back equal, or are refused by their cause."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robot_firmware_bridge.number_table import NumberError, number, read_table

COLUMNS = ("t_s", "speed_mps", "yaw_rate_rad_s")
HEAD = ",".join(COLUMNS)

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-99, 99).map(float)
tables = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=6)


@st.composite
def dialects(draw):
    """A way to write a table: a function of its rows."""
    separator = draw(st.sampled_from(",;\t"))
    quoted = draw(st.booleans())
    comma = draw(st.booleans()) and (separator != "," or quoted)
    space = draw(st.sampled_from(["", " ", "  "]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    mark = draw(st.sampled_from(["", "\ufeff"]))
    between = draw(st.lists(st.sampled_from(["", "   ", "# note, with; all", " #", separator * 2])))
    last = draw(st.sampled_from(["", end, end * 3]))

    def line(cells):
        return (separator + space).join(f'"{cell}"' if quoted else cell for cell in cells)

    def written(rows):
        # Separators alone are an emptied row, but not before the header.
        lines = [text for text in between if text != separator * 2] + [line(COLUMNS), *between]
        for row in rows:
            cells = [repr(value) for value in row]
            lines.append(line([cell.replace(".", ",") for cell in cells] if comma else cells))
            lines += between[:1]
        return (mark + end.join(lines) + last).encode()

    return written


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables, dialects())
def test_any_table_in_any_dialect_reads_back_equal(tmp_path, rows, written):
    path = tmp_path / "table.csv"
    path.write_bytes(written(rows))
    assert [row.values for row in read_table(path, COLUMNS)] == rows


def test_rows_know_their_lines(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(f"# mine\n\n{HEAD}\n1,2,3\n\n4,5,6\n")
    assert [(row.line, row.values[0]) for row in read_table(path, COLUMNS)] == [(4, 1.0), (6, 4.0)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty; the first line must be t_s,speed_mps,yaw_rate_rad_s"),
        (b"# only\n\n", "it is empty"),
        (b"t_s,speed\n", "line 1: the first line must be .*, not 't_s,speed'"),
        (HEAD.encode(), "no numbers in it"),
        (f"{HEAD}\n1,2\n".encode(), "line 2: 3 numbers are needed, 2 are there"),
        (f"{HEAD}\n0,5,0,1,0\n".encode(), "line 2: 3 numbers are needed, 5 are there"),
        (f"{HEAD}\n1,,3\n".encode(), "line 2: '' is not a number"),
        (f"{HEAD}\n1,x,3\n".encode(), "line 2: 'x' is not a number"),
        (f"{HEAD}\n1,nan,3\n".encode(), "line 2: 'nan' is not a number"),
        (f"{HEAD}\n1,1e999,3\n".encode(), "line 2: 1e999 is too large"),
        (f"{HEAD}\n1,1_0,3\n".encode(), "line 2: '1_0' is not a number"),
        (f"{HEAD}\n1,2,{'9' * 200_000}\n".encode(), "line 2: 3 numbers are needed"),
        (HEAD.replace(",", ";").encode() + b"\n1;1.234,5;3\n", "line 2: '1.234,5' is not a number"),
        (f"{HEAD}\n0,0,0".encode("utf-16"), "is in UTF-16: save it as CSV UTF-8"),
        (f"{HEAD}\n0,0,0".encode("utf-16-le"), "is no text file: save the table as CSV UTF-8"),
        (f"{HEAD}\n0,0,0 °\n".encode("latin-1"), "line 2: not in UTF-8"),
        (b"PK\x03\x04\x00\x00", "is no text file"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_cause(tmp_path, data, message):
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    with pytest.raises(NumberError, match=message) as caught:
        read_table(path, COLUMNS)
    assert "table.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere.csv", "No such file"), ("", "Is a directory"), ("a\0b", "null byte")],
)
def test_a_file_that_is_not_there_is_named(tmp_path, name, message):
    with pytest.raises(NumberError, match=f"cannot read .*{message}"):
        read_table(tmp_path / name, COLUMNS)


def test_a_file_without_end_is_refused():
    with pytest.raises(NumberError, match="/dev/zero is larger than 16 MiB"):
        read_table(Path("/dev/zero"), COLUMNS)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), (" -2,5 ", -2.5), ("+.5", 0.5), (",5", 0.5), ("3.", 3.0), ("1e-3", 0.001)],
)
def test_a_number_is_read_as_people_write_it(text, value):
    assert number(text) == value


@pytest.mark.parametrize(
    "text", ["", "-", ".", "1 2", "1,2,3", "0x10", "1.2.3", "\u0661", "1e", "inf"]
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(NumberError, match="is not a number"):
        number(text)
