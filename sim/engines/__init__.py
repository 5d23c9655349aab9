"""The physics engines, and what a model needs to stand in one."""
