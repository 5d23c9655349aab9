"""The C locale, for the moment in which a C library reads numbers from a text.

C's ``strtod`` reads by the locale of the process. Qt, GTK or a script may have set one with a
decimal comma, and there "5.65" is 5.
"""

from __future__ import annotations

import contextlib
import locale
import threading
from collections.abc import Iterator

_lock = threading.Lock()


@contextlib.contextmanager
def decimal_points() -> Iterator[None]:
    """Let numbers have a decimal point, in the whole process.

    A locale of this thread alone would not do: with a window, Bullet reads files in a thread of its
    own. One thread at a time is within, so that none restores the locale while another reads. A
    thread that sets the locale by itself meanwhile is not kept from it.
    """
    with _lock:
        before = locale.setlocale(locale.LC_NUMERIC)
        locale.setlocale(locale.LC_NUMERIC, "C")
        try:
            yield
        finally:
            locale.setlocale(locale.LC_NUMERIC, before)
