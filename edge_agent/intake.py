"""What appears at the ways in of each slot: offered to it, and followed until something serves."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from edge_agent import assembly
from edge_agent.admission import Offer
from edge_agent.beside import Beside
from edge_agent.clock import Clock
from edge_agent.config import Config
from edge_agent.succession import Succession
from edge_agent.supervisor import Supervisor
from edge_agent.watcher import LOOK_EVERY_S, OnDrives, Watcher, candidates

logger = logging.getLogger(__name__)

FIRST_LOOKS = 3
"""Settling times until what lay in an inbox at the start is told, at the latest."""


class Intake:
    """Every slot's door and succession. It belongs to the main thread; slots and their ways in are those of
    the configuration that the agent was started with.
    """

    def __init__(
        self,
        config: Config,
        supervisor: Supervisor,
        beside: Beside,
        clock: Clock,
        ring: Callable[[], None],
    ) -> None:
        """Watch nothing yet; ``ring`` is called when something has appeared.

        Raises RepositoryBusyError where another agent has the models.
        """
        self._config = config
        self._supervisor = supervisor
        self._clock = clock
        self.admissions = {
            slot: assembly.admission(config, slot, assembly.repository(config, slot, clock), clock)
            for slot in config.models
        }
        rules = assembly.probation_rules(config.updates)
        self.successions = {
            slot: Succession(each, supervisor, beside, assembly.ranking_rule(config, slot), rules, clock)
            for slot, each in self.admissions.items()
        }
        self._watcher = Watcher(ring, clock, config.updates.settle_s)
        # A drive that hangs holds up whoever looks at it.
        self._drives = (
            None if config.updates.drives is None else Watcher(ring, clock, config.updates.settle_s)
        )
        self._inboxes = config.agent.state_dir / "inbox"
        self._began_ns = clock.monotonic_ns()
        self._failed: set[str] = set()

    @property
    def fault(self) -> str | None:
        """What is not watched, and why."""
        return "; ".join(each.fault for each in self._watchers() if each.fault is not None) or None

    @property
    def booting(self) -> bool:
        """Whether a slot's first model is still being looked for."""
        return any(succession.booting for succession in self.successions.values())

    @property
    def busy(self) -> bool:
        """Whether something is being looked at or waits for it."""
        return any(succession.busy for succession in self.successions.values())

    def start(self) -> None:
        """Look for what is to serve, and watch the ways in."""
        for slot, succession in self.successions.items():
            succession.boot(self._at_path(slot))
        for slot, admission in self.admissions.items():
            if admission.repository is not None:
                with contextlib.suppress(OSError):  # nothing is copied there then, and nothing is lost
                    (self._inboxes / slot).mkdir(parents=True, exist_ok=True)
        self._watcher.watch(
            {f"{slot}:path": model.path for slot, model in self._config.models.items()},
            {f"{slot}:inbox": self._inboxes / slot for slot in self._config.models},
        )
        mounts = self._config.updates.drives
        if self._drives is not None and mounts is not None:
            self._drives.watch(
                {}, drives={f"{slot}:drive": OnDrives(mounts, slot) for slot in self.successions}
            )

    def turn(self) -> None:
        """Offer what has appeared, and see what came of it. Raises why nothing serves when nothing ever
        will.
        """
        for name, path in (each for watcher in self._watchers() for each in watcher.settled()):
            slot, _, way = name.partition(":")
            way = way if way == "path" else f"{way}:{path.name}"
            self.successions[slot].offer(Offer(way, path, str(path)))
        for succession in self.successions.values():
            succession.step()
        failures = {slot: each.failure for slot, each in self.successions.items() if each.failure is not None}
        known = bool(self._supervisor.status())
        if failures and not self.busy and not known and not self.awaits_inbox():
            raise next(iter(failures.values()))
        for slot, failure in failures.items():
            if slot not in self._failed and known:
                logger.error("slot %s: %s", slot, failure)
        self._failed = set(failures) if known else set()

    def awaits_inbox(self) -> bool:
        """Whether something lies in an inbox, or one that a drive brought, that was not told yet."""
        settling_s = (self._clock.monotonic_ns() - self._began_ns) / 1e9
        if settling_s >= FIRST_LOOKS * self._config.updates.settle_s + LOOK_EVERY_S:
            return False
        on_drive = self._drives is not None and self._drives.is_restless
        return on_drive or any(candidates(self._inboxes / slot) for slot in self._config.models)

    def down(self) -> list[str]:
        """Slots that serve nothing and that nothing is done about."""
        serving = {status.slot for status in self._supervisor.status() if not status.is_down}
        return [slot for slot, each in self.successions.items() if slot not in serving and not each.busy]

    def revive(self) -> None:
        """Give slots that are down another chance."""
        for slot in self.down():
            self.successions[slot].revive(self._at_path(slot))

    def set_rules(self, config: Config) -> None:
        """Rank as another configuration has it."""
        for slot in config.models.keys() & self.successions.keys():
            self.successions[slot].set_rule(assembly.ranking_rule(config, slot))

    def close(self) -> None:
        """Watch nothing more; what is looked at is left behind."""
        for watcher in self._watchers():
            watcher.close()
        for succession in self.successions.values():
            succession.stop()

    def _watchers(self) -> list[Watcher]:
        return [self._watcher, *([] if self._drives is None else [self._drives])]

    def _at_path(self, slot: str) -> Offer:
        path = self._config.models[slot].path
        return Offer("path", path, str(path))
