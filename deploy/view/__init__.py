"""The live view of a run: a process of its own shows the newest ticks to web browsers."""
