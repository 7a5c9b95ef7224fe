"""succession.py with admission.py: how one model follows another in a slot, with real workers."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

import edge_agent.cpu_workers
import edge_agent.turns
from edge_agent.bundle import read_bundle
from edge_agent.candidates import Blame, News, Refused
from edge_agent.classifier import RankingRule
from edge_agent.clock import Clock
from edge_agent.errors import RepositoryError, UsageError, WorkerError, WorkerStartError
from edge_agent.probation import SLOW_SAMPLE, ProbationRules
from edge_agent.repository import Repository
from edge_agent.repository.disk import Disk
from edge_agent.runner import Place, Runner
from edge_agent.sealed import SealedFile
from edge_agent.turns import Serves, Told
from edge_agent.vetting import VettedBundle
from edge_agent.worker_process import WorkerSettings
from tests.places import need_data
from tests.stages import LONG, Stage, bundle, offer, outcome

pytestmark = need_data

SHORT = ProbationRules(frames=3, seconds=0.0)
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


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """No runtime opens it."""
    place = bundle(tmp_path / "bundles", "broken")
    model = place / "mobilenet_v1_0.25_128_quant.tflite"
    content = model.read_bytes()
    model.write_bytes(content[:1000] + bytes(len(content) - 1000))
    return place


def names(repository: Repository) -> dict[str, str]:
    """The state of what is installed, by name."""
    return {version.name: version.state for version in repository.versions()}


def reasons(stage: Stage) -> list[str]:
    """Of the refusals that are told."""
    return [refusal.reason for refusal in stage.succession.report().refusals]


def swapped(state: Path, first: Path, *others: Path, rules: ProbationRules = NONE) -> None:
    """An earlier run of the agent, in which these followed one another, that ended cleanly."""
    with Stage(state, first, rules=rules) as stage:
        stage.until_serving(first.name)
        for other in others:
            stage.offers(other)
            if rules is NONE:
                stage.until(lambda: stage.state == "serving")


# The first model


def test_the_first_bundle_is_installed_and_serves(state: Path, ash: Path) -> None:
    """It was proven: there is nothing to go back to, and so no trial."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        assert "serving" == stage.state
        assert {"ash": "current"} == names(stage.repository)
        assert "ash" == stage.look().model.name
        assert stage.succession.report().available is None


def test_what_is_installed_serves_without_its_source(state: Path, ash: Path, tmp_path: Path) -> None:
    """A drive may be gone at the next start."""
    swapped(state, ash)
    with Stage(state, tmp_path / "gone") as stage:
        stage.until_serving("ash")
        assert stage.succession.failure is None


def test_a_first_bundle_that_is_refused(state: Path, broken: Path, ash: Path) -> None:
    """Why nothing serves is told at each start, and the next good bundle serves."""
    for said in ("the runtime refuses the model", "was refused before"):
        with Stage(state, broken) as stage:
            stage.until(lambda: stage.succession.failure)
            assert said in str(stage.succession.failure)
            assert 1 == len(reasons(stage))
    with Stage(state, broken) as stage:
        stage.until(lambda: stage.succession.failure)
        assert "serves" == stage.offers(ash)
        stage.until_serving("ash")
        assert stage.succession.failure is None


def test_a_kill_before_the_first_one_served(state: Path, ash: Path) -> None:
    """It was installed, and nothing was said of it: the next start takes it."""
    with Repository(state, "default") as repository:
        repository.install(read_bundle(ash), "path")
    with Stage(state, ash) as stage:
        stage.until_serving("ash")


# One follows another


def test_a_new_one_takes_over(state: Path, ash: Path, birch: Path) -> None:
    """It serves, and will after a restart; what was there before can be gone back to."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        assert "serves" == stage.offers(birch)
        stage.until_serving("birch")
        assert {"ash": "previous", "birch": "current"} == names(stage.repository)
        before = stage.succession.report().previous
        assert before is not None
        assert "ash" == before.name
        assert "probation" == stage.state


def test_the_trial_ends_with_its_frames(state: Path, ash: Path, birch: Path) -> None:
    """From then on an end without a word says nothing of it."""
    with Stage(state, ash, rules=SHORT) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.until_serving("birch")
        stage.look(2)
        stage.turn()
        assert "probation" == stage.state
        stage.look()
        stage.turn()
        assert "serving" == stage.state
        assert stage.repository.probation is None


def test_what_serves_is_no_news(state: Path, ash: Path) -> None:
    """An unchanged path offers nothing, nor does the same bundle that came another way."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        runner = stage.look() and stage.classifier()
        for way in ("path", "inbox:ash", "control"):
            assert "unchanged" == stage.offers(ash, way, asked=way == "control")
        assert runner is stage.classifier()


def test_a_bad_one_changes_nothing(state: Path, ash: Path, broken: Path) -> None:
    """It is refused once, by its digest, with a reason; who asks again is told anew."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        before = stage.classifier()
        assert stage.offers(broken).startswith("BundleError: ")
        assert "was refused before: " in stage.offers(broken)
        assert stage.offers(broken, asked=True).startswith("BundleError: ")
        assert before is stage.classifier()
        assert {"ash": "current"} == names(stage.repository)
        assert ["the runtime refuses the model" in reason for reason in reasons(stage)] == [True]


def test_what_cannot_be_read_is_told_until_it_can(state: Path, ash: Path, tmp_path: Path) -> None:
    """A half-made folder has no digest to be refused by."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        assert stage.offers(tmp_path / "nothing").startswith("BundleError: ")
        assert 1 == len(reasons(stage))
        stage.offers(ash)
        assert [] == reasons(stage)


def test_the_newest_of_one_way_counts(state: Path, ash: Path, birch: Path, cedar: Path) -> None:
    """What waits is replaced by what came the same way after it."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        told: list[str] = []
        for each in (birch, cedar):
            stage.succession.offer(offer(each), lambda what: told.append(outcome(what)))
        stage.until(lambda: len(told) == 2)
        assert ["a newer one took its place", "serves"] == told
        stage.until_serving("cedar")
        assert "birch" not in names(stage.repository)


def test_each_of_several_is_told_its_own(
    state: Path, ash: Path, birch: Path, cedar: Path, broken: Path
) -> None:
    """They are looked at one after another, whoever asked."""
    with Stage(state, ash, rules=NONE) as stage:
        stage.until_serving("ash")
        digest = str(stage.repository.current)
        told: dict[str, str] = {}

        def note(who: str) -> Told:
            return lambda what: told.update({who: outcome(what)})

        stage.succession.offer(offer(birch), note("birch"))
        stage.turn()  # birch is being looked at
        stage.succession.offer(offer(broken, "inbox:broken"), note("broken"))
        stage.succession.activate(digest, note("ash"))
        stage.succession.offer(offer(cedar, "inbox:cedar"), note("cedar"))
        stage.until(lambda: len(told) == 4)
        assert told.pop("broken").startswith("BundleError: ")
        assert dict.fromkeys(("birch", "ash", "cedar"), "serves") == told
        stage.until_serving("cedar")
        assert "previous" == names(stage.repository)["ash"]


def test_a_worker_that_could_not_be_started_condemns_nothing(
    state: Path, ash: Path, birch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process could be made: that is told, and the same bundle may come again."""
    digest = read_bundle(birch).digest

    class Short(Runner):
        def __init__(self, models: Mapping[str, SealedFile], settings: WorkerSettings, clock: Clock) -> None:
            if digest in models:
                raise WorkerStartError("cannot start a worker: Cannot allocate memory")
            super().__init__(models, settings, clock)

    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        with monkeypatch.context() as patch:
            patch.setattr(edge_agent.cpu_workers, "Runner", Short)
            assert "Cannot allocate memory" in stage.offers(birch)
        assert "Cannot allocate memory" in stage.succession.report().refusals[0].reason
        assert [] == stage.repository.rejections()
        assert "serves" == stage.offers(birch)


def test_no_memory_for_frames_of_the_new_one(
    state: Path, ash: Path, birch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not take over, nothing is held against it, and what served goes on."""
    digest, place = read_bundle(birch).digest, Runner.place

    def full(runner: Runner, network: str) -> Place:
        if network == digest:
            raise WorkerError("no memory for an input of 49152 bytes")
        return place(runner, network)

    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        with monkeypatch.context() as patch:
            patch.setattr(Runner, "place", full)
            assert "no memory for an input" in stage.offers(birch)
        assert "ash" == stage.look().model.name
        assert "serves" == stage.offers(birch)


def test_since_when_what_is_taken_back_to_serves(state: Path, ash: Path, birch: Path) -> None:
    """Between the decision and the flip what serves has served since it took over."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        since_ns = stage.supervisor.status()[0].since_ns
        stage.supervisor.aspire("default", read(stage), RankingRule())
        assert since_ns == stage.supervisor.status()[0].since_ns > 0


def read(stage: Stage) -> VettedBundle:
    """What serves, vetted."""
    classifier = stage.classifier()
    assert classifier is not None
    return classifier.vetted


def test_a_kill_during_a_swap(state: Path, ash: Path, birch: Path) -> None:
    """The old one serves at the next start, and the new one is offered again."""
    swapped(state, ash)
    stage = Stage(state, ash)
    stage.until_serving("ash")
    stage.succession.offer(offer(birch))
    stage.until(lambda: stage.state == "swapping")
    stage.dies()
    stage.supervisor.close()
    with Stage(state, birch) as again:
        again.until_serving("ash")
        again.offers(birch)
        again.until_serving("birch")


def test_without_a_repository(ash: Path, birch: Path, broken: Path) -> None:
    """Where nothing can be kept the path still serves, and what is put there takes over."""
    with Stage(None, ash, rules=SHORT) as stage:
        stage.until_serving("ash")
        assert stage.offers(broken).startswith("BundleError: ")
        stage.offers(birch)
        stage.until_serving("birch")
        stage.crash()
        stage.until_serving("ash")
        with pytest.raises(RepositoryError, match="no previous model"):
            stage.succession.roll_back(lambda _: None)
        found = stage.hears(lambda told: stage.succession.activate("1" * 64, told))
        assert found.startswith("RepositoryError: ")


def test_two_slots(state: Path, ash: Path, birch: Path) -> None:
    """What happens in one is not the other's."""
    with Stage(state, ash, slots=("front", "back")) as stage:
        stage.until(lambda: stage.classifier("front") and stage.classifier("back"))
        stage.offers(birch)
        stage.until_serving("birch")
        back = stage.classifier("back")
        assert back is not None
        assert ("back", "ash") == (back.identity.slot, back.identity.name)
        assert {"ash": "current"} == names(stage.repositories[1])
        stage.crash()
        stage.until_serving("ash")
        assert back is stage.classifier("back")
        assert () == stage.successions["back"].report().refusals


@pytest.mark.parametrize("kills", [1, 2])
def test_a_candidate_that_was_killed_from_outside(state: Path, ash: Path, birch: Path, kills: int) -> None:
    """Somebody, or a machine without memory, has ended its worker: it is tried once more."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        told: list[str] = []
        stage.succession.offer(offer(birch), lambda what: told.append(outcome(what)))
        stage.until(lambda: stage.state == "swapping")
        for _ in range(kills):
            digest = read_bundle(birch).digest
            refusal = Refused("worker 7 ended by SIGKILL", Blame.OUTSIDE)
            stage.succession.heard(News("default", digest, refusal))
        stage.until(lambda: told)
        assert [
            "serves" if kills == 1 else f"BundleError: birch {digest[:12]}: worker 7 ended by SIGKILL"
        ] == told
        assert (kills == 2) == (stage.repository.rejection(digest) is not None)
        if kills == 1:
            stage.until_serving("birch")


def test_how_a_worker_ended_is_no_matter_of_words(state: Path, ash: Path, birch: Path) -> None:
    """A model whose name or last words speak of a signal was not killed by one."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        told: list[str] = []
        stage.succession.offer(offer(birch), lambda what: told.append(outcome(what)))
        stage.until(lambda: stage.state == "swapping")
        digest = read_bundle(birch).digest
        stage.succession.heard(News("default", digest, Refused("SIGKILL.tflite: the runtime refuses it")))
        assert [f"BundleError: birch {digest[:12]}: SIGKILL.tflite: the runtime refuses it"] == told


def test_a_candidate_that_is_held_up_at_its_start(
    state: Path, ash: Path, birch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has run before, when it was vetted: that is told, not held against it, and tried again."""
    monkeypatch.setattr(edge_agent.turns, "AGAIN_S", 0.0)
    digest = read_bundle(birch).digest

    class HeldUp(Runner):
        def __init__(self, models: Mapping[str, SealedFile], settings: WorkerSettings, clock: Clock) -> None:
            if digest in models:
                settings = dataclasses.replace(settings, start_timeout_s=0.5)
            super().__init__(models, settings, clock)
            if digest in models:
                os.kill(self.pid, signal.SIGSTOP)

    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        with monkeypatch.context() as patch:
            patch.setattr(edge_agent.cpu_workers, "Runner", HeldUp)
            assert "gave no answer within 0.5 s" in stage.offers(birch)
        assert [] == stage.repository.rejections()
        stage.until_serving("birch")


def test_what_is_coming_is_told_while_it_is_vetted(state: Path, ash: Path, birch: Path) -> None:
    """Not only once it is swapped to."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.succession.offer(offer(birch))
        coming = set()

        def serves() -> bool:
            report = stage.succession.report()
            coming.add((report.state, report.candidate.name if report.candidate else None))
            return stage.serving == "birch" and not stage.succession.busy

        stage.until(serves)
        stage.until_serving("birch")
        assert {("vetting", "birch"), ("swapping", "birch")} <= coming
        assert stage.succession.report().candidate is None


def test_what_a_new_one_warns_of_is_told(
    state: Path, ash: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log and beside what serves, however it came; and which labels are gone."""
    other = bundle(tmp_path / "bundles", "other", text='[input]\ngeometry = "stretch"\n')
    (other / "labels.txt").write_text("\n".join(f"thing {number}" for number in range(1001)))
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.offers(other)
        stage.until_serving("other")
        warnings = stage.succession.report().warnings
        assert "gone: background, tench, " in warnings[-1]
        assert "new: thing 0, thing 1, " in warnings[-1]
        assert warnings[-1].endswith(", thing 11, ... (1001 in all)")
        logged = [record.getMessage() for record in caplog.records]
        assert all(f"slot default: {warning}" in logged for warning in warnings)


def test_a_full_disk_is_tried_again(
    state: Path, ash: Path, birch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself: the file need not change for that."""
    monkeypatch.setattr(edge_agent.turns, "AGAIN_S", 0.0)
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        with monkeypatch.context() as full:
            full.setattr(Disk, "make_room", _full)
            assert "is full" in stage.offers(birch)
        stage.until_serving("birch")


def test_a_full_disk_is_tried_again_whatever_was_asked_for_in_vain(
    state: Path, ash: Path, birch: Path, cedar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tried the command too, then makes room, need not touch the file in the inbox."""
    monkeypatch.setattr(edge_agent.turns, "AGAIN_S", 0.5)
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        with monkeypatch.context() as full:
            full.setattr(Disk, "make_room", _full)
            assert "is full" in stage.offers(birch, "inbox:birch")
            assert "is full" in stage.offers(cedar, "control", asked=True)
        stage.until_serving("birch")


def test_what_was_asked_for_outlives_what_is_tried_again(
    state: Path, ash: Path, birch: Path, cedar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the newer wish."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        with monkeypatch.context() as full:
            full.setattr(edge_agent.turns, "AGAIN_S", 0.0)
            full.setattr(Disk, "make_room", _full)
            assert "is full" in stage.offers(birch, "inbox:birch")
            full.setattr(edge_agent.turns, "AGAIN_S", 1.0)
            told: list[str] = []
            stage.succession.offer(
                offer(cedar, "control", asked=True), lambda what: told.append(outcome(what))
            )
            full.undo()
            stage.until(lambda: told)
        stage.until_serving("cedar")
        stage.turn()
        assert not stage.succession.busy


def test_the_first_start_on_a_full_disk(state: Path, ash: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves, a fault says that it is not kept, and it is as soon as there is room."""
    monkeypatch.setattr(edge_agent.turns, "AGAIN_S", 0.0)
    with Stage(state, ash) as stage:
        with monkeypatch.context() as full:
            full.setattr(Disk, "make_room", _full)
            stage.until(lambda: stage.serving == "ash")
            assert "a restart would undo it" in str(stage.succession.fault)
        stage.until(lambda: stage.succession.fault is None)
        assert {"ash": "current"} == names(stage.repository)


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# Activated, and rolled back


def test_an_installed_one_is_activated(state: Path, ash: Path, birch: Path) -> None:
    """Whatever was held against it."""
    with Stage(state, ash, rules=NONE) as stage:
        stage.until_serving("ash")
        ash_digest = str(stage.repository.current)
        stage.offers(birch)
        stage.hears(stage.succession.roll_back)
        stage.until_serving("ash")
        birch_digest = next(each.digest for each in stage.repository.versions() if each.digest != ash_digest)
        assert stage.repository.is_held(birch_digest)
        assert "serves" == stage.hears(lambda told: stage.succession.activate(birch_digest, told))
        stage.until_serving("birch")
        assert {"ash": "previous", "birch": "current"} == names(stage.repository)


def test_what_is_not_installed_cannot_be_activated(
    state: Path, ash: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asked is told, and what serves goes on; no model was refused, and the log says it once."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        found = stage.hears(lambda told: stage.succession.activate("1" * 64, told))
        assert found.startswith("UnknownVersionError: ")
        assert "ash" == stage.serving
        assert [] == reasons(stage)
        said = [record.getMessage() for record in caplog.records if "is not installed" in record.getMessage()]
        assert ["slot default: model 111111111111 is not installed; see `edge-agent models list`"] == said


def test_what_is_coming_does_not_give_way_to_what_is_not_installed(
    state: Path, ash: Path, birch: Path
) -> None:
    """A rollback under way goes on."""
    swapped(state, ash, birch)
    with Stage(state, birch, rules=NONE) as stage:
        stage.until_serving("birch")
        told: list[str] = []
        stage.succession.roll_back(lambda what: told.append(outcome(what)))
        stage.until(lambda: stage.state == "swapping")
        stage.succession.activate("1" * 64, lambda what: told.append(outcome(what)))
        stage.until(lambda: len(told) == 2)
        assert [True, False] == [each.startswith("UnknownVersionError: ") for each in told]
        assert "serves" == told[1]
        assert "ash" == stage.serving


def test_by_force_there_is_no_trial(state: Path, ash: Path, birch: Path) -> None:
    """Somebody has looked at it and wants it."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        ash_digest = str(stage.repository.current)
        stage.offers(birch)
        stage.until_serving("birch")
        stage.hears(lambda told: stage.succession.activate(ash_digest, told, force=True))
        stage.until_serving("ash")
        assert "serving" == stage.state
        assert stage.repository.probation is None


def test_a_rollback_is_no_new_model(state: Path, ash: Path, birch: Path) -> None:
    """It goes back to what has served: no trial, and its failure does not bring back what was left."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.until_serving("birch")
        assert "serves" == stage.hears(stage.succession.roll_back)
        stage.until_serving("ash")
        assert "serving" == stage.state
        before = stage.look() and stage.classifier()
        stage.crash()
        stage.until(lambda: stage.classifier() not in (None, before))
        assert "ash" == stage.serving
        assert {"ash": "current", "birch": "held"} == names(stage.repository)
        with pytest.raises(RepositoryError, match="no previous model"):
            stage.succession.roll_back(lambda _: None)


def test_what_was_rolled_back_from_does_not_come_back(state: Path, ash: Path, birch: Path) -> None:
    """Not by its path, not at the next start; only where a person wants it."""
    with Stage(state, ash, rules=NONE) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.hears(stage.succession.roll_back)
        stage.until_serving("ash")
        assert "was rolled back from" in stage.offers(birch)
    with Stage(state, birch, rules=NONE) as stage:
        stage.until_serving("ash")
        for way in ("path", "inbox:birch"):
            assert "was rolled back from" in stage.offers(birch, way)
        assert "serves" == stage.offers(birch, "control", asked=True)
        stage.until_serving("birch")


def test_what_was_rolled_back_from_is_available(state: Path, ash: Path, birch: Path) -> None:
    """A person may want the newest after all; what serves, or is older, is no update."""
    with Stage(state, ash, rules=NONE) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.until_serving("birch")
        assert stage.succession.report().available is None
        with pytest.raises(UsageError, match="no installed model is newer"):
            stage.succession.update(lambda _: None)
        stage.hears(stage.succession.roll_back)
        stage.until_serving("ash")
        available = stage.succession.report().available
        assert available is not None
        assert "birch" == available.name
        assert "serves" == stage.hears(stage.succession.update)
        stage.until_serving("birch")
        assert stage.succession.report().available is None
        assert {"ash": "previous", "birch": "current"} == names(stage.repository)


def test_an_update_holds_nothing(state: Path, ash: Path, birch: Path) -> None:
    """Who takes a newer model has nothing against the older one: it is the previous one."""
    with Stage(state, ash, rules=NONE) as stage:
        stage.until_serving("ash")
        digest = str(stage.repository.current)
        stage.offers(birch)
        stage.hears(stage.succession.roll_back)
        told: list[object] = []
        stage.succession.update(told.append)
        stage.until(lambda: told)
        assert isinstance(told[0], Serves)
        assert told[0].left is None
        assert not stage.repository.is_held(digest)
        assert {"ash": "previous", "birch": "current"} == names(stage.repository)


def test_what_is_activated_holds_what_it_leaves(state: Path, ash: Path, birch: Path) -> None:
    """Somebody wants to be rid of it: no way in brings it back, and that is told."""
    with Stage(state, ash, rules=NONE) as stage:
        stage.until_serving("ash")
        digest = str(stage.repository.current)
        stage.offers(birch)
        stage.until(lambda: stage.state == "serving")
        told: list[object] = []
        stage.succession.activate(digest, told.append)
        stage.until(lambda: told)
        assert isinstance(told[0], Serves)
        assert read_bundle(birch).digest == told[0].left
        assert "was rolled back from" in stage.offers(birch, "inbox:birch.zip")


def test_what_serves_is_cleared_by_activating_it(state: Path, ash: Path) -> None:
    """Whatever was held against it."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        digest = str(stage.repository.current)
        stage.repository.hold(digest)
        assert "unchanged" == stage.hears(lambda told: stage.succession.activate(digest, told))
        assert not stage.repository.is_held(digest)


def test_a_rollback_comes_before_all_that_waits(state: Path, ash: Path, birch: Path, cedar: Path) -> None:
    """Somebody sees a bad model at work."""
    with Stage(state, ash, rules=NONE) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        told: list[str] = []
        stage.succession.offer(offer(cedar), lambda _: told.append("cedar"))
        stage.succession.roll_back(lambda _: told.append("rollback"))
        stage.until(lambda: len(told) == 2)
        assert ["rollback", "cedar"] == told


def test_what_gives_way_is_told_and_stays_away(
    state: Path, ash: Path, birch: Path, cedar: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody wanted another one while it was swapped to: the log says so, and no restart brings it in."""
    caplog.set_level(logging.INFO)
    swapped(state, ash, birch)
    with Stage(state, birch, rules=NONE) as stage:
        stage.until_serving("birch")
        previous = str(stage.repository.previous)
        told: list[str] = []
        stage.succession.offer(offer(cedar, "inbox:cedar"), lambda what: told.append(outcome(what)))
        stage.until(lambda: stage.state == "swapping")
        assert "serves" == stage.hears(lambda heard: stage.succession.activate(previous, heard))
        assert ["a newer one took its place"] == told
        logged = [record.getMessage() for record in caplog.records]
        assert [True] == ["cedar" in line for line in logged if "does not take over: a newer one" in line]
    with Stage(state, birch, rules=NONE) as stage:
        stage.until_serving("ash")
        assert "was offered this way before" in stage.offers(cedar, "inbox:cedar")


# On trial


def test_a_crash_on_trial_takes_it_back(state: Path, ash: Path, birch: Path) -> None:
    """By itself; the reason is told, and the path does not bring it back."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.until_serving("birch")
        stage.crash()
        stage.until_serving("ash")
        assert "serving" == stage.state
        assert {"ash": "current", "birch": "held"} == names(stage.repository)
        assert 1 == len(reasons(stage))
        assert "lost on probation" in reasons(stage)[0]
        assert "SIGSEGV" in reasons(stage)[0]
        assert stage.succession.report().available is None
        assert "rolled back from" in stage.offers(birch)
    with Stage(state, birch) as stage:
        stage.until_serving("ash")


def test_a_crash_after_the_trial_is_a_loss_like_any(state: Path, ash: Path, birch: Path) -> None:
    """A new worker is started with the same model."""
    with Stage(state, ash, rules=NONE) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.until(lambda: stage.state == "serving")
        before = stage.classifier()
        stage.crash()
        stage.until(lambda: stage.classifier() not in (None, before))
        assert "birch" == stage.serving


def test_a_far_slower_one_is_taken_back(state: Path, ash: Path, birch: Path) -> None:
    """Than vetting saw it."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.until_serving("birch")
        slow = dataclasses.replace(stage.look(), inference_ms=2_000.0)
        for _ in range(SLOW_SAMPLE):
            stage.succession.observe(slow)
        stage.until_serving("ash")
        assert "far slower than vetted: 2000.0 ms" in reasons(stage)[0]


def test_an_answer_of_the_old_one_says_nothing_of_the_new(state: Path, ash: Path, birch: Path) -> None:
    """Frames that were on their way at the flip are published after it."""
    with Stage(state, ash, rules=SHORT) as stage:
        stage.until_serving("ash")
        late = stage.look()
        stage.offers(birch)
        stage.until_serving("birch")
        for _ in range(10):
            stage.succession.observe(late)
        stage.turn()
        assert "probation" == stage.state


def test_what_comes_next_outlives_the_failure_of_what_serves(
    state: Path, ash: Path, birch: Path, cedar: Path
) -> None:
    """One on trial is taken back while another is being swapped to: that one still comes."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        stage.offers(birch)
        stage.until_serving("birch")
        told: list[object] = []
        stage.succession.offer(offer(cedar), told.append)
        stage.until(lambda: stage.state == "swapping")
        stage.crash()
        stage.until(lambda: told)
        stage.until_serving("cedar")


@pytest.mark.parametrize(
    ("kills", "name"),
    [(1, "birch"), (2, "ash")],
)
def test_an_agent_that_is_killed_on_a_trial(
    state: Path, ash: Path, birch: Path, kills: int, name: str
) -> None:
    """A power cut at night must not take a model back; a model that takes the machine down does it twice."""
    swapped(state, ash)
    for kill in range(kills):
        stage = Stage(state, birch)
        stage.until_serving("birch" if kill else "ash")
        if not kill:
            stage.offers(birch)
            stage.until_serving("birch")
        stage.dies()
        stage.supervisor.close()
    with Stage(state, birch) as stage:
        stage.until_serving(name)
        assert ("probation" if name == "birch" else "serving") == stage.state
        assert [kills == 2] == [any("ended 2 times without a word" in each for each in reasons(stage))]
        stage.offers(birch)
        assert name == stage.serving


def test_clean_ends_on_a_trial_do_not_count(state: Path, ash: Path, birch: Path) -> None:
    """However often somebody restarts the agent."""
    swapped(state, ash, birch, rules=LONG)
    for _ in range(3):
        with Stage(state, birch) as stage:
            stage.until_serving("birch")
            assert "probation" == stage.state


def test_a_trial_goes_on_after_a_restart(state: Path, ash: Path, birch: Path) -> None:
    """Then the one before is on the disk only, and comes back all the same."""
    swapped(state, ash, birch, rules=LONG)
    with Stage(state, birch) as stage:
        stage.until_serving("birch")
        stage.crash()
        stage.until_serving("ash")
        assert {"ash": "current", "birch": "held"} == names(stage.repository)
        assert "lost on probation" in reasons(stage)[0]
    with Stage(state, birch) as stage:
        stage.until_serving("ash")


def test_links_that_are_lost(state: Path, ash: Path, birch: Path, tmp_path: Path) -> None:
    """The newest that nothing is held against serves, where there is nothing at the path."""
    swapped(state, ash, birch)
    for link in ("current", "previous"):
        (state / "models" / "default" / link).unlink()
    with Stage(state, tmp_path / "gone") as stage:
        stage.until_serving("birch")
        assert "birch" in [name for name, known in names(stage.repository).items() if known == "current"]


def test_one_that_is_down_is_tried_again(state: Path, ash: Path, birch: Path) -> None:
    """What is installed, not what was left and still lies at the path; and no rule is lost over it."""
    swapped(state, ash, birch)
    with Stage(state, birch) as stage:
        stage.until_serving("birch")
        stage.hears(stage.succession.roll_back)
        stage.until_serving("ash")
        while not stage.supervisor.status()[0].is_down:
            if stage.classifier() is not None:
                stage.crash()
            stage.turn()
        stage.succession.revive(offer(birch))
        stage.until_serving("ash")
        assert "serving" == stage.state
        stage.succession.set_rule(RankingRule(top_k=1))
        assert 1 == len(stage.look().ranking)


@pytest.mark.parametrize("way", ["rollback", "activate"])
def test_one_that_is_down_is_left(state: Path, ash: Path, birch: Path, way: str) -> None:
    """As if it still served: it is held, and no way in brings it back."""
    swapped(state, ash, birch)
    with Stage(state, birch, rules=NONE) as stage:
        stage.until_serving("birch")
        ashes, birches = str(stage.repository.previous), str(stage.repository.current)
        while not stage.supervisor.status()[0].is_down:
            if stage.classifier() is not None:
                stage.crash()
            stage.turn()
        told: list[object] = []
        if way == "rollback":
            stage.succession.roll_back(told.append)
        else:
            stage.succession.activate(ashes, told.append)
        stage.until(lambda: told)
        stage.until_serving("ash")
        assert isinstance(told[0], Serves)
        assert birches == told[0].left
        assert "current" == names(stage.repository)["ash"]
        assert stage.repository.is_held(birches)
        assert "serves" != stage.offers(birch, "inbox:birch")
        assert "ash" == stage.serving


def test_a_refusal_while_it_is_down_changes_nothing(state: Path, ash: Path, broken: Path) -> None:
    """The rule of what comes back is still ours to set."""
    with Stage(state, ash) as stage:
        stage.until_serving("ash")
        while not stage.supervisor.status()[0].is_down:
            if stage.classifier() is not None:
                stage.crash()
            stage.turn()
        assert stage.offers(broken).startswith("BundleError: ")
        stage.succession.revive(offer(broken))
        stage.until_serving("ash")
        stage.succession.set_rule(RankingRule(top_k=1))
        assert 1 == len(stage.look().ranking)


def test_the_installed_one_is_damaged(state: Path, ash: Path, birch: Path) -> None:
    """The one before serves instead."""
    swapped(state, ash, birch)
    with Repository(state, "default") as repository:
        digest = str(repository.current)
    model = next((state / "models" / "default" / "versions" / digest).rglob("*.tflite"))
    model.write_bytes(model.read_bytes()[:-100] + bytes(100))
    with Stage(state, birch) as stage:
        stage.until_serving("ash")
