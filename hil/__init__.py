"""Hardware-in-the-loop checks, as pytest: `minitaur hil --help`, or `make hil`.

One set of checks for every board kind, from the emulated board to the one on the desk. This floor
imports no simulator: a simulated board is a process of its own.
"""
