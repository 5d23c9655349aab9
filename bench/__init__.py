"""Benchmarks: each module measures this project beside a peer or a limit."""
