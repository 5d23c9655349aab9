"""The transfer study: every policy under every condition."""
