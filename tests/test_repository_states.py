"""repository/: whatever is done in whatever order, it says what a few lines of plain Python say."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_agent.bundle import BundleFiles, read_bundle
from edge_agent.errors import DamagedVersionError, RepositoryError, UnknownVersionError
from edge_agent.repository import Repository
from tests.bundle_samples import export_files, write_folder

KEEP = 3
BUNDLES = range(6)
WAYS = ["default:path", "default:inbox"]


@dataclasses.dataclass
class Expected:
    """The repository as it ought to be; bundles are numbers, ``installed`` is in order."""

    installed: list[int] = dataclasses.field(default_factory=list)
    current: int | None = None
    previous: int | None = None
    held: set[int] = dataclasses.field(default_factory=set)
    rejected: set[int] = dataclasses.field(default_factory=set)
    offered: dict[str, int] = dataclasses.field(default_factory=dict)
    trial: int | None = None
    unclean: int | None = None
    running: bool = False

    def prune(self, spared: int | None = None) -> list[int]:
        """The oldest beyond what is kept, but neither of the two that have served last."""
        fixed = {self.current, self.previous} - {None}
        others = [each for each in reversed(self.installed) if each not in fixed]
        removed = [each for each in others[max(KEEP - len(fixed), 1) :] if each != spared]
        self.installed = [each for each in self.installed if each not in removed]
        return removed


class Sequences(RuleBasedStateMachine):
    """Every method, a process that ends and begins again, and damage to what is installed."""

    @initialize()
    def begin(self) -> None:
        """Six bundles and an empty repository."""
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.files: list[BundleFiles] = []
        for number in BUNDLES:
            export = {**export_files(), "labels.txt": f"apple\norange{number}".encode()}
            self.files.append(read_bundle(write_folder(self.folder / str(number), export)))
        self.numbers = {files.digest: number for number, files in enumerate(self.files)}
        self.expected = Expected()
        self.read_last: int | None = None
        self.repository = self._open()

    def _open(self) -> Repository:
        return Repository(self.folder / "state", "default", keep=KEEP)

    def teardown(self) -> None:
        """Nothing is left."""
        if hasattr(self, "folder"):
            self.repository.close()
            shutil.rmtree(self.folder)

    @rule(number=st.sampled_from(BUNDLES))
    def install(self, number: int) -> None:
        """Twice is once."""
        assert self.files[number].digest == self.repository.install(self.files[number], "a test").digest
        if number not in self.expected.installed:
            self.expected.installed.append(number)
        self.read_last = number
        self.expected.prune(spared=number)

    @rule(number=st.sampled_from(BUNDLES), on_trial=st.booleans())
    def activate(self, number: int, *, on_trial: bool) -> None:
        """Only what is installed; it is neither held nor rejected from then on."""
        expected, digest = self.expected, self.files[number].digest
        try:
            self.repository.activate(digest, on_trial=on_trial)
        except UnknownVersionError:
            assert number not in expected.installed
            return
        proven = expected.previous if expected.current == expected.trial else None
        if on_trial:
            expected.trial, expected.unclean, expected.running = number, 0, True
        expected.held.discard(number)
        expected.rejected.discard(number)
        if expected.current != number:
            if expected.current is not None:
                before = expected.current if proven is None else proven
                doubted = before in expected.held | expected.rejected
                expected.previous = None if doubted else before
            expected.current = number

    @rule()
    def roll_back(self) -> None:
        """To what served before, and that way once only; what is left is held."""
        expected = self.expected
        try:
            digest = self.repository.rollback()
        except RepositoryError:
            assert expected.previous in (None, expected.current)
            return
        assert self.numbers[digest] == expected.previous
        assert expected.current is not None
        assert expected.previous is not None
        expected.held = (expected.held | {expected.current}) - {expected.previous}
        expected.current = expected.previous

    @rule()
    def prune(self) -> None:
        """It tells what is gone."""
        removed = [self.numbers[digest] for digest in self.repository.prune()]
        assert self.expected.prune(spared=self.read_last) == removed

    @rule(number=st.sampled_from(BUNDLES))
    def hold(self, number: int) -> None:
        """Whether it is installed or not."""
        self.repository.hold(self.files[number].digest)
        self.expected.held.add(number)

    @rule(failed=st.sampled_from(BUNDLES), before=st.sampled_from(BUNDLES))
    def take_back(self, failed: int, before: int) -> None:
        """Only what is current makes room for another; doing it again changes nothing."""
        expected = self.expected
        if failed == before or before not in expected.installed:
            return
        for _ in range(2):
            self.repository.take_back(self.files[failed].digest, self.files[before].digest)
        expected.held.add(failed)
        if expected.current == failed:
            expected.held.discard(before)
            expected.current = before
        probation = self.repository.probation
        assert probation is None or probation.digest != self.files[failed].digest
        if probation is None:
            expected.trial, expected.unclean, expected.running = None, None, False

    @rule(number=st.sampled_from(BUNDLES), way=st.sampled_from(WAYS))
    def offer(self, number: int, way: str) -> None:
        """The last one is remembered per way."""
        self.repository.note_offered(way, self.files[number].digest)
        self.expected.offered[way] = number

    @rule(number=st.sampled_from(BUNDLES))
    def reject(self, number: int) -> None:
        """The reason comes back as it was."""
        digest = self.files[number].digest
        told = self.repository.reject(digest, "fruit", f"reason {number}", "a test")
        assert told == self.repository.rejection(digest)
        assert told == self.repository.rejections()[0]
        self.expected.rejected.add(number)

    @rule(clean=st.booleans())
    def restart(self, *, clean: bool) -> None:
        """Another process finds everything as it was; an unclean end of a trial is counted."""
        if clean:
            self.repository.note_trial(0, 0.0, running=False)
        self.repository.close()
        self.repository, self.read_last = self._open(), None
        probation = self.repository.note_start()
        expected = self.expected
        if expected.unclean is not None:
            expected.unclean += expected.running and not clean
            expected.running = True
        assert expected.unclean == (probation.unclean_starts if probation else None)

    @rule()
    def end_probation(self) -> None:
        """It has stood the trial."""
        self.repository.end_probation()
        assert self.repository.probation is None
        self.expected.trial, self.expected.unclean, self.expected.running = None, None, False

    @precondition(lambda self: self.expected.installed)
    @rule(choice=st.integers(0, 10))
    def damage(self, choice: int) -> None:
        """What is damaged is never read as if it were whole, and another takes its place."""
        expected = self.expected
        number = expected.installed[choice % len(expected.installed)]
        digest = self.files[number].digest
        place = self.folder / "state" / "models" / "default" / "versions" / digest
        (place / "files" / "labels.txt").write_bytes(b"apple\npear")
        with pytest.raises(DamagedVersionError) as refusal:
            self.repository.read(digest)
        assert digest == refusal.value.digest
        self.read_last = number
        expected.installed.remove(number)
        self._fall_back(number)

    def _fall_back(self, lost: int) -> None:
        expected = self.expected
        if lost == expected.previous:
            expected.previous = None
        if lost == expected.current:
            newest = expected.installed[::-1]
            free = [each for each in newest if each not in expected.held | expected.rejected]
            order = [expected.previous] if expected.previous is not None else [*free, *newest]
            expected.current = next(iter(order), None)

    @invariant()
    def agrees(self) -> None:
        """Everything that can be asked."""
        if not hasattr(self, "repository"):
            return
        expected, repository = self.expected, self.repository
        assert (expected.current, self._previous()) == (
            self._number(repository.current),
            self._number(repository.previous),
        )
        versions = repository.versions()
        assert expected.installed[::-1] == [self.numbers[version.digest] for version in versions]
        assert [self._state(each) for each in expected.installed[::-1]] == [each.state for each in versions]
        assert expected.held == {n for n in BUNDLES if repository.is_held(self.files[n].digest)}
        assert expected.rejected == {self.numbers[refusal.digest] for refusal in repository.rejections()}
        assert [expected.offered.get(way) for way in WAYS] == [
            self._number(repository.offered(way)) for way in WAYS
        ]

    @invariant()
    def is_served(self) -> None:
        """Whatever is current can be read, and is what it says."""
        if hasattr(self, "repository") and self.repository.current is not None:
            assert self.repository.current == self.repository.read(self.repository.current).digest
            self.read_last = self.expected.current

    def _previous(self) -> int | None:
        return None if self.expected.previous == self.expected.current else self.expected.previous

    def _state(self, number: int) -> str:
        if number == self.expected.current:
            return "current"
        if number == self.expected.previous:
            return "previous"
        return "held" if number in self.expected.held else "installed"

    def _number(self, digest: str | None) -> int | None:
        return None if digest is None else self.numbers[digest]


TestSequences = Sequences.TestCase
TestSequences.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
