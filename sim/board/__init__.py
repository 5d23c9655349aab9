"""The emulated motor controllers: the firmware on a simulated robot."""
