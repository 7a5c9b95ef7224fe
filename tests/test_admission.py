"""admission.py with ledger.py: what may enter, what is turned away, and what is written down of it."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_agent.watcher.stillness
from edge_agent.admission import Admission, Passed
from edge_agent.bundle import BundleFiles, read_bundle
from edge_agent.errors import BundleError, RepositoryError, SignatureError, UnprovenError, UnsuitableError
from edge_agent.repository import Repository
from edge_agent.repository.disk import Disk
from edge_agent.vetting import VettedBundle, verdict_key
from edge_agent.worker_process import WorkerSettings
from tests.keys import make_key, need_openssl, signed
from tests.places import need_data
from tests.stages import CLOCK, bundle, offer
from tests.sticks import SMALL

pytestmark = need_data

SETTINGS = WorkerSettings(threads=1)
NONE_STARTS = WorkerSettings(threads=1, start_timeout_s=0.0)
ONLY_THIS = "0" * 64
"""The digest of something else that serves."""


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """Nothing is installed."""
    with Repository(tmp_path / "state", "default", 3, CLOCK) as repository:
        yield repository


@pytest.fixture
def door(repository: Repository) -> Admission:
    """The slot's, with nothing configured."""
    return Admission("default", repository, SETTINGS, CLOCK)


@pytest.fixture
def ash(tmp_path: Path) -> Path:
    """A bundle."""
    return bundle(tmp_path / "bundles", "ash")


@pytest.fixture
def birch(tmp_path: Path) -> Path:
    """Another one."""
    return bundle(tmp_path / "bundles", "birch")


def admitted(door: Admission, path: Path, serving: str | None = None) -> str:
    """The digest of what lies there, which is let in."""
    found = door.admit(offer(path), serving)
    assert isinstance(found, VettedBundle)
    return found.bundle.digest


def passed(door: Admission, path: Path, serving: str | None = ONLY_THIS) -> str:
    """Why nothing is to be done about what lies there."""
    found = door.admit(offer(path), serving)
    assert isinstance(found, Passed)
    return found.why


def reading(monkeypatch: pytest.MonkeyPatch, path: Path, *, fails: bool) -> None:
    """While it is read, somebody writes to it."""

    def read(place: Path) -> BundleFiles:
        (path / "labels.txt").write_text("half a")
        if fails:
            raise BundleError("half of it is there")
        return read_bundle(place)

    monkeypatch.setattr(edge_agent.watcher.stillness, "read_bundle", read)


@pytest.mark.parametrize("fails", [True, False])
def test_what_changed_while_it_was_read_is_passed_over(
    door: Admission, repository: Repository, ash: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """It is no refusal: it is looked at again when it stands still."""
    reading(monkeypatch, ash, fails=fails)
    assert passed(door, ash).startswith("it was changed while it was read")
    assert [] == repository.rejections()


def test_the_same_way_brings_it_once(door: Admission, ash: Path) -> None:
    """What something else has followed since is no news; where nothing serves it is taken."""
    digest = admitted(door, ash)
    door.note(offer(ash), digest)
    assert passed(door, ash).endswith("was offered this way before")
    assert digest == admitted(door, ash)


def test_without_a_stick_there_must_be_a_model_for_the_cpu(
    door: Admission, repository: Repository, tmp_path: Path
) -> None:
    """That is the machine's condition: it is told, and held against nothing."""
    only = bundle(tmp_path / "bundles", "only", SMALL)
    with pytest.raises(UnsuitableError, match="nothing that the CPU could run"):
        dataclasses.replace(door, cpu_only=True).admit(offer(only), ONLY_THIS)
    assert [] == repository.rejections()
    admitted(door, only)


def test_a_budget_is_a_condition_too(door: Admission, repository: Repository, ash: Path) -> None:
    """Raised, it lets in what it kept out."""
    with pytest.raises(UnsuitableError, match=r"more than the budget of 0.0001 ms; .* raise budget_ms"):
        dataclasses.replace(door, budget_ms=0.0001).admit(offer(ash), ONLY_THIS)
    assert [] == repository.rejections()
    admitted(dataclasses.replace(door, budget_ms=10_000.0), ash)


def test_what_is_installed_is_not_proven_again(door: Admission, ash: Path) -> None:
    """A start takes a verdict that is known, and no worker of its own."""
    digest = admitted(door, ash)
    assert digest == dataclasses.replace(door, settings=NONE_STARTS).installed(digest).bundle.digest


def test_what_was_proven_at_a_start_is_remembered(
    door: Admission, repository: Repository, ash: Path, tmp_path: Path
) -> None:
    """After an upgrade of the runtime the first start takes longer, and no other."""
    digest = admitted(door, ash)
    for verdicts in (tmp_path / "state").rglob("verdicts.json"):
        verdicts.unlink()
    door.installed(digest)
    key = verdict_key(SETTINGS)
    assert key is not None
    assert repository.verdict(digest, key) is not None


def test_a_verdict_that_is_not_what_was_written_is_none(door: Admission, ash: Path, tmp_path: Path) -> None:
    """A bit that a card has lost would make the Edge TPU disagree for ever."""
    digest = admitted(door, ash)
    verdicts = next((tmp_path / "state").rglob("verdicts.json"))
    text = verdicts.read_text()
    begin = text.index('"codes": "') + 10
    verdicts.write_text(text[:begin] + ("B" if text[begin] == "A" else "A") + text[begin + 1 :])
    assert door.ledger.verdict(digest) is None


def test_a_verdict_that_cannot_be_kept_keeps_nothing_out(
    door: Admission, ash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It only saves time."""

    def refuse(*_: object) -> None:
        raise RepositoryError("no room")

    monkeypatch.setattr(Repository, "remember_verdict", refuse)
    admitted(door, ash, ONLY_THIS)


def test_a_slow_machine_condemns_nothing_that_is_installed(
    door: Admission, repository: Repository, ash: Path, birch: Path, tmp_path: Path
) -> None:
    """Its worker gave no answer in time, twice: why is told, and the next start tries again."""
    for path in (ash, birch):
        repository.activate(admitted(door, path))
    for verdicts in (tmp_path / "state").rglob("verdicts.json"):
        verdicts.unlink()
    current = repository.current
    with pytest.raises(UnprovenError, match="no answer"):
        dataclasses.replace(door, settings=NONE_STARTS).current()
    assert ([], current) == (repository.rejections(), repository.current)
    found = door.current()
    assert found is not None
    assert current == found.bundle.digest


def test_what_no_worker_survives_is_refused(door: Admission, repository: Repository, ash: Path) -> None:
    """Of what is new, after it was tried twice; another runtime may take it."""
    hasty = dataclasses.replace(door, settings=NONE_STARTS)
    with pytest.raises(UnprovenError, match="no answer"):
        hasty.admit(offer(ash), ONLY_THIS)
    refusal = repository.rejections()[0]
    assert verdict_key(NONE_STARTS) == refusal.conditions
    assert "was refused before" in passed(hasty, ash)
    admitted(dataclasses.replace(door, settings=WorkerSettings(threads=2)), ash)


@need_openssl
def test_a_key_that_is_configured_later_condemns_nothing(
    door: Admission, repository: Repository, ash: Path, birch: Path, tmp_path: Path
) -> None:
    """Nothing that is installed is signed by it: the reason is told, and without the key all is as before."""
    for path in (ash, birch):
        repository.activate(admitted(door, path))
    current, previous = repository.current, repository.previous
    _, public = make_key(tmp_path)
    with pytest.raises(SignatureError, match="not signed"):
        dataclasses.replace(door, public_key=public).current()
    assert ([], current, previous) == (repository.rejections(), repository.current, repository.previous)


@need_openssl
def test_what_was_refused_unsigned_is_taken_signed(door: Admission, ash: Path, tmp_path: Path) -> None:
    """A signature does not change the digest."""
    private, public = make_key(tmp_path)
    locked = dataclasses.replace(door, public_key=public)
    with pytest.raises(SignatureError):
        locked.admit(offer(ash), ONLY_THIS)
    assert "not signed" in passed(locked, ash)
    admitted(locked, signed(ash, private), ONLY_THIS)


def test_the_first_model_serves_though_the_disk_is_full(
    door: Admission, repository: Repository, ash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not kept until there is room; where another one serves, that goes on."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Disk, "make_room", full)
        digest = admitted(door, ash)
        assert [] == repository.versions()
        with pytest.raises(RepositoryError, match="is full"):
            door.admit(offer(ash), ONLY_THIS)
    assert digest == admitted(door, ash, digest)
    assert [digest] == [version.digest for version in repository.versions()]
    assert "serves already" in passed(door, ash, digest)


def test_a_refusal_names_what_was_installed(door: Admission, repository: Repository, ash: Path) -> None:
    """With the name and the way that are known of it."""
    digest = admitted(door, ash)
    door.ledger.drop(digest, "it has no eyes")
    refusal = repository.rejections()[0]
    assert ("ash", str(ash), "it has no eyes") == (refusal.name, refusal.origin, refusal.reason)


def test_what_somebody_chose_is_not_overruled_by_the_path(
    door: Admission, repository: Repository, ash: Path, birch: Path
) -> None:
    """Before the first start somebody installed another one than lies at the path."""
    repository.activate(admitted(door, ash))
    door.pass_by(offer(birch))
    assert "was offered this way before" in passed(door, birch, repository.current)
    door.pass_by(offer(ash))
    assert read_bundle(birch).digest == repository.offered("path")


def test_the_last_resort_is_what_nothing_speaks_against(
    door: Admission, repository: Repository, ash: Path, birch: Path
) -> None:
    """The newest such; else what was left."""
    first, second = admitted(door, ash), admitted(door, birch)
    for held, expected in ((first, second), (second, second)):
        repository.activate(second)
        repository.hold(held)
        found = door.last_resort()
        assert found is not None
        assert expected == found.bundle.digest
        repository.hold(first)
