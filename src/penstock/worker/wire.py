"""What supervisor, runner and child say to each other, and how it is framed.

One frame = 4 bytes big-endian length, then that many bytes of JSON: a tagged struct of this module.
The channel is a `socketpair(AF_UNIX, SOCK_STREAM)`; `CHANNEL_FD_ENV` names the other process's end.
End of file on it means that the other side is gone.

supervisor -> runner   Start, Renew, Extended, CancelJobs, Slots, Kinds, Quiet, Drain, ReleaseNow
runner -> supervisor   Hello, Ready, Beat, Watch, Unwatch, Yielded, Paced, Drained
supervisor -> child    Prepare, Run, CancelRun, Answer, Retire
child -> supervisor    Hello, Ready, Finished, Noted, Ask

The runner settles its own jobs; the supervisor settles those of its children and the reclaimed.
Instants `_boot_ms` are CLOCK_BOOTTIME, which all processes of one host share.

Runner and child stop by frame or end of file alone. They take SIGTERM, SIGINT and SIGHUP with an
empty handler: an init system signals the whole group, and the drain is the supervisor's. (Ignored
signals would stay ignored in the programs that user code starts.)
"""

from __future__ import annotations

import signal
from typing import Final

import msgspec

from penstock.broker.requests import Durability
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import Claimed, StoredError
from penstock.core.manifest import AppManifest
from penstock.core.outcome import Outcome
from penstock.core.pace import Kind

from .asks import Answer, Ask
from .framing import FRAME_BYTES_MAX as FRAME_BYTES_MAX  # noqa: PLC0414 - re-exported
from .framing import FrameReader as FrameReader  # noqa: PLC0414 - the same
from .framing import frame as frame  # noqa: PLC0414 - the same
from .measured import Measured

#: Environment variable that tells a runner or child which descriptor is its channel.
CHANNEL_FD_ENV: Final = "PENSTOCK_CHANNEL_FD"
#: 1 in children: connecting to a broker is refused there.
CHILD_ENV: Final = "PENSTOCK_CHILD"
#: How nice a child is: the setting of that name.
CHILD_NICE_ENV: Final = "PENSTOCK_CHILD_NICE"
#: Environment variable that names the descriptor to which `faulthandler` writes stacks (a file in
#: memory that the supervisor reads): fatal errors, and all threads on STACK_SIGNAL.
STACK_FD_ENV: Final = "PENSTOCK_STACK_FD"
#: Asks a runner for the stacks of all its threads; faulthandler answers without the interpreter.
STACK_SIGNAL: Final = signal.SIGUSR2


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First word of a runner or child, after it has imported the app.

    Attributes:
        pid: of the sender.
        manifest: what the supervisor must know of the app; None from a child.
        error: why the app could not be imported (then `manifest` is None and the process ends).
    """

    pid: int
    manifest: AppManifest | None = None
    error: StoredError | None = None


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Start hooks have run; the sender takes work."""


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Begin to claim under this lease, which is open.

    Attributes:
        url: of the broker, resolved.
        queues: served, in the order of their heads; queue_limits: jobs of some of them at a time.
        coroutines: `async def` jobs at once.
        threads: plain `def` jobs at once.
        light: further ones that must be light; light_runtime_max_ms: what their runs last at most.
        kinds: what is known of tasks, as in Kinds.
        drain_grace_ms: what Drain will grant, so that hooks can know.
        poll_ms: slow poll, the safety net under wake-ups.
        durability: of the broker as the supervisor opened it; None: its default.
        burst: end (Drained) once no job of the queues is claimable or due soon.
        timeout_ms, soft_timeout_ms: of attempts whose call and task name none; 0: none.
    """

    worker: str
    url: str
    lease: LeaseId
    queues: tuple[str, ...]
    coroutines: int
    threads: int
    drain_grace_ms: int
    poll_ms: int
    result_bytes_max: int
    durability: Durability | None = None
    queue_limits: dict[str, int] = {}
    burst: bool = False
    timeout_ms: int = 0
    soft_timeout_ms: int = 0
    light: int = 0
    light_runtime_max_ms: int = 0
    kinds: dict[str, Kind] = {}


class Renew(msgspec.Struct, frozen=True, tag="renew"):
    """The old lease is lost: its jobs belong to others now. Claim under this one."""

    lease: LeaseId
    lost: LeaseId


class Extended(msgspec.Struct, frozen=True, tag="extended"):
    """The lease cannot run out before this instant; said at each extension, and before Start.

    A claim may be answered after that, when its jobs are another's: they must not begin.
    """

    lease: LeaseId
    runs_out_boot_ms: int


class CancelJobs(msgspec.Struct, frozen=True, tag="cancel_jobs"):
    """Cancel these attempts, if they still run here under these fences."""

    jobs: tuple[tuple[JobId, Fence], ...]


class Slots(msgspec.Struct, frozen=True, tag="slots"):
    """Run at most `threads` plain `def` jobs at once from now on; those above it finish.

    Threads and children share slots: one is taken back before a child starts, and given back after.
    """

    threads: int


class Kinds(msgspec.Struct, frozen=True, tag="kinds"):
    """What the jobs of plain tasks are like, by the task's name; those unknown are left out."""

    kinds: dict[str, Kind]


class Quiet(msgspec.Struct, frozen=True, tag="quiet"):
    """Stop claiming (`on`), or go on (`not on`); running jobs are left alone."""

    on: bool


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Stop claiming, let running jobs finish for `grace_ms`, release the rest, say Drained, end.

    `except_job`: this attempt will not end; it is neither waited for nor released.
    """

    grace_ms: int
    except_job: JobId | None = None


class ReleaseNow(msgspec.Struct, frozen=True, tag="release_now"):
    """Second signal: release everything at once, say Drained, end."""


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """Sent every `BEAT_MS` by a thread that needs the interpreter.

    Attributes:
        running: attempts under way, or ended and not settled yet.
        settled: attempts settled since the start.
        failed: of these, not completed.
        loop_lag_ms: how late the event loop last ran its own tick.
        claim_age_ms: since the claim loop last moved.
    """

    running: int
    settled: int
    failed: int
    loop_lag_ms: int
    claim_age_ms: int


#: Milliseconds between beats: five are missed before the report at 5 s, well inside 10 s.
BEAT_MS: Final = 1_000


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """An attempt with a hard limit began; the supervisor kills the runner if it outlives it."""

    id: JobId
    fence: Fence
    hard_boot_ms: int


class Unwatch(msgspec.Struct, frozen=True, tag="unwatch"):
    """A watched attempt has ended."""

    id: JobId
    fence: Fence


class Yielded(msgspec.Struct, frozen=True, tag="yielded"):
    """Answer to `Slots`: no more than `threads` plain `def` jobs run now, nor will from now on.

    Sent at once where that is so already, else when enough of them have ended.
    """

    threads: int


class Paced(msgspec.Struct, frozen=True, tag="paced"):
    """What runs of plain tasks took since the last time: task -> sums (`core.pace`)."""

    runs: dict[str, dict[str, float]]


class Drained(msgspec.Struct, frozen=True, tag="drained"):
    """All attempts are settled or released; the sender ends now."""


class Prepare(msgspec.Struct, frozen=True, tag="prepare"):
    """To a child, once: run the start hooks and say Ready.

    Attributes:
        queue_tags: tags of the queues known so far, so that most enqueues need no extra question.
    """

    worker: str
    result_bytes_max: int
    queue_tags: dict[str, int] = {}


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Run this job. Limits are resolved: the call's own, else the task's; 0 means none.

    Made by `Run.of` and read by `whole`: the checkpoint travels beside the job, since msgspec reads
    no `Raw | None` back that is not null.
    """

    job: Claimed
    soft_timeout_ms: int = 0
    checkpoint: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, job: Claimed, *, soft_timeout_ms: int) -> Run:
        """Return the message for a job."""
        if job.checkpoint is None:
            return cls(job, soft_timeout_ms)
        bare = msgspec.structs.replace(job, checkpoint=None)
        return cls(bare, soft_timeout_ms, job.checkpoint)

    def whole(self) -> Claimed:
        """Return the job as it was claimed."""
        if self.checkpoint is msgspec.UNSET:
            return self.job
        return msgspec.structs.replace(self.job, checkpoint=self.checkpoint)


class CancelRun(msgspec.Struct, frozen=True, tag="cancel_run"):
    """Raise CancelRequested in the running task. `drain`: raise it because the worker stops."""

    drain: bool = False


class Retire(msgspec.Struct, frozen=True, tag="retire"):
    """Run the stop hooks and end; no job is running."""


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The job's attempt ended, as seen from inside the child."""

    id: JobId
    outcome: Outcome
    measured: Measured | None = None


class Noted(msgspec.Struct, frozen=True, tag="noted"):
    """Progress, checkpoint and log lines of the running job; the supervisor writes them.

    UNSET: leave as it is. Not None, since msgspec reads no `Raw | None` back that is not null.
    """

    id: JobId
    progress: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    checkpoint: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    log: tuple[str, ...] = ()


ToRunner = Start | Renew | Extended | CancelJobs | Slots | Kinds | Quiet | Drain | ReleaseNow
FromRunner = Hello | Ready | Beat | Watch | Unwatch | Yielded | Paced | Drained
ToChild = Prepare | Run | CancelRun | Answer | Retire
FromChild = Hello | Ready | Finished | Noted | Ask
