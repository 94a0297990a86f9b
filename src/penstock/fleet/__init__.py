"""A fleet: the workers of one profile on one host, under one process that keeps them running."""
