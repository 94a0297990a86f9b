"""An app that cannot be imported."""

app = 1 / 0
