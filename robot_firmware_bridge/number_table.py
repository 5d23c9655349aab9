"""Tables of numbers that people write: with an editor, a spreadsheet, or a script of their own.

Read are commas, semicolons or tabs between the cells, decimal points and (where the comma does not
separate) decimal commas, quotes, blank and empty lines, lines that begin with ``#``, line ends of
any system and the byte order mark of UTF-8. Whatever else there is, is refused by its cause.
"""

from __future__ import annotations

import codecs
import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

from robot_firmware_bridge.errors import BridgeError

_SEPARATORS = ",;\t"
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SHOWN = 60
# Far more than any table that people write.
_LARGEST_BYTES = 2**24


class NumberError(BridgeError):
    """A text is not the number, or the table of numbers, that it should be."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        line: Its line in the file, from 1.
        values: Finite numbers, one a column.
    """

    line: int
    values: tuple[float, ...]


def number(text: str) -> float:
    """Return the finite number that a text is, with a decimal point or a decimal comma.

    Raises:
        NumberError: It is none, or too large.
    """
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise NumberError(f"{text[:_SHOWN]!r} is not a number")
    value = float(text.replace(",", "."))
    if not math.isfinite(value):
        raise NumberError(f"{text[:_SHOWN]} is too large")
    return value


def read_table(path: Path, columns: tuple[str, ...]) -> list[Row]:
    """Return the rows of a table whose first line names these columns.

    Raises:
        NumberError: The file cannot be read, is no such table, or has no rows; names the line.
    """
    separator: str | None = None
    rows: list[Row] = []
    for line, text in enumerate(_text(path).splitlines(), start=1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        if separator is None:
            separator = _separator(text, columns)
            if separator is None:
                raise NumberError(
                    f"{path}, line {line}: the first line must be {','.join(columns)}, "
                    f"not {text[:_SHOWN]!r}"
                )
            continue
        cells = _cells(text, separator)
        if not any(cells):  # what a spreadsheet keeps of an emptied row
            continue
        if len(cells) != len(columns):
            raise NumberError(
                f"{path}, line {line}: {len(columns)} numbers are needed, {len(cells)} are there"
            )
        try:
            rows.append(Row(line, tuple(map(number, cells))))
        except NumberError as error:
            raise NumberError(f"{path}, line {line}: {error}") from None
    if separator is None:
        raise NumberError(f"{path}: it is empty; the first line must be {','.join(columns)}")
    if not rows:
        raise NumberError(f"{path}: no numbers in it")
    return rows


def _text(path: Path) -> str:
    """Return the text of a file in UTF-8, without its byte order mark."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NumberError(f"cannot read {path}: {reason}") from error
    if len(data) > _LARGEST_BYTES:
        raise NumberError(f"{path} is larger than {_LARGEST_BYTES >> 20} MiB")
    if data.startswith(_UTF16):
        raise NumberError(f"{path} is in UTF-16: save it as CSV UTF-8")
    if b"\0" in data:
        raise NumberError(f"{path} is no text file: save the table as CSV UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NumberError(f"{path}, line {line}: not in UTF-8: save it as CSV UTF-8") from error


def _separator(header: str, columns: tuple[str, ...]) -> str | None:
    """Return what separates the names of the columns; None if these are not the names."""
    for separator in _SEPARATORS:
        if tuple(_cells(header, separator)) == columns:
            return separator
    return None


def _cells(text: str, separator: str) -> list[str]:
    """Return the cells of a line, without quotes and spaces around them."""
    try:
        (cells,) = csv.reader([text], delimiter=separator, skipinitialspace=True)
    except csv.Error:  # a cell of a hundred thousand characters is no number in any case
        return [text]
    return [cell.strip() for cell in cells]
