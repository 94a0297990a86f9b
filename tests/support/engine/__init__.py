"""The engine in a simulated world: the real loops of workers, in virtual time, on one thread.

What is real: `core`, the broker in memory, the runner (`Inbox`, `Service` and all below it), the
supervisor's duties (`Runners`, `RunnerProcess`, `Leases`, `Reclaim`, `Settler`, `Children`,
`Claims`, `Rounds`, `LoneAttempt`, `ChildPool`, `ChildProcess`, `Limits`, `Evictions`,
`Maintenance`, `Drain`, `aftermath`), the child's `Service`, and the messages between them.
What is simulated: the event loop and its clock, the network, the processes (they are born, stopped
and killed here), sockets, threads, and the wiring in `Supervisor` itself. Left out: signals,
health, stalls, bursts, reloads.

One seed draws every order, delay and fault, so one number replays a run.
Source: one thread, seeded clock, network and faults, after FoundationDB's simulator and
TigerBeetle's VOPR.
"""
