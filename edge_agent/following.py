"""The configuration in force, and the rooms brought in line with it when it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge_agent import assembly
from edge_agent.config import Config
from edge_agent.config.changes import changes, live_part
from edge_agent.config.overrides import Overrides
from edge_agent.errors import ConfigError
from edge_agent.intake import Intake
from edge_agent.logs import set_level
from edge_agent.reporter import Reporter
from edge_agent.rig import Rig
from edge_agent.shutter import Shutter
from edge_agent.supervisor import Supervisor

logger = logging.getLogger(__name__)


class Following:
    """Belongs to the main thread. ``config`` is what is in force: as the agent was started with it, but for
    what was changed live since.
    """

    def __init__(
        self,
        overrides: Overrides,
        supervisor: Supervisor,
        intake: Intake,
        rig: Rig,
        reporter: Reporter,
        shutter: Shutter,
    ) -> None:
        """The rooms were built from ``overrides.config``; the rules of the cameras they get now."""
        self.config = overrides.config
        self._overrides = overrides
        self._supervisor = supervisor
        self._intake = intake
        self._rig = rig
        self._reporter = reporter
        self._shutter = shutter
        reporter.expect(assembly.camera_rules(self.config))
        shutter.set_rules(assembly.snapshot_rules(self.config))

    def reload(self, reread: Callable[[], Config]) -> None:
        """Read the configuration again, apply what can change live, and say what was done."""
        before = self.config
        try:
            with self._overrides.or_as_before():
                self._overrides.base = reread()
                self.follow()
        except ConfigError as error:
            logger.error("SIGHUP: the configuration stays as it was: %s", error)  # noqa: TRY400  one line
            return
        for change in changes(before, self._overrides.config):
            logger.info("SIGHUP: %s", change)
        self._supervisor.forgive()
        self._intake.revive()
        logger.info("SIGHUP: done")

    def follow(self) -> None:
        """Apply what can change live of the configuration and what is laid over it. Raises ConfigError;
        nothing changed then.
        """
        config = self._overrides.config
        require_camera(config)
        rules = assembly.camera_rules(config)
        # Those that are new or resumed before their first frame; the others once the change is made.
        looking = {name for name, each in self.config.cameras.items() if not each.paused}
        self._reporter.expect({name: each for name, each in rules.items() if name not in looking})
        removed = self._rig.change(config)
        self._reporter.expect(rules)
        for name in removed:
            self._reporter.forget(name)
        set_level(config.agent.log_level)
        self.config = live_part(self.config, config)
        self._intake.set_rules(self.config)
        self._shutter.set_rules(assembly.snapshot_rules(self.config))


def require_camera(config: Config) -> None:
    """Raises ConfigError where there is none."""
    if not config.cameras:
        raise ConfigError("no camera is configured", "add a section [cameras.<name>] with its source")
