"""trial.py with chronicle.py: trials over restarts, and what a disk that refuses makes of them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import edge_agent.chronicle
import edge_agent.trial
from edge_agent.bundle import read_bundle
from edge_agent.errors import RepositoryError
from edge_agent.probation import ProbationRules
from edge_agent.repository import Repository
from edge_agent.repository.disk import Disk
from tests.keys import make_key, need_openssl, signed
from tests.places import need_data
from tests.stages import LONG, Stage, bundle, offer, outcome

pytestmark = need_data

FIVE = ProbationRules(frames=5, seconds=0.0)
NONE = ProbationRules(frames=0, seconds=0.0)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where models are kept."""
    return tmp_path / "state"


@pytest.fixture
def ash(tmp_path: Path) -> Path:
    """A bundle."""
    return bundle(tmp_path / "bundles", "ash")


@pytest.fixture
def birch(tmp_path: Path) -> Path:
    """Another one."""
    return bundle(tmp_path / "bundles", "birch")


@pytest.fixture
def cedar(tmp_path: Path) -> Path:
    """A third."""
    return bundle(tmp_path / "bundles", "cedar")


def names(repository: Repository) -> dict[str, str]:
    """The state of what is installed, by name."""
    return {version.name: version.state for version in repository.versions()}


def follow(state: Path, first: Path, second: Path, rules: ProbationRules = LONG) -> None:
    """An earlier run of the agent, in which one followed the other, that ended cleanly."""
    with Stage(state, first, rules=rules) as stage:
        stage.until_serving(first.name)
        stage.offers(second)
        stage.until_serving(second.name)


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing can be written down."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        for step in ("replace", "point"):
            patched.setattr(Disk, step, full)
        yield


def test_frames_count_over_a_restart(state: Path, ash: Path, birch: Path) -> None:
    """A slow camera and a power cut each night would not let it pass otherwise."""
    with Stage(state, ash, rules=FIVE) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.until_serving("birch")
        stage.look(3)
    with Stage(state, ash, rules=FIVE) as stage:
        stage.until_serving("birch")
        stage.look()
        stage.turn()
        assert "probation" == stage.state
        stage.look()
        stage.turn()
        assert "serving" == stage.state


def test_a_trial_is_written_down_as_it_goes_on(
    state: Path, ash: Path, birch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut undoes a minute of it; what was steady is not to blame for the ends before."""
    monkeypatch.setattr(edge_agent.trial, "WRITE_EVERY_S", 0.0)
    follow(state, ash, birch)
    stage = Stage(state, birch)
    stage.until_serving("birch")
    stage.dies()
    stage.supervisor.close()
    with Stage(state, birch) as stage:
        stage.until_serving("birch")
        stage.look(3)
        stage.turn()
        trial = stage.repository.probation
        assert trial is not None
        assert (3, 1, True) == (trial.frames, trial.unclean_starts, trial.running)
        monkeypatch.setattr(edge_agent.trial, "STEADY_S", 0.0)
        stage.turn()
        trial = stage.repository.probation
        assert trial is not None
        assert 0 == trial.unclean_starts


def test_it_is_on_trial_before_it_is_current(
    state: Path, ash: Path, birch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes the machine down as soon as it serves must not come back without a trial."""
    point, trials = Disk.point, []

    with Stage(state, ash) as stage:
        stage.until_serving("ash")

        def pointing(disk: Disk, link: Path, target: Path) -> None:
            if link.name == "current":
                trials.append((target.name, stage.repository.candidate))
            point(disk, link, target)

        monkeypatch.setattr(Disk, "point", pointing)
        stage.offers(birch)
        ((digest, trial),) = trials
        assert trial is not None
        assert digest == trial.digest


def test_a_stop_before_it_serves_is_clean(state: Path, ash: Path, birch: Path) -> None:
    """Told to stop in its first second, the agent has not failed."""
    follow(state, ash, birch)
    for _ in range(3):
        with Stage(state, birch):
            pass
    with Stage(state, birch) as stage:
        stage.until_serving("birch")
        assert "probation" == stage.state


def test_one_that_fails_after_a_restart_takes_no_other_with_it(
    state: Path, ash: Path, birch: Path, cedar: Path
) -> None:
    """What comes while it fails is not what is rolled back."""
    follow(state, ash, birch)
    with Stage(state, birch) as stage:
        stage.until_serving("birch")
        told: list[str] = []
        stage.succession.offer(offer(cedar), lambda what: told.append(outcome(what)))
        stage.until(lambda: stage.state == "swapping")
        stage.crash()
        stage.until(lambda: told)
        stage.until_serving("cedar")
        assert ["serves"] == told
        assert {"ash": "previous", "birch": "held", "cedar": "current"} == names(stage.repository)


def test_to_go_back_to_the_proven_one_is_no_trial(state: Path, ash: Path, birch: Path) -> None:
    """Activated during the trial of what followed it, it has nothing to prove, and that is what is held."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        digest = str(stage.repository.current)
        stage.offers(birch)
        stage.until_serving("birch")
        assert "serves" == stage.hears(lambda told: stage.succession.activate(digest, told))
        stage.until_serving("ash")
        assert "serving" == stage.state
        assert {"ash": "current", "birch": "held"} == names(stage.repository)
        before = stage.look() and stage.classifier()
        stage.crash()
        stage.until(lambda: stage.classifier() not in (None, before))
        assert "ash" == stage.serving


def test_what_was_never_written_down_is_not_rolled_back(
    state: Path, ash: Path, birch: Path, cedar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full when it took over: what was current then still is, when it fails."""
    with Stage(state, ash, rules=NONE) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.until(lambda: stage.state == "serving")
    with Stage(state, birch) as stage:
        stage.until_serving("birch")
        current = stage.repository.current
        stage.succession.offer(offer(cedar))
        stage.until(lambda: stage.state == "swapping")
        with full_disk(monkeypatch):
            stage.until_serving("cedar")
            assert "a restart would undo it" in str(stage.succession.fault)
        stage.crash()
        stage.until_serving("birch")
        assert current == stage.repository.current
        assert stage.repository.rejection(str(current)) is None
        assert stage.succession.fault is None
        assert "held" == names(stage.repository)["cedar"]


def test_a_rollback_that_cannot_be_written_down_is_a_fault(
    state: Path, ash: Path, birch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked is told that a restart would undo it; it is tried again until it is written."""
    monkeypatch.setattr(edge_agent.chronicle, "AGAIN_S", 0.0)
    follow(state, ash, birch, NONE)
    with Stage(state, birch) as stage:
        stage.until_serving("birch")
        with full_disk(monkeypatch):
            assert "unwritten" == stage.hears(stage.succession.roll_back)
            stage.turn()
            assert "is full" in str(stage.succession.fault)
        stage.turn()
        assert stage.succession.fault is None
        assert {"ash": "current", "birch": "held"} == names(stage.repository)


def test_a_second_rollback_on_a_full_disk(
    state: Path, ash: Path, birch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was rolled back from does not come back, though the disk still says that it serves."""
    follow(state, ash, birch, NONE)
    with Stage(state, birch) as stage:
        stage.until_serving("birch")
        with full_disk(monkeypatch):
            assert "unwritten" == stage.hears(stage.succession.roll_back)
            assert stage.succession.report().previous is None
            with pytest.raises(RepositoryError, match="no previous model"):
                stage.succession.roll_back(lambda _: None)
        assert "ash" == stage.serving


def test_what_serves_is_installed_once_more_on_a_full_disk(
    state: Path, ash: Path, birch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for it is told that a restart would undo it."""
    follow(state, ash, birch, NONE)
    with Stage(state, birch) as stage:
        stage.until_serving("birch")
        with full_disk(monkeypatch):
            assert "unwritten" == stage.hears(stage.succession.roll_back)
            assert "unwritten" == stage.offers(ash, "control", asked=True)


def test_what_was_left_and_serves_for_want_of_another_is_asked_for(
    state: Path, ash: Path, tmp_path: Path
) -> None:
    """It is wanted after all, and held no more."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.repository.hold(str(stage.repository.current))
    with Stage(state, tmp_path / "gone") as stage:
        stage.until_serving("ash")
        assert "unchanged" == stage.offers(ash, "control", asked=True)
        assert not stage.repository.is_held(str(stage.repository.current))


def test_a_rollback_from_what_was_not_written_down(
    state: Path, ash: Path, birch: Path, cedar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes back to what served before, not to what the disk has for that."""
    follow(state, ash, birch, NONE)
    with Stage(state, birch) as stage:
        stage.until_serving("birch")
        stage.repository.install(read_bundle(cedar), "a test")
        cedars = read_bundle(cedar).digest
        with full_disk(monkeypatch):
            assert "unwritten" == stage.hears(lambda told: stage.succession.activate(cedars, told))
            assert "unwritten" == stage.hears(stage.succession.roll_back)
            assert "birch" == stage.serving


def test_an_activation_after_a_rollback_on_a_full_disk(
    state: Path, ash: Path, birch: Path, cedar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once there is room the disk says what it would say had there been room all the time."""
    monkeypatch.setattr(edge_agent.chronicle, "AGAIN_S", 0.0)
    follow(state, ash, birch, NONE)
    with Stage(state, birch, rules=NONE) as stage:
        stage.until_serving("birch")
        stage.repository.install(read_bundle(cedar), "a test")
        cedars, birches = read_bundle(cedar).digest, read_bundle(birch).digest
        with full_disk(monkeypatch):
            assert "unwritten" == stage.hears(stage.succession.roll_back)
            assert "unwritten" == stage.hears(lambda told: stage.succession.activate(cedars, told))
            before = stage.succession.report().previous
            assert before is not None
            assert "ash" == before.name
        stage.turn()
        assert stage.succession.fault is None
        assert {"ash": "previous", "birch": "held", "cedar": "current"} == names(stage.repository)
        assert [True, True] == [stage.repository.is_held(each) for each in (birches, read_bundle(ash).digest)]


def test_what_is_not_written_down_yet_is_no_old_model(
    state: Path, ash: Path, birch: Path, cedar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room again, and an installation removes old models before that was noticed."""
    dogwood = bundle(tmp_path / "bundles", "dogwood")
    follow(state, ash, birch, NONE)
    with Stage(state, birch, rules=NONE) as stage:
        stage.until_serving("birch")
        stage.repository.install(read_bundle(cedar), "a test")
        cedars = read_bundle(cedar).digest
        with full_disk(monkeypatch):
            assert "unwritten" == stage.hears(lambda told: stage.succession.activate(cedars, told))
        assert "serves" == stage.offers(dogwood)
        assert {"cedar": "previous", "dogwood": "current"}.items() <= names(stage.repository).items()


def test_an_end_tries_to_write_down_what_was_not(
    state: Path, ash: Path, birch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody makes room and starts the agent anew: what serves goes on."""
    follow(state, ash, birch, NONE)
    with Stage(state, birch) as stage:
        stage.until_serving("birch")
        with full_disk(monkeypatch):
            assert "unwritten" == stage.hears(stage.succession.roll_back)
    with Stage(state, birch) as stage:
        stage.until_serving("ash")


def test_a_trial_that_began_on_a_full_disk(
    state: Path, ash: Path, birch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written down with what is on trial, once there is room."""
    monkeypatch.setattr(edge_agent.chronicle, "AGAIN_S", 0.0)
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.succession.offer(offer(birch))
        stage.until(lambda: stage.state == "swapping")
        with full_disk(monkeypatch):
            stage.until_serving("birch")
        stage.turn()
        trial = stage.repository.probation
        assert trial is not None
        assert (stage.repository.current, True) == (trial.digest, trial.running)


def test_one_that_is_gone_does_not_hold_up_what_followed(
    state: Path, ash: Path, birch: Path, cedar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to serve is damaged by the time that there is room, and another one has followed."""
    monkeypatch.setattr(edge_agent.chronicle, "AGAIN_S", 0.0)
    follow(state, ash, birch, NONE)
    with Stage(state, birch, rules=NONE) as stage:
        stage.until_serving("birch")
        stage.repository.install(read_bundle(cedar), "a test")
        cedars = read_bundle(cedar).digest
        damaged = state / "models" / "default" / "versions" / str(stage.repository.previous)
        with full_disk(monkeypatch):
            assert "unwritten" == stage.hears(stage.succession.roll_back)
            assert "unwritten" == stage.hears(lambda told: stage.succession.activate(cedars, told))
        (damaged / "version.json").write_text("{")
        stage.turn()
        assert stage.succession.fault is None
        assert {"birch": "held", "cedar": "current"} == names(stage.repository)


def test_the_proven_one_is_asked_for_when_the_trial_fails(state: Path, ash: Path, birch: Path) -> None:
    """It is what serves then: who asked is told so, and nothing is left to be swapped to."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        digest = str(stage.repository.current)
        stage.offers(birch)
        stage.until_serving("birch")
        told: list[str] = []
        stage.succession.activate(digest, lambda what: told.append(outcome(what)))
        stage.until(lambda: stage.state == "swapping")
        stage.crash()
        stage.until(lambda: told)
        assert ["serves"] == told
        stage.until_serving("ash")
        assert "serving" == stage.state
        assert {"ash": "current", "birch": "held"} == names(stage.repository)


@need_openssl
def test_a_start_that_the_installed_ones_do_not_suit(
    state: Path, ash: Path, birch: Path, cedar: Path, tmp_path: Path
) -> None:
    """What lies at the path serves for as long as that is so, and is not what is to serve for good."""
    follow(state, ash, birch, NONE)
    private, public = make_key(tmp_path)
    with Stage(state, signed(cedar, private), public_key=public) as stage:
        stage.until_serving("cedar")
        assert {"ash": "previous", "birch": "current", "cedar": "installed"} == names(stage.repository)
    with Stage(state, cedar) as stage:
        stage.until_serving("birch")


@need_openssl
def test_what_follows_after_a_start_that_the_installed_ones_do_not_suit(
    state: Path, ash: Path, birch: Path, cedar: Path, tmp_path: Path
) -> None:
    """It goes back to what it followed, not to what does not suit."""
    follow(state, ash, birch, NONE)
    private, public = make_key(tmp_path)
    dogwood = signed(bundle(tmp_path / "bundles", "dogwood"), private)
    with Stage(state, signed(cedar, private), public_key=public) as stage:
        stage.until_serving("cedar")
        assert "serves" == stage.offers(dogwood)
        assert {"cedar": "previous", "dogwood": "current"}.items() <= names(stage.repository).items()


def test_the_one_before_is_damaged(state: Path, ash: Path, birch: Path) -> None:
    """What serves from memory then does not after a restart: what does is not refused for it."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.until_serving("birch")
        damaged = state / "models" / "default" / "versions" / str(stage.repository.previous)
        (damaged / "version.json").write_text("{")
        stage.look()
        stage.crash()
        stage.until_serving("ash")
        current = str(stage.repository.current)
        assert stage.repository.rejection(current) is None
        assert stage.repository.probation is not None
        assert "not installed" in str(stage.succession.fault)


def test_one_that_takes_the_machine_down_leaves_nothing_worse(
    state: Path, ash: Path, birch: Path, cedar: Path
) -> None:
    """With the one before damaged, what lies at the path serves rather than what was left long ago."""
    follow(state, ash, birch)
    with Repository(state, "default") as repository:
        trial, previous = repository.current, repository.previous
        assert trial is not None
        assert previous is not None
        repository.install(read_bundle(cedar), "a test")
        repository.hold(read_bundle(cedar).digest)
        model = next((state / "models" / "default" / "versions" / previous).rglob("*.tflite"))
        model.write_bytes(model.read_bytes()[:-100] + bytes(100))
        for _ in range(2):
            repository.note_start()
    elder = bundle(ash.parent, "elder")
    with Stage(state, elder) as stage:
        stage.until_serving("elder")


@pytest.mark.parametrize("restarts", [False, True])
def test_two_bad_ones_in_a_row(
    state: Path, ash: Path, birch: Path, cedar: Path, tmp_path: Path, *, restarts: bool
) -> None:
    """What follows one on trial goes back to the last that has passed, after a restart too."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.offers(cedar)
        stage.until_serving("cedar")
        assert {"ash": "previous", "birch": "installed", "cedar": "current"} == names(stage.repository)
        before = stage.succession.report().previous
        assert before is not None
        assert "ash" == before.name
        if not restarts:
            stage.crash()
            stage.until_serving("ash")
    with Stage(state, tmp_path / "gone") as stage:
        if restarts:
            stage.until_serving("cedar")
            stage.crash()
        stage.until_serving("ash")
        assert "serving" == stage.state
        assert {"ash": "current", "birch": "installed", "cedar": "held"} == names(stage.repository)


def test_a_rollback_during_a_second_trial(state: Path, ash: Path, birch: Path, cedar: Path) -> None:
    """It goes to the last one that has passed, and holds only what it leaves."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.offers(cedar)
        assert "serves" == stage.hears(stage.succession.roll_back)
        stage.until_serving("ash")
        assert {"ash": "current", "birch": "installed", "cedar": "held"} == names(stage.repository)


def test_what_is_activated_during_a_trial(state: Path, ash: Path, birch: Path, cedar: Path) -> None:
    """What it leaves is held, and goes back to what has passed all the same."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.repository.install(read_bundle(cedar), "a test")
        stage.offers(birch)
        cedars = read_bundle(cedar).digest
        assert "serves" == stage.hears(lambda told: stage.succession.activate(cedars, told))
        assert {"ash": "previous", "birch": "held", "cedar": "current"} == names(stage.repository)
        stage.crash()
        stage.until_serving("ash")


def test_the_proven_one_is_installed_during_a_trial(state: Path, ash: Path, birch: Path) -> None:
    """It has nothing to prove, and what it follows was not wanted away."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        assert "serves" == stage.offers(ash, "control", asked=True)
        stage.until_serving("ash")
        assert "serving" == stage.state
        assert {"ash": "current", "birch": "installed"} == names(stage.repository)
        assert stage.repository.probation is None


def _dies_swapping(state: Path, first: Path, second: Path) -> None:
    """A run of the agent that ends without a word while it swaps."""
    stage = Stage(state, first)
    stage.until_serving(first.name)
    stage.succession.offer(offer(second))
    stage.until(lambda: stage.state == "swapping")
    stage.dies()
    stage.supervisor.close()


def test_an_end_during_a_swap_is_a_power_cut(state: Path, ash: Path, birch: Path) -> None:
    """It comes again, and what is counted of it goes on in its trial."""
    _dies_swapping(state, ash, birch)
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        assert "serves" == stage.offers(birch)
        trial = stage.repository.probation
        assert trial is not None
        assert (stage.repository.current, 1, True) == (trial.digest, trial.unclean_starts, trial.running)
        assert stage.repository.candidate is None
        stage.dies()
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        assert {"ash": "current", "birch": "held"} == names(stage.repository)


def test_one_that_takes_the_machine_down_before_it_serves(state: Path, ash: Path, birch: Path) -> None:
    """It would do so at every start: the second time is the last, and the reason is told."""
    for _ in range(2):
        _dies_swapping(state, ash, birch)
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        reason = "the agent ended 2 times without a word while it was swapped to"
        assert [reason] == [each.reason for each in stage.succession.report().refusals]
        assert reason in stage.offers(birch)
        assert "serves" == stage.offers(birch, "control", asked=True)
        trial = stage.repository.probation
        assert trial is not None
        assert 0 == trial.unclean_starts


def test_clean_ends_during_a_swap_do_not_count(state: Path, ash: Path, birch: Path) -> None:
    """However often somebody restarts the agent."""
    for _ in range(3):
        with Stage(state, ash) as stage:
            stage.until_serving("ash")
            stage.succession.offer(offer(birch))
            stage.until(lambda: stage.state == "swapping")
            candidate = stage.repository.candidate
            assert candidate is not None
            assert (0, True) == (candidate.unclean_starts, candidate.running)
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        assert "serves" == stage.offers(birch)


def test_what_does_not_take_over_is_no_candidate(state: Path, ash: Path, birch: Path, cedar: Path) -> None:
    """A power cut later on says nothing of it."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.succession.offer(offer(birch))
        stage.until(lambda: stage.state == "swapping")
        stage.succession.offer(offer(cedar))
        assert stage.repository.candidate is None
        stage.until_serving("cedar")
