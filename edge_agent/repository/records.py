"""What the repository writes down, as JSON: versions, refusals, and what it remembers of a slot."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edge_agent.errors import one_line

DIGEST_PATTERN = "^[0-9a-f]{64}$"
SHORT_DIGITS = 12

Digest = Annotated[str, Field(pattern=DIGEST_PATTERN)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Line = Annotated[str, AfterValidator(one_line)]
"""A record may have been edited or damaged, and what stands in it goes to terminals."""

LATEST_NS = (1 << 63) - 1
"""In the year 2262: no clock says so, and a time that is much later cannot be shown."""

UnixTime = Annotated[int, Field(ge=0, le=LATEST_NS)]
State = Literal["current", "previous", "held", "installed"]

MAX_HELD = 256
MAX_WAYS = 256
"""The newest ones are kept: an inbox has a way in for each name that was ever copied there."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)  # a later version may have written more: it is passed over


class Version(_Record):
    """An installed bundle.

    ``labels`` is their number, None where the files name none; ``size`` is in bytes, of all parts;
    ``installed_ns`` is Unix time, made to ascend; ``origin`` says in words where it came from.
    """

    digest: Digest
    name: Line
    iteration: Line | None
    labels: Count | None
    size: Count
    installed_ns: UnixTime
    origin: Line
    state: State = Field(default="installed", exclude=True)

    @property
    def short(self) -> str:
        """The first 12 digits of the digest."""
        return self.digest[:SHORT_DIGITS]


class Rejection(_Record):
    """Why a bundle may not serve, in plain words; ``at_ns`` is Unix time.

    ``unsigned``: for want of a signature that is trusted. A signature does not change the digest, so this one
    holds only for as long as there is none. ``conditions`` name the runtime and machine that refused it:
    another one may take it. None: it is refused everywhere.
    """

    digest: Digest
    name: Line
    at_ns: UnixTime
    reason: Line
    origin: Line
    unsigned: bool = False
    conditions: str | None = None

    @property
    def short(self) -> str:
        """The first 12 digits of the digest."""
        return self.digest[:SHORT_DIGITS]


class Probation(_Record):
    """A version that serves on trial, since ``since_ns`` (Unix time).

    ``frames`` and ``seconds`` it has served, as far as that was written down. A start that finds the one
    before it without an end is counted in ``unclean_starts``; ``running``: the last one has not ended yet.
    """

    digest: Digest
    since_ns: UnixTime
    frames: Count = 0
    seconds: float = 0.0
    unclean_starts: Count = 0
    running: bool

    def started(self, *, running: bool) -> Probation:
        """With a start, after which it is ``running`` or not."""
        unclean = self.unclean_starts + self.running
        return self.model_copy(update={"unclean_starts": unclean, "running": running})


class Memory(_Record):
    """What a slot remembers beside its files.

    ``offered`` is the last digest per way in. ``left`` was rolled back from: should the links still say
    that it is current, then the power was cut in between. ``candidate`` is about to serve on trial: should
    the links say that it is current, then it does.
    """

    held: tuple[Digest, ...] = ()
    left: Digest | None = None
    offered: dict[str, Digest] = {}
    probation: Probation | None = None
    candidate: Probation | None = None

    def holding(self, digest: str) -> Memory:
        """With the digest held, as the newest one."""
        held = (*(each for each in self.held if each != digest), digest)[-MAX_HELD:]
        return self.model_copy(update={"held": held})

    def releasing(self, digest: str) -> Memory:
        """With the digest neither held nor left."""
        held = tuple(each for each in self.held if each != digest)
        return self.model_copy(update={"held": held, "left": None if self.left == digest else self.left})

    def trying(self, digest: str, since_ns: int, *, running: bool) -> Memory:
        """With the digest about to serve on trial, and what was counted of it before."""
        known = self.candidate
        if known is None or known.digest != digest:
            known = Probation(digest=digest, since_ns=since_ns, running=running)
        return self.model_copy(update={"candidate": known.model_copy(update={"running": running})})

    def proving(self, current: str | None) -> Memory:
        """With what was about to serve on trial, where it is ``current``."""
        if self.candidate is None or self.candidate.digest != current:
            return self
        return self.model_copy(update={"probation": self.candidate, "candidate": None})

    def started(self) -> Memory:
        """With a run before this one that did not end counted; a candidate does not run yet in this one."""
        probation = None if self.probation is None else self.probation.started(running=True)
        candidate = None if self.candidate is None else self.candidate.started(running=False)
        return self.model_copy(update={"probation": probation, "candidate": candidate})

    def untried(self, digest: str) -> Memory:
        """With the digest not about to serve on trial."""
        is_tried = self.candidate is not None and self.candidate.digest == digest
        return self.model_copy(update={"candidate": None}) if is_tried else self

    def offering(self, way: str, digest: str) -> Memory:
        """With the digest as the last one that came this way."""
        others = {each: known for each, known in self.offered.items() if each != way}
        offered = dict(list({**others, way: digest}.items())[-MAX_WAYS:])
        return self.model_copy(update={"offered": offered})
