"""Hardware-in-the-loop tests: `python -m hil --help`, or `make hil`.

One set of checks for every kind of motor controller, from the emulated one to the one on the desk.
Like the rest of this floor it imports no simulator: what it needs of one, it starts as a process.
"""
