"""The board as a screen that lives (owns rich): what fits is shown, and what does not fit is counted."""

from __future__ import annotations

import signal
import sys
import textwrap
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from edge_agent.cli.board import AgentSeen, Board, CameraSeen
from edge_agent.cli.sightings import visible
from edge_agent.messages import ModelMessage, RankedLabel

BARS = 5
"""Scores shown per camera where there is room."""

_NAME_WIDTH = 16
_SCORE_WIDTH = 5  # " 0.91"
_REFRESH_S = 0.1


def is_possible(console: Console | None = None) -> bool:
    """Standard output is a terminal that can be drawn on."""
    console = console or Console()
    return console.is_terminal and not console.is_dumb_terminal


class Picture:
    """The board at one moment, as rich draws it; ``trouble`` is why the broker is not heard."""

    def __init__(self, board: Board, where: str, trouble: str | None = None) -> None:
        self._board = board
        self._where = where
        self._trouble = trouble

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As many lines as the terminal has, each cut to its width."""
        bar = "\u2588" if (console.encoding or "").lower().startswith("utf") else "#"
        for number, line in enumerate(self.lines(options.max_width, console.size.height, bar)):
            line.truncate(options.max_width, overflow="ellipsis")
            yield Text("\n", end="") if number else Text("", end="")
            yield Text.assemble(line, end="")

    def lines(self, width: int, height: int, bar: str = "#") -> list[Text]:
        """The screen, ``height`` lines at most; fewer bars where there are many cameras."""
        for bars in range(BARS, -1, -1):
            lines = [*self._head(width), *self._agents(width, bars, bar)]
            if len(lines) <= height:
                return lines
        left_out = len(lines) - height + 1
        return [*lines[: height - 1], Text(f"{left_out} more lines: make the terminal taller", "dim")]

    def _head(self, width: int) -> Iterator[Text]:
        agents = self._board.agents()
        yield Text.assemble(("edge-agent watch", "bold"), f"  {self._where}  ", ("Ctrl-C ends it", "dim"))
        if self._trouble is not None:
            for part in textwrap.wrap(visible(self._trouble), max(width, 20))[:3]:
                yield Text(part, "red")
        elif not agents:
            yield Text("nothing heard yet", "dim")

    def _agents(self, width: int, bars: int, bar: str) -> Iterator[Text]:
        for agent in self._board.agents():
            yield Text("")
            yield _agent_line(agent)
            for model in agent.models.values():
                yield _model_line(model)
            for name in sorted(agent.cameras):
                yield from _camera_lines(agent.cameras[name], self._board.now_ns(), width, bars, bar)
            if agent.health is not None and agent.availability != "offline":
                for fault in agent.health.faults:
                    for number, part in enumerate(textwrap.wrap(visible(fault), max(width - 4, 20))[:3]):
                        yield Text(f"  {' ' if number else '!'} {part}", "red")


def _agent_line(agent: AgentSeen) -> Text:
    line = Text.assemble((visible(agent.name), "bold"), "  ", _availability(agent.availability))
    if (health := agent.health) is not None:
        device = health.device or "no model serves"
        line.append(f"  {device}", "yellow" if health.degraded else "cyan")
        if health.degraded:
            line.append(f" (not {health.aspired})", "yellow")
        line.append(f"  edge-agent {visible(health.version)}", "dim")
        if health.soc_c is not None:
            line.append(f"  {health.soc_c:.0f} \N{DEGREE SIGN}C", "dim")
        if health.outbox.rows or health.outbox.dropped:
            line.append(f"  outbox {health.outbox.rows} waiting, {health.outbox.dropped} dropped", "dim")
    return line


def _model_line(model: ModelMessage) -> Text:
    line = Text(f"  model {visible(model.slot)}: ", "dim")
    if model.serving is None:
        line.append("nothing serves", "red")
    else:
        line.append(f"{visible(model.serving.name)} {visible(model.serving.digest)}", "default")
        line.append(f" on {model.serving.device}", "default")
    if model.state != "serving":
        line.append(f"  {model.state}", "yellow")
    if model.candidate is not None:
        line.append(f"  next: {visible(model.candidate.name)} {visible(model.candidate.digest)}", "yellow")
    return line


def _camera_lines(seen: CameraSeen, now_ns: int, width: int, bars: int, bar: str) -> Iterator[Text]:
    line = Text.assemble("  ", (_fitted(seen.name, _NAME_WIDTH), "bold"), "  ", _state(seen), "  ")
    label = seen.label or next((ranked.label for ranked in _ranking(seen)), "-")
    right = _figures(seen, now_ns)
    room = max(8, width - cell_len(line.plain) - cell_len(right.plain) - 1)
    line.append(_fitted(label, room), "bold green")
    line.append(" ")
    line.append_text(right)
    yield line
    for ranked in _ranking(seen)[:bars]:
        yield _bar_line(ranked, width, bar)


def _ranking(seen: CameraSeen) -> tuple[RankedLabel, ...]:
    return seen.prediction.predictions if seen.prediction is not None else ()


def _state(seen: CameraSeen) -> Text:
    if seen.status is not None and seen.status.paused:
        return Text("paused ", "yellow")
    return _availability(seen.availability)


def _availability(word: str | None) -> Text:
    if word is None:
        return Text("?      ", "dim")
    return Text(f"{word:<7}", "green" if word == "online" else "red")


def _figures(seen: CameraSeen, now_ns: int) -> Text:
    """Device, rate and time of the last prediction; how long it is silent."""
    figures = Text()
    if (prediction := seen.prediction) is not None:
        figures.append(prediction.device, "yellow" if prediction.degraded else "cyan")
        silence_s = seen.rate.silence_s(now_ns)
        if silence_s is not None:
            figures.append(f"  silent {silence_s:.0f} s", "yellow")
        elif (rate := seen.rate.per_second) is not None:
            figures.append(f"  {rate:.1f}/s")
        figures.append(f"  {prediction.timing_ms.inference:.1f} ms")
    return figures


def _bar_line(ranked: RankedLabel, width: int, bar: str) -> Text:
    """A label, a bar as long as its score, the score."""
    label_width = min(30, max(10, width // 3))
    room = max(5, min(60, width - 4 - label_width - 1 - _SCORE_WIDTH))
    filled = round(min(max(ranked.score, 0.0), 1.0) * room)
    line = Text.assemble("    ", _fitted(ranked.label, label_width), " ")
    line.append(bar * filled, "blue")
    line.append(" " * (room - filled))
    line.append(f" {ranked.score:.2f}"[:_SCORE_WIDTH])
    return line


def _fitted(text: str, width: int) -> str:
    """As many cells as asked for: a letter of some scripts takes two."""
    fitted = Text(visible(text))
    fitted.truncate(width, overflow="ellipsis", pad=True)
    return fitted.plain


class Screen:
    """Draws the board at most ten times a second, on a screen of its own that is gone at the end."""

    def __init__(self, board: Board, where: str, console: Console | None = None) -> None:
        self._board = board
        self._where = where
        self._trouble: str | None = None
        self._live = Live(self._picture(), console=console, screen=True, auto_refresh=False)
        self._drawn_ns = 0

    def __enter__(self) -> Self:
        # A SIGTERM must leave the terminal as it was, too.
        self._on_term = signal.signal(signal.SIGTERM, _leave)
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)
        signal.signal(signal.SIGTERM, self._on_term)

    def tell(self, trouble: str | None) -> None:
        """Why nothing is heard; None: it is again."""
        self._trouble = trouble
        self._drawn_ns = 0
        self.draw()

    def draw(self) -> None:
        """Draw what changed, unless that was done a moment ago."""
        now_ns = self._board.now_ns()
        if now_ns - self._drawn_ns >= _REFRESH_S * 1e9:
            self._drawn_ns = now_ns
            self._live.update(self._picture(), refresh=True)

    def _picture(self) -> Picture:
        return Picture(self._board, self._where, self._trouble)


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
