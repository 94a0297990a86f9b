"""One file per question; the docstring is the question."""
