"""A policy at work asks nobody on the network and leaves nothing in the user's folders."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from support.processes import ROOT

# onnxruntime 1.32 opens its sockets nine seconds after the first policy was loaded.
_WATCHED_S = 10.5


def open_sockets(pid):
    """The sockets that a process has now."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed since
            found.add(os.readlink(descriptor))
    return {name for name in found if name.startswith("socket:")}


def test_a_running_policy_opens_no_socket_and_writes_no_file(tmp_path):
    program = (
        "import sys, time, numpy as np\n"
        "from deploy.policy.onnx_policy import OnnxPolicy\n"
        "policy = OnnxPolicy.load('policies/trot.onnx')\n"
        "print(flush=True)\n"
        "while True:\n"
        "    policy(np.zeros(policy.sizes[0], np.float32))\n"
        "    time.sleep(0.05)\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    command = [sys.executable, "-B", "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as process:
        try:
            assert process.stdout.readline() == b"\n"
            end_s = time.monotonic() + _WATCHED_S
            while time.monotonic() < end_s:
                assert open_sockets(process.pid) == set()
                time.sleep(0.02)
            assert process.poll() is None
        finally:
            process.kill()
    assert list(tmp_path.iterdir()) == []
