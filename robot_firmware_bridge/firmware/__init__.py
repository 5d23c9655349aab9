"""The motor controller's firmware: a C core, ports to boards, and what binds it to Python.

``core/`` is portable C11 that knows no hardware but ``hal/hal.h``; ``ports/`` are boards, of which
``posix`` is a shared library whose hardware is memory. ``library.py`` builds and drives that one,
``generate.py`` writes the C that follows from ``protocol.toml`` and the robot description, and
``fuzz.py`` holds the two decoders of the protocol against each other. Standard library and numpy.
"""
