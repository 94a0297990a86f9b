"""The supervisor: keeps runners and children alive, and accounts for their jobs."""
