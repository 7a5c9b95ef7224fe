"""What is to be written down of how models follow one another, in the order in which it happened.

Each entry may be written again where that was cut short: what is on the disk already stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.repository import Repository


@dataclass(frozen=True)
class Follows:
    """``digest`` serves. It has ``left`` behind what may be gone back to (None: nothing, or itself);
    what it ``holds`` no way in may bring back. ``on_trial``: it has yet to show that it may stay.
    """

    digest: str
    left: str | None = None
    holds: str | None = None
    on_trial: bool = False

    @property
    def told(self) -> str:
        """In words."""
        return f"model {self.digest[:12]} serves"

    def write(self, repository: Repository) -> None:
        """Raises RepositoryError."""
        if not self._stands(repository):
            repository.activate(self.digest, after=self.left, on_trial=self.on_trial)
        self.pass_over(repository)  # last: a power cut in between must not leave what is current held

    def pass_over(self, repository: Repository) -> None:
        """Another one has followed since, and this one is gone. Raises RepositoryError."""
        if self.holds is not None and not repository.is_held(self.holds):
            repository.hold(self.holds)

    def _stands(self, repository: Repository) -> bool:
        """Whether it is written down that it serves."""
        trial = repository.probation
        if self.on_trial and (trial is None or trial.digest != self.digest):
            return False
        return repository.current == self.digest and not repository.is_doubted(self.digest)


@dataclass(frozen=True)
class Returns:
    """``digest`` serves again, for ``left`` has failed or was rolled back from: that is held, and is not what
    may be gone back to.
    """

    digest: str
    left: str

    @property
    def told(self) -> str:
        """In words."""
        return f"model {self.digest[:12]} serves"

    def write(self, repository: Repository) -> None:
        """Raises RepositoryError."""
        repository.take_back(self.left, self.digest)
        if repository.current != self.digest or repository.is_doubted(self.digest):
            repository.activate(self.digest)

    def pass_over(self, repository: Repository) -> None:
        """Another one has followed since, and this one is gone. Raises RepositoryError."""
        repository.hold(self.left)


@dataclass(frozen=True)
class TrialOver:
    """What serves is not on trial."""

    @property
    def told(self) -> str:
        """In words."""
        return "the trial is over"

    def write(self, repository: Repository) -> None:
        """Raises RepositoryError."""
        repository.end_probation()


Entry = Follows | Returns | TrialOver
