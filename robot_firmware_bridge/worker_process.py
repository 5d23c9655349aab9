"""What every worker process of this stack does first: live no longer than its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def obey_parent() -> None:
    """Let the parent of this worker process decide its end, even if the parent is killed."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the parent gets them too, and ends its workers
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
