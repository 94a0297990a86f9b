"""How user code is run: as a coroutine of the event loop, or in a thread."""
