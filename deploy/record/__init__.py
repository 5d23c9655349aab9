"""What a run leaves: flight log, report, plots."""
