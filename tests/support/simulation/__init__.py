"""A small world on one thread: workers, producers and faults around a broker, in virtual time.

Every actor is a generator that yields how long it waits, in milliseconds; between two yields it is
alone in the world. One seed draws every delay, choice and fault, so one number replays a run. It
exists to test the checker against planted bugs; the brokers have their own tests.
Source: one thread, a seeded clock and network, after TigerBeetle's VOPR.
"""
