"""A worker's life, as the daemon sees it: the process, the socket and the memory shared with it."""

from __future__ import annotations

import logging
import math
import socket
import threading
from collections.abc import Mapping

from edge_agent.clock import Clock
from edge_agent.places import SharedMemory
from edge_agent.sealed import SealedFile
from edge_agent.states import State, transition
from edge_agent.worker.protocol import Channel
from edge_agent.worker_process import WorkerProcess, WorkerSettings

logger = logging.getLogger(__name__)

EXIT_WAIT_S = 1.2
"""How long a worker may take to leave once it was told to: 0.7 s for an invoke in flight, then its own
end. The daemon's own end, in two seconds, has room for no more.
"""

END_WAIT_S = 0.25
"""How long the news of a death may wait for the process to be gone and its exit status known. It takes a
millisecond, on a busy board some 100, but for ever where a USB transfer cannot be interrupted, and frames
wait for the news.
"""

KILL_WAIT_S = 0.5
"""How long the end of a worker that was killed is waited for, where only its end is."""


class Life:
    """STARTING, READY, STOPPING, EXITED and never back. Any thread may end it.

    STOPPING is a worker that was told to leave, or killed, and has not ended yet: :meth:`reap` tells when.
    """

    def __init__(self, models: Mapping[str, SealedFile], settings: WorkerSettings, clock: Clock) -> None:
        """Start the child. Raises OSError."""
        self.state = State.STARTING
        self.memory = SharedMemory()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self.process = WorkerProcess(models, settings, theirs, self.memory.fileno())
            except OSError:
                ours.close()
                raise
        self.channel = Channel(ours)
        self._clock = clock
        self._leave_by_s = math.inf
        self._killed = False
        self._ending = threading.Lock()

    @property
    def was_dismissed(self) -> bool:
        """Whether it was told to leave."""
        return self._leave_by_s < math.inf

    def become_ready(self) -> None:
        """It said so; nothing changes where it was told to leave meanwhile."""
        with self._ending:
            if self.state is State.STARTING:
                self.state = transition(self.state, State.READY)

    def is_over(self) -> bool:
        """Whether a READY worker has ended, or the conversation with us."""
        with self._ending:
            return self.state is State.READY and (self.process.ended() or self.channel.ended())

    def dismiss(self) -> None:
        """Tell it to leave, without waiting for it."""
        with self._ending:
            if self.state in (State.STARTING, State.READY):
                self._leave_by_s = self._now_s() + EXIT_WAIT_S
                self._stop()

    def kill(self) -> None:
        """End it by force, and wait for that as long as the news of it may wait."""
        with self._ending:
            if self.state in (State.STARTING, State.READY):
                self._stop()
            self._kill()
        self.process.wait(END_WAIT_S)
        self.reap()

    def reap(self) -> bool:
        """Whether it is EXITED; never blocks. One that was told to leave and did not in time is killed."""
        with self._ending:
            if self.state is State.STOPPING:
                if self.process.ended():
                    self.channel.close()
                    self.memory.close()
                    self.state = transition(self.state, State.EXITED)
                elif not self._killed and self._now_s() >= self._leave_by_s:
                    logger.warning(
                        "worker %d did not leave within %.1f s and is killed", self.process.pid, EXIT_WAIT_S
                    )
                    self._kill()
            return self.state is State.EXITED

    def retire(self) -> None:
        """Dismiss it and wait for its exit, or kill it; bounded where the kernel cannot end it either."""
        self.dismiss()
        if not self._killed:
            self.process.wait(max(self._leave_by_s - self._now_s(), 0.0))
            self.reap()
        self.process.wait(KILL_WAIT_S)
        if not self.reap():
            logger.warning("worker %d is killed and does not end: the kernel holds it", self.process.pid)

    def _stop(self) -> None:
        self.state = transition(self.state, State.STOPPING)
        self.channel.shut()

    def _kill(self) -> None:
        self._killed = True
        self.process.kill()

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9
