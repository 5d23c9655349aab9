"""The serial link of the Minitaur's own mainboard: bytes and conversation, without I/O."""
