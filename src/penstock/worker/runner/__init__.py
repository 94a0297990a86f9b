"""A runner: claims light work, runs it in coroutines and threads, and settles it."""
