"""Experiments over the whole stack: transfer, ablation, and the peers to compare with."""
