"""Who takes part on which store: worker command, tuning, and how stored results are counted."""
