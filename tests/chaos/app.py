"""The app that chaos workers run: all tasks of the suite; its settings are the environment's."""

from __future__ import annotations

from penstock import App
from tests.chaos import tasks

app = App()
app.include(tasks)
