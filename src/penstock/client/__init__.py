"""The client: what a process that enqueues does, in sync code and in event loops."""
