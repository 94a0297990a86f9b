"""The worker: a supervisor that runs no user code, runners that do, children for lone jobs."""
