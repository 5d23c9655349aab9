"""From robot state to motor targets: contract, pipeline, network.

onnxruntime 1.32 collects telemetry by default: it writes a device id and a database to the user's
cache, and some seconds later threads in the process of the control loop look up a host and open
sockets. Only this variable, set before the library is imported, prevents that; the library's own
``disable_telemetry_events`` comes too late. Here it is set before any module of this package
imports onnxruntime.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
