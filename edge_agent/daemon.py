"""The agent: starts the rooms, turns the main loop, and takes everything down again."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

from edge_agent.arenas import share_one_heap
from edge_agent.clock import Clock, SystemClock
from edge_agent.config import Config
from edge_agent.control import Control
from edge_agent.delivery import OnPrediction
from edge_agent.errors import ControlError, SlotDownError
from edge_agent.following import require_camera
from edge_agent.liveness import Liveness
from edge_agent.rooms import Rooms
from edge_agent.systemd import ServiceManager

logger = logging.getLogger(__name__)

TURN_S = 0.5
"""The longest turn of the main loop: changes that nothing rings for are told within it."""

DRAIN_S = 30.0
"""How long the last predictions of files and folders wait for a broker."""

LEAVE_S = 0.6
"""Of the two seconds that SIGTERM leaves us: the frames on their way get this, and the broker as much."""


def run_daemon(
    config: Config,
    *,
    frames: int | None = None,
    on_prediction: OnPrediction | None = None,
    reread: Callable[[], Config] | None = None,
    restart: Callable[[], None] | None = None,
) -> int:
    """Run until told to stop, until ``frames`` predictions are made, or until every source has ended.

    ``on_prediction(camera, prediction)`` is called on the lanes' threads; ``reread`` gives the
    configuration anew for SIGHUP, which without it is the end; ``restart`` is called at the end where that
    is a restart, which without it is refused. Returns the exit code 0. Main thread only, for it takes the
    signals.
    Raises ConfigError before anything is started, and the refusal when no slot can serve.
    """
    require_camera(config)
    share_one_heap()
    control = Control()
    try:
        with control.signals_queued():
            daemon = Daemon(
                config,
                control,
                SystemClock(),
                frames,
                on_prediction,
                reread,
                can_restart=restart is not None,
            )
            try:
                daemon.run()
            finally:
                daemon.close()
    finally:
        control.close()
    # Whoever sends SIGTERM while it goes down means the end; from here on it ends the process by itself.
    if restart is not None and daemon.restarting and not control.told_to_end:
        restart()
    return 0


class Daemon:
    """A running agent. Its methods belong to the main thread."""

    def __init__(
        self,
        config: Config,
        control: Control,
        clock: Clock,
        frames: int | None = None,
        on_prediction: OnPrediction | None = None,
        reread: Callable[[], Config] | None = None,
        *,
        can_restart: bool = False,
    ) -> None:
        """Build the rooms, start nothing. Raises ConfigError."""
        self._control = control
        self._clock = clock
        self._reread = reread
        self._can_restart = can_restart
        self.restarting = False
        self._stopping = False
        self._service_manager = ServiceManager.of(os.environ, clock)
        self._liveness = Liveness(self._service_manager)
        self._rooms = Rooms(
            config, clock, control.ring, self._restart, frames=frames, on_prediction=on_prediction
        )

    def run(self) -> None:
        """The main loop, until it is told to stop or every source has ended."""
        self._start()
        while not (self._stopping or self._rooms.delivery.full) and self._turn():
            self._control.wait(TURN_S, self._rooms.supervisor.awaited())
            for request in self._control.requests():
                self._obey(request)

    def _turn(self) -> bool:
        """Bundles, planned actions, a look at everything; False when there is nothing more to do."""
        rooms = self._rooms
        rooms.beside.settle()
        rooms.reception.turn()
        rooms.shutter.turn()
        rooms.supply.turn()
        rooms.intake.turn()
        while rooms.supervisor.step(hold=rooms.intake.booting):
            continue
        for news in rooms.supervisor.news():
            rooms.intake.successions[news.slot].heard(news)
        told = rooms.report()
        rooms.reporter.tell(told)
        if rooms.metrics is not None:
            rooms.metrics.turn(told)
        rooms.home.turn(rooms.config, told.slots, connected=told.connected)
        down = rooms.intake.down()
        self._liveness.turn(told, down, hangs=bool(told.stuck))
        if rooms.intake.busy or (down and rooms.intake.awaits_inbox()) or not rooms.rig.ended(down):
            return True
        logger.info("every source has ended")
        rooms.reporter.tell(rooms.report())
        self._drain()
        if blocked := rooms.rig.blocked(down):
            what = f"not seen to the end, for nothing serves the slot: {', '.join(blocked)}"
            raise SlotDownError(what, "see the errors above")
        return False

    def close(self) -> None:
        """Let what is on its way be answered, say that we go, and go; in two seconds whatever hangs."""
        self._liveness.stop(restarting=self.restarting and not self._control.told_to_end)
        rooms = self._rooms
        rooms.reception.close()
        if rooms.metrics is not None:
            rooms.metrics.close()
        rooms.rig.stop(LEAVE_S)
        rooms.supervisor.dismiss()
        rooms.reporter.withdraw()
        rooms.publisher.close(LEAVE_S)
        rooms.supervisor.close()
        rooms.intake.close()
        self._service_manager.close()
        logger.info("agent %s has stopped", rooms.config.agent.name)

    def _start(self) -> None:
        rooms, config = self._rooms, self._rooms.config
        logger.info("agent %s starts; cameras: %s", config.agent.name, ", ".join(config.cameras))
        rooms.reception.open(config.agent.socket)
        rooms.publisher.start()
        rooms.intake.start()
        rooms.rig.start()

    def _obey(self, request: signal.Signals) -> None:
        if request is signal.SIGHUP and self._reread is not None:
            self._liveness.reloading()
            self._rooms.following.reload(self._reread)
            self._liveness.reloaded()
            return
        logger.info("%s: stopping", request.name)
        self._stopping = True

    def _restart(self) -> None:
        """End, and be started again. Raises ControlError or ConfigError where that would go wrong."""
        if self._reread is None or not self._can_restart:
            raise ControlError("this agent cannot start itself again", "end it, and start it again")
        self._reread()
        logger.info("restarting, as was asked")
        self._stopping = self.restarting = True

    def _drain(self) -> None:
        """Let the broker acknowledge the last predictions; SIGTERM or SIGINT ends the wait."""
        deadline_ns = self._clock.monotonic_ns() + int(DRAIN_S * 1e9)
        while not self._rooms.publisher.drain(TURN_S):
            self._liveness.wait()
            if self._control.told_to_end or self._clock.monotonic_ns() > deadline_ns:
                logger.warning("%d messages did not reach the broker", self._rooms.publisher.status().queued)
                return
