"""The command line: one module per command, imported when the command is called.

A command returns None, or its exit code; it raises an EdgeAgentError for whatever went wrong, and
`edge_agent.program` turns that into one line and an exit code.
"""

from __future__ import annotations

import importlib

import click

from edge_agent import __version__

COMMANDS = {
    "run": ("edge_agent.cli.run:run", "Watch the cameras and publish what they show, until told to stop."),
    "demo": ("edge_agent.cli.demo:demo", "See it work: built-in pictures, model and broker; no hardware."),
    "check": (
        "edge_agent.cli.check:check",
        "Prove the configuration, the models, the cameras and the broker.",
    ),
    "doctor": (
        "edge_agent.cli.doctor:doctor",
        "Name what is wrong on this machine, and the exact fix.",
    ),
    "classify": ("edge_agent.cli.classify:classify", "Label image files."),
    "evaluate": ("edge_agent.cli.evaluate:evaluate", "Measure how right a model is on labelled images."),
    "compare": ("edge_agent.cli.compare:compare", "Compare models on the same labelled images."),
    "models": (
        "edge_agent.cli.models:models",
        "Look into models, install them, and choose which one serves.",
    ),
    "status": ("edge_agent.cli.status:status", "Show what the running agent does."),
    "pause": ("edge_agent.cli.pausing:pause", "Stop looking at a camera, and release it."),
    "resume": ("edge_agent.cli.pausing:resume", "Look at a paused camera again."),
    "config": ("edge_agent.cli.config:config", "Write, show and describe the configuration."),
    "bench": ("edge_agent.cli.bench:bench", "Measure how fast this machine is."),
    "convert": ("edge_agent.cli.convert:convert", "Make a smaller or 8-bit bundle of an export."),
    "watch": ("edge_agent.cli.watch:watch", "Show live what an agent publishes."),
}
"""Each command's place and what it does; help for all of them imports none."""


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the table, which is that of a first day with the program."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import it; None, where there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, and name the nearest command for one that does not exist."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"no such command {args[0]!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """From the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  edge-agent demo
  edge-agent config init -o /etc/edge-agent/config.toml
  edge-agent check && edge-agent run
  edge-agent classify photo.jpg -m model.zip

Exit codes: 0 done, 1 it failed, 2 bad usage, 78 bad configuration.""",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option(
    "--debug", is_flag=True, expose_value=False, help="Show where an error came from; fits anywhere."
)
def edge_agent() -> None:
    """Camera frames in, labels out: a Custom Vision classifier over MQTT."""
