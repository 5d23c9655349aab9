"""Tools of the firmware: the generator of its C headers and the fuzzer of its decoder."""
