"""The protocol of an evaluation: its job, its episodes on a plant or on a board, its report."""
