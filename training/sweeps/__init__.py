"""Sweeps: what is varied, the trials, and the table and picture of their trainings."""
