"""Pictures, and what a model says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_agent.bundle.entries import read_regular
from edge_agent.classifier import Classifier, RankingRule
from edge_agent.clock import Clock
from edge_agent.errors import BundleError, ConversionError, ImageError
from edge_agent.frames import Frame, Pixels
from edge_agent.images import MAX_BYTES, decode_image
from edge_agent.runner import Runner
from edge_agent.tensors import Array
from edge_agent.vetting import VettedBundle
from edge_agent.workbench.convert.pictures import Chosen, Seen
from edge_agent.worker_process import WorkerSettings

TIMEOUT_S = 30.0
"""For one picture on the slowest board."""

Told = Callable[[str, int, int], None]
"""What is being done, how many of how many pictures."""


class Sight:
    """A bundle on the CPU that is asked of pictures one by one."""

    def __init__(self, vetted: VettedBundle, clock: Clock) -> None:
        """Raises WorkerError where its worker does not start."""
        self._clock = clock
        self._runner = Runner({vetted.bundle.digest: vetted.for_cpu()}, WorkerSettings(), clock)
        try:
            self._runner.wait_ready()
            self._classifier = Classifier.build(
                "default", vetted, self._runner, RankingRule(top_k=1), TIMEOUT_S, clock
            )
        except BaseException:
            self._runner.retire()
            raise

    def see(self, name: str, pixels: Pixels) -> Seen:
        """Its best label for a picture. Raises ImageError, WorkerError."""
        frame = Frame(pixels, 1, self._clock.monotonic_ns(), self._clock.wall_ns(), name)
        best = self._classifier.classify(frame).ranking[0]
        return Seen(name, best.label, best.score)

    def tensor(self, pixels: Pixels) -> Array:
        """The picture as the model is given it."""
        return self._classifier.preprocessor.prepare(pixels)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.retire()


class Album:
    """The pictures of a conversion, if any, read again each time; those that cannot be read are named."""

    def __init__(self, chosen: Chosen | None) -> None:
        self._names = () if chosen is None else chosen.names
        self._folder = Path() if chosen is None else chosen.folder
        self.found = 0 if chosen is None else chosen.found
        """How many there were to choose from."""
        self.unreadable: dict[str, str] = {}
        """Name to what is wrong with it."""

    def encoded(self, name: str) -> bytes:
        """A picture's file. Raises BundleError where it cannot be read."""
        return read_regular(self._folder / name, MAX_BYTES)

    def pixels(self) -> Iterator[tuple[str, bytes, Pixels]]:
        """Name, file and pixels of each. Raises ConversionError where there are some and none can be read."""
        for name in self._names:
            try:
                encoded = self.encoded(name)
                pixels = decode_image(encoded, name)
            except (BundleError, ImageError) as error:
                self.unreadable[name] = str(error)
                continue
            yield name, encoded, pixels
        if self._names and len(self.unreadable) == len(self._names):
            first = next(iter(self.unreadable.values()))
            raise ConversionError(f"no picture of {self._folder} can be read: {first}", "save them as JPEG")

    def __len__(self) -> int:
        return len(self._names)
