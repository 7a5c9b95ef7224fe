"""stick.py, supervisor.py, lane.py and cross_check.py: one Edge TPU, lost and brought back.

Stood in for: libedgetpu with its stick (`tests.edgetpu`). Real: workers, runtimes, models, locks.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import random
import subprocess
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import cv2
import numpy
import pytest

from edge_agent.actions import Flip, FlipToEdgeTpu, Promote, Retire, RetireEdgeTpu
from edge_agent.canary import Canary, CanaryRule
from edge_agent.classifier import Classifier
from edge_agent.clock import SystemClock
from edge_agent.edgetpu import DeviceLock, EdgeTpuSettings, lock_folder
from edge_agent.edgetpu.devices import Device
from edge_agent.errors import WorkerDiedError
from edge_agent.planning import Aspired, Candidate, WorkerView, plan
from edge_agent.predictions import Prediction
from edge_agent.probes import probes
from edge_agent.recovery import Ladder, Rung
from edge_agent.runner import Runner
from edge_agent.states import EdgeTpuState, State
from edge_agent.stick import LEAVING_S, Stick
from edge_agent.supervisor import Supervisor
from edge_agent.vetting import VettedBundle, vet_bundle
from edge_agent.worker_process import WorkerSettings
from tests import edgetpu as standin
from tests.desks import CLOCK, RULE, Desk
from tests.fakes.clock import FakeClock
from tests.faults.worker import faulty_python
from tests.places import CORAL, need_data
from tests.processes import exists

pytestmark = need_data

NAME = "mobilenet_v1_0.25_128_quant"
COMPILED = CORAL / f"{NAME}_edgetpu.tflite"
TWIN = CORAL / f"{NAME}.tflite"

QUICK = Ladder(
    respawns=1, usb_resets=0, power_cycles=0, backoff_s=0.001, backoff_max_s=0.002, stable_s=3600.0
)
"""No pauses worth the name, and nothing that needs hardware."""


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bus without a stick yet, that every worker of this process sees; its sticks are in no other's way."""
    own = f"sticks-{os.getpid()}"
    with standin.Bus(tmp_path / "bus", twins={COMPILED: TWIN}, paths=f"/{own}-{{}}") as bus:
        for name, value in bus.environment.items():
            monkeypatch.setenv(name, value)
        yield bus
    for lock in lock_folder().glob(f"edge-agent-{own}-*.lock"):
        lock.unlink()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with both twins."""
    folder = tmp_path_factory.mktemp("both")
    (folder / "model.tflite").write_bytes(TWIN.read_bytes())
    (folder / "model_edgetpu.tflite").write_bytes(COMPILED.read_bytes())
    return folder


@pytest.fixture(scope="module")
def vetted(folder: Path) -> VettedBundle:
    """The same, vetted."""
    return vet_bundle(folder, WorkerSettings(threads=1), CLOCK)


StartDesk = Callable[..., Desk]


@pytest.fixture
def desk(vetted: VettedBundle, bus: Any) -> Iterator[StartDesk]:  # noqa: ARG001  the bus goes last
    """A desk that is at work; keyword arguments change the EdgeTpuSettings."""
    with ExitStack() as stack:

        def start(
            vetted: VettedBundle = vetted, timeout_s: float = 20.0, standby: bool = True, **changed: Any
        ) -> Desk:
            edgetpu = dataclasses.replace(settings(), **changed)
            worker = WorkerSettings(threads=1)
            made = Desk(vetted, worker, timeout_s=timeout_s, edgetpu=edgetpu, standby=standby)
            stack.callback(made.close)
            made.start()
            return made

        yield start


def numbers(predictions: list[Prediction]) -> list[int]:
    """Of the frames."""
    return [prediction.frame.number for prediction in predictions]


def devices(predictions: list[Prediction]) -> set[tuple[str, bool]]:
    """Where they were made, and whether that was less than what was wanted."""
    return {(prediction.device, prediction.degraded) for prediction in predictions}


def test_a_stick_with_a_compiled_twin_is_taken_into_use(desk: StartDesk, bus: Any) -> None:
    """With device = auto: found, proven against the CPU, then it serves; its answers are the twin's."""
    bus.add("usb")
    one = desk()
    one.until_on("edgetpu")
    on_stick = one.show(20)
    assert {("edgetpu", False)} == devices(on_stick)
    status = one.supervisor.device()
    assert ("edgetpu", "edgetpu", False, None) == (
        status.device,
        status.aspired,
        status.degraded,
        status.reason,
    )
    bus.sticks[0].pull()
    on_cpu = one.show(44 + 20)[44:]
    assert [each.ranking for each in on_stick] == [each.ranking for each in on_cpu]


def test_without_a_stick_the_cpu_serves_and_says_why(desk: StartDesk, bus: Any) -> None:
    """With device = auto the CPU is no degradation where there never was a stick."""
    one = desk()
    assert {("cpu", False)} == devices(one.show(5))
    one.until(lambda: one.supervisor.device().reason is not None)
    status = one.supervisor.device()
    assert ("cpu", "cpu", False) == (status.device, status.aspired, status.degraded)
    assert "no Edge TPU is there" in (status.reason or "")
    assert bus.journal("open") == []


@pytest.mark.parametrize(("wanted", "degraded"), [("auto", False), ("edgetpu", True)])
def test_without_the_library_the_cpu_serves_and_says_why(
    desk: StartDesk, wanted: str, *, degraded: bool
) -> None:
    """A library that is not installed is as good a reason, asked for or not."""
    one = desk(library="libedgetpu-is-not-here.so.1", wanted=wanted)
    one.until(lambda: "libedgetpu-is-not-here.so.1 is installed" in (one.supervisor.device().reason or ""))
    assert {("cpu", degraded)} == devices(one.show(3))


def test_a_stick_comes_and_goes(desk: StartDesk, bus: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Absent, plugged in, pulled, plugged in again: cpu, edgetpu, cpu, edgetpu; each frame once."""
    caplog.set_level(logging.INFO)
    stick = bus.add("usb", plugged=False)
    one = desk()
    assert {("cpu", False)} == devices(one.show(10))
    stick.plug()
    one.until_on("edgetpu")
    assert {("edgetpu", False)} == devices(one.show(10))
    stick.pull()
    assert {("cpu", True)} == devices(one.show(10))
    assert "lost" in (one.supervisor.device().reason or "") or one.supervisor.device().degraded
    one.until(lambda: "no Edge TPU is there" in (one.supervisor.device().reason or ""))
    stick.plug()
    one.until_on("edgetpu")
    assert {("edgetpu", False)} == devices(one.show(10))
    assert list(range(1, 41)) == one.done
    status = one.supervisor.device()
    assert status.stick is not None
    assert (1, 1) == (status.stick.losses, status.stick.recoveries)
    assert 1 == sum("lost: " in record.message for record in caplog.records)


@pytest.mark.parametrize("fault", ["abort", "segfault", "hang", "error"])
def test_serving_to_backoff_when_an_invoke_fails(desk: StartDesk, bus: Any, fault: str) -> None:
    """The same frame is answered by the CPU; then the stick comes back, and serves."""
    stick = bus.add("usb")
    one = desk(timeout_s=0.3)
    one.until_on("edgetpu")
    stick.order(fault, after=3)
    predictions = one.show(10)
    assert list(range(1, 11)) == numbers(predictions)
    assert ("edgetpu", False) == (predictions[0].device, predictions[0].degraded)
    assert ("cpu", True) in devices(predictions)
    one.until_on("edgetpu")
    status = one.supervisor.device()
    assert status.stick is not None
    assert (1, 1, None) == (status.stick.losses, status.stick.recoveries, status.reason)
    assert status.degraded_s > 0
    assert [] == one.failed


def test_a_loss_is_noticed_without_a_frame(desk: StartDesk, bus: Any) -> None:
    """A worker that dies while no camera has anything to show is missed all the same."""
    bus.add("usb")
    one = desk()
    one.until_on("edgetpu")
    pid = bus.sticks[0].holder()
    os.kill(pid, 9)
    one.until(lambda: one.supervisor.device().stick.losses == 1)  # type: ignore[union-attr]
    one.until_on("edgetpu")
    assert not exists(pid)


def test_a_standby_that_dies_idle_is_replaced(desk: StartDesk, bus: Any) -> None:
    """Nobody asks it anything, and still it is there when it is needed."""
    bus.add("usb")
    one = desk()
    one.until_on("edgetpu")
    one.until(lambda: one.supervisor.standby("default") is not None)
    first = one.supervisor.standby("default")
    assert first is not None
    os.kill(first.runner.pid, 9)

    def replaced() -> bool:
        now = one.supervisor.standby("default")
        return now is not None and now.runner.pid != first.runner.pid

    one.until(replaced)
    assert {("edgetpu", False)} == devices(one.show(5))


def test_without_standby_the_cpu_comes_when_it_is_needed(desk: StartDesk, bus: Any) -> None:
    """No memory for a worker that waits; the frames wait a little instead, and none is lost."""
    stick = bus.add("usb")
    one = desk(standby=False)
    one.until_on("edgetpu")
    one.until(lambda: one.supervisor.standby("default") is None)
    stick.order("abort", after=2)
    predictions = one.show(10)
    assert list(range(1, 11)) == numbers(predictions)
    assert ("cpu", True) in devices(predictions)


def test_a_stick_that_answers_wrongly_never_serves(desk: StartDesk, bus: Any) -> None:
    """A new worker must agree with the CPU on a probe first; it is tried again and again."""
    stick = bus.add("usb")
    stick.always("flip")
    one = desk()
    one.until(lambda: stick.opens >= 3)
    assert {"cpu"} == {device for device, _ in devices(one.show(20))}
    reason = one.supervisor.device().reason or ""
    assert "agrees with the CPU's by" in reason
    stick.heal()
    one.until_on("edgetpu")


@pytest.mark.parametrize("every", [1, 5, 20])
@pytest.mark.parametrize("fault", ["flip", "shift"])
def test_corruption_is_noticed_within_two_checks(desk: StartDesk, bus: Any, fault: str, every: int) -> None:
    """From the first wrong answer on, at most 2N frames are published before the CPU takes over."""
    stick = bus.add("usb")
    one = desk(cross_check_every=every)
    one.until_on("edgetpu")
    one.until(lambda: one.supervisor.standby("default") is not None)
    one.show(every + 3)
    before = len(one.told)
    stick.always(fault)
    predictions = one.show(3 * every + 20)
    wrong = [number for number, each in enumerate(predictions) if each.device == "edgetpu"]
    assert len(wrong) <= 2 * every
    assert "cpu" == predictions[-1].device
    assert list(range(before + 1, before + len(predictions) + 1)) == numbers(predictions)
    assert one.lane.cross_check is not None
    status = one.lane.cross_check.status
    assert 1 == status.disagreements
    assert status.checks >= 2
    assert status.least == status.agreement


def test_a_sound_stick_agrees(desk: StartDesk, bus: Any) -> None:
    """Checks alone change nothing."""
    bus.add("usb")
    one = desk(cross_check_every=3)
    one.until_on("edgetpu")
    one.until(lambda: one.supervisor.standby("default") is not None)
    one.show(60)
    assert one.lane.cross_check is not None
    status = one.lane.cross_check.status
    assert (0, 1.0, 1.0) == (status.disagreements, status.agreement, status.least)
    assert status.checks >= 18


def test_random_aborts_and_hangs_lose_no_frame(desk: StartDesk, bus: Any) -> None:
    """Every frame has exactly one answer, in order, whatever befalls the stick meanwhile."""
    chance = random.Random(7)
    stick = bus.add("usb")
    stick.schedule({at: chance.choice(["abort", "hang", "error"]) for at in chance.sample(range(5, 400), 12)})
    one = desk(timeout_s=0.3)
    one.until_on("edgetpu")
    lost = 0
    while lost < 8:
        one.show(20)
        one.until_on("edgetpu")
        lost = one.supervisor.device().stick.losses  # type: ignore[union-attr]
    assert list(range(1, len(one.done) + 1)) == one.done
    assert [] == one.failed


def test_a_pair_that_does_not_fit_leaves_the_cpu_and_names_the_package(desk: StartDesk, bus: Any) -> None:
    """A segfault in the constructor is no loss: the library was built for another runtime."""
    bus.add("usb").crash_constructor()
    one = desk(runtime="litert")
    one.until(lambda: "fits no runtime here" in (one.supervisor.device().reason or ""))
    assert {"cpu"} == {device for device, _ in devices(one.show(5))}
    reason = one.supervisor.device().reason or ""
    assert "SIGSEGV" in reason
    assert "libedgetpu1-std" in reason
    assert 0 == one.supervisor.device().stick.losses  # type: ignore[union-attr]


def test_a_stick_that_has_served_fits_its_runtime(desk: StartDesk, bus: Any) -> None:
    """A segfault at the start of a later worker is a failure like others, tried again soon."""
    stick = bus.add("usb")
    one = desk(recovery=dataclasses.replace(QUICK, backoff_max_s=3600.0))
    one.until_on("edgetpu")
    stick.crash_constructor()
    stick.order("abort")
    one.show(3)
    opened = stick.opens
    one.until(lambda: stick.opens >= opened + 3)
    assert "fits no runtime" not in (one.supervisor.device().reason or "")
    stick.heal()
    one.until_on("edgetpu")


def test_a_failure_that_repeats_is_told_once(
    desk: StartDesk, bus: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Each worker has another pid, and each try the same cause."""
    stick = bus.add("usb")
    stick.always("abort")
    one = desk()
    one.until(lambda: stick.opens >= 4)
    (warned,) = [record.message for record in caplog.records if record.name == "edge_agent.stick"]
    assert "SIGABRT" in warned


def test_the_cause_of_a_loss_is_kept_beside_what_came_of_it(desk: StartDesk, bus: Any) -> None:
    """What it died of says more than what its next worker met."""
    stick = bus.add("usb")
    one = desk()
    one.until_on("edgetpu")
    stick.always("flip")
    stick.order("abort")
    one.show(3)
    one.until(lambda: "agrees with the CPU's by" in (one.supervisor.device().reason or ""))
    reason = one.supervisor.device().reason or ""
    assert reason.startswith("Edge TPU usb:0 lost ")
    assert reason.index("SIGABRT") < reason.index("; since then: ") < reason.index("agrees with")
    stick.heal()
    one.until_on("edgetpu")
    assert one.supervisor.device().reason is None


def test_a_python_without_a_runtime_is_told_as_such(desk: StartDesk, bus: Any, tmp_path: Path) -> None:
    """No other libedgetpu would help."""
    venv.create(tmp_path / "bare")
    (packages,) = tmp_path.glob("bare/lib/python*/site-packages")
    for each in Path(numpy.__file__).parents[1].glob("numpy*"):
        (packages / each.name).symlink_to(each)
    bus.add("usb")
    one = desk(python=str(tmp_path / "bare/bin/python"))
    one.until(lambda: "fits no runtime here" in (one.supervisor.device().reason or ""))
    assert (one.supervisor.device().reason or "").endswith("; pip install ai-edge-litert")


def test_what_is_on_the_cpu_for_want_of_a_stick_says_so_from_the_first_frame(vetted: VettedBundle) -> None:
    """From the step on that lets it serve."""
    wanted = EdgeTpuSettings(wanted="edgetpu", library="libedgetpu-is-not-here.so.1", threads=1)
    supervisor = Supervisor(WorkerSettings(threads=1), 20.0, CLOCK, lambda: None, edgetpu=wanted)
    supervisor.aspire("default", vetted, RULE)
    try:
        while (classifier := supervisor.status()[0].classifier) is None:
            supervisor.step()
        assert ("cpu", True) == (classifier.device, classifier.degraded)
    finally:
        supervisor.close()


def test_a_worker_that_dies_between_two_flips_costs_nothing_but_itself(
    vetted: VettedBundle, bus: Any
) -> None:
    """One slot's lane finds it dead while the main loop gives it the other slot."""
    bus.add("usb")
    supervisor = Supervisor(WorkerSettings(threads=1), 20.0, CLOCK, lambda: None, edgetpu=settings())
    for slot in ("first", "second"):
        supervisor.aspire(slot, vetted, RULE)

    def on_stick() -> list[Classifier]:
        served = [status.classifier for status in supervisor.status()]
        return [each for each in served if each is not None and each.device == "edgetpu"]

    try:
        while not (flipped := on_stick()):
            supervisor.step()
        assert 1 == len(flipped)
        kill(flipped[0])
        supervisor._carry_out(FlipToEdgeTpu("second"))
        assert [] == on_stick()
        while len(on_stick()) < 2:
            supervisor.step()
    finally:
        supervisor.close()


class Interrupted(SystemClock):
    """Has something happen once, in the middle of a step: when it is next asked for the time."""

    def __init__(self) -> None:
        self.happens: Callable[[], None] | None = None

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()
        return super().monotonic_ns()


def kill(classifier: Classifier) -> WorkerDiedError:
    """End its worker and find that out, as a lane does: what the lane would tell."""
    os.kill(classifier.runner.pid, 9)
    with pytest.raises(WorkerDiedError) as death:
        classifier.runner.run(classifier.network, vetted_input(classifier.vetted), 20.0)
    return death.value


def test_a_standby_found_dead_in_the_middle_of_a_step_is_replaced(vetted: VettedBundle, bus: Any) -> None:
    """A lane whose cross-check meets it dead ends it first, and tells the supervisor a moment later."""
    bus.add("usb")
    clock = Interrupted()
    supervisor = Supervisor(WorkerSettings(threads=1), 20.0, clock, lambda: None, edgetpu=settings())
    supervisor.aspire("default", vetted, RULE)
    try:
        while (serving := supervisor.serving("default", 0.0)) is None or serving.device == "cpu":
            supervisor.step()
        while supervisor.step():
            continue
        standby = supervisor.standby("default")
        assert standby is not None
        deaths: list[WorkerDiedError] = []
        clock.happens = lambda: deaths.append(kill(standby))
        assert not supervisor.step()
        supervisor.lost(standby, deaths[0])
        while supervisor.standby("default") is None:
            supervisor.step()
        assert [1] == [status.losses for status in supervisor.status()]
    finally:
        supervisor.close()


@pytest.mark.parametrize("step", [Flip(1), Retire(1)])
def test_a_worker_that_dies_after_the_plan_was_made_is_replaced(
    vetted: VettedBundle, step: Flip | Retire
) -> None:
    """The step that was planned for it has nothing left to do."""
    supervisor = Supervisor(WorkerSettings(threads=1), 20.0, CLOCK, lambda: None)
    supervisor.aspire("default", vetted, RULE)
    try:
        while (first := supervisor.serving("default", 0.0)) is None:
            supervisor.step()
        supervisor.lost(first, kill(first))
        supervisor._carry_out(step)
        assert supervisor.serving("default", 0.0) is None
        while (second := supervisor.serving("default", 0.0)) is None:
            supervisor.step()
        assert second.runner is not first.runner
    finally:
        supervisor.close()


def test_a_slot_that_is_yet_to_be_flipped_is_not_said_to_lack_a_compiled_model(
    vetted: VettedBundle, bus: Any
) -> None:
    """One slot after another goes to the Edge TPU; what is told meanwhile must hold."""
    bus.add("usb")
    supervisor = Supervisor(WorkerSettings(threads=1), 20.0, CLOCK, lambda: None, edgetpu=settings())
    supervisor.aspire("first", vetted, RULE)
    try:
        while (serving := supervisor.serving("first", 0.0)) is None or serving.device == "cpu":
            supervisor.step()
        supervisor.aspire("second", vetted, RULE)
        assert "Edge TPU usb:0 is being started" == supervisor.device().reason
    finally:
        supervisor.close()


def settings() -> EdgeTpuSettings:
    """A desk's."""
    library = str(standin.libedgetpu())
    return EdgeTpuSettings(library=library, recovery=QUICK, look_every_s=0.05, threads=1)


def vetted_input(vetted: VettedBundle) -> Any:
    """An input tensor of the bundle."""
    return next(probes(vetted.bundle)).tensor


def test_a_worker_that_is_slow_to_speak_stalls_no_frame(desk: StartDesk, bus: Any, tmp_path: Path) -> None:
    """The CPU serves on while a word that the stick's worker has begun is waited for."""
    stick = bus.add("usb", plugged=False)
    one = desk(python=faulty_python(tmp_path, "grip"), start_timeout_s=60.0)
    one.until_on("cpu")
    stick.plug()
    one.until(lambda: one.supervisor.device().stick.state is EdgeTpuState.STARTING)  # type: ignore[union-attr]
    assert {"cpu"} == {device for device, _ in devices(one.show(2000))}
    (starting,) = [each for each in one.supervisor.awaited() if isinstance(each, Runner)]
    os.kill(starting.pid, 9)


def test_an_error_of_the_first_invoke_is_the_stick_s_and_not_the_model_s(desk: StartDesk, bus: Any) -> None:
    """The model is not held back for it: a stick that is well again serves it."""
    stick = bus.add("usb")
    stick.always("error")
    one = desk()
    one.until(lambda: stick.opens >= 3)
    assert "told to fail" in (one.supervisor.device().reason or "")
    stick.heal()
    one.until_on("edgetpu")


@pytest.mark.parametrize(("fault", "timeout_s"), [("abort", 20.0), ("hang", 2.0)])
def test_what_is_lost_is_let_go_at_once(desk: StartDesk, bus: Any, fault: str, timeout_s: float) -> None:
    """The memory shared with a worker, and its descriptors, wait for no garbage collector: on an agent at
    5 frames a second that may take days, and many losses.
    """
    stick = bus.add("usb")
    stick.spare(2)
    one = desk(timeout_s=timeout_s)
    one.until_on("edgetpu")
    gc.collect()
    gc.disable()
    try:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for losses in range(1, 4):
            stick.always(fault)
            one.show(3)
            stick.heal()
            one.until_on("edgetpu")
            one.show(3)
            assert losses == one.supervisor.device().stick.losses  # type: ignore[union-attr]
        assert before == len(list(Path("/proc/self/fd").iterdir()))
    finally:
        gc.enable()


def test_a_compiled_model_for_a_newer_library_is_told_at_admission(desk: StartDesk, bus: Any) -> None:
    """The package's runtime version is read, not tried: the stick is never opened for it."""
    bus.add("usb")
    bus.versions(runtime=9, package=14)
    one = desk()
    one.until(lambda: "runtime version" in (one.supervisor.device().reason or ""))
    assert {"cpu"} == {device for device, _ in devices(one.show(5))}
    assert bus.journal("open") == []


def test_a_stick_of_another_agent_is_left_alone(desk: StartDesk, bus: Any) -> None:
    """The lock says whose it is; it is never opened, and taken into use once it is free."""
    stick = bus.add("usb")
    lock = DeviceLock.acquire(Device("usb", 0, stick.path))
    try:
        one = desk()
        one.until(lambda: f"in use by pid {os.getpid()}" in (one.supervisor.device().reason or ""))
        assert {"cpu"} == {device for device, _ in devices(one.show(5))}
        assert bus.journal("open") == []
    finally:
        lock.close()
    one.until_on("edgetpu")


def test_the_lock_is_given_back_at_the_end(desk: StartDesk, bus: Any) -> None:
    """Whoever comes next may have the stick at once; no worker is left."""
    stick = bus.add("usb")
    one = desk()
    one.until_on("edgetpu")
    pid = stick.holder()
    one.close()
    assert not exists(pid)
    DeviceLock.acquire(Device("usb", 0, stick.path)).close()


def test_a_stick_that_failed_is_given_back_when_its_model_is_gone(
    desk: StartDesk, bus: Any, tmp_path: Path
) -> None:
    """Whatever pause it was held back for: the next model may have no use for it."""
    stick = bus.add("usb")
    one = desk(recovery=dataclasses.replace(QUICK, backoff_s=3600.0, backoff_max_s=3600.0))
    one.until_on("edgetpu")
    stick.always("abort")
    one.show(3)
    one.until(lambda: one.supervisor.device().stick.state is EdgeTpuState.BACKOFF)  # type: ignore[union-attr]
    plain = tmp_path / "model.tflite"
    plain.write_bytes(TWIN.read_bytes())
    one.aspire(vet_bundle(plain, WorkerSettings(threads=1), CLOCK))
    one.until(lambda: one.supervisor.device().stick.state is EdgeTpuState.ABSENT)  # type: ignore[union-attr]
    DeviceLock.acquire(Device("usb", 0, stick.path)).close()


def test_of_several_sticks_the_one_that_was_named(desk: StartDesk, bus: Any) -> None:
    """usb:1 is usb:1, and its delegate is told so, with the performance asked for."""
    bus.add("usb")
    second = bus.add("usb")
    one = desk(wanted="edgetpu:usb:1", performance="Low")
    one.until_on("edgetpu")
    assert [] == bus.sticks[0].openers()
    assert 1 == second.opens
    assert {"device=usb:1", "Performance=Low"} <= set(bus.journal("create")[0].fields)


def test_a_flapping_stick_is_held_back(desk: StartDesk, bus: Any) -> None:
    """Each failure in a row makes the pause longer; the rungs are climbed and counted."""
    stick = bus.add("usb")
    stick.always("abort", since=0)
    ladder = Ladder(
        respawns=2, usb_resets=1, power_cycles=0, backoff_s=0.01, backoff_max_s=3600.0, stable_s=3600.0
    )
    one = desk(recovery=ladder)
    one.until(lambda: one.supervisor.device().stick.rungs.get(Rung.USB_RESET, 0) == 1)  # type: ignore[union-attr]
    status = one.supervisor.device().stick
    assert status is not None
    assert 2 <= status.rungs[Rung.RESPAWN]
    assert EdgeTpuState.SERVING is not status.state


def test_a_model_only_for_the_stick_runs_there_and_waits_for_it(
    desk: StartDesk, bus: Any, tmp_path: Path
) -> None:
    """Without a CPU twin nothing serves until there is a stick: a degradation, with its reason."""
    lone = tmp_path / COMPILED.name
    lone.write_bytes(COMPILED.read_bytes())
    stick = bus.add("usb", plugged=False)
    one = desk(vet_bundle(lone, WorkerSettings(threads=1), CLOCK))
    one.camera.show(5)
    one.until(lambda: "no Edge TPU is there" in (one.supervisor.device().reason or ""))
    status = one.supervisor.device()
    assert (None, "edgetpu", True) == (status.device, status.aspired, status.degraded)
    stick.plug()
    one.wait()
    assert {("edgetpu", False)} == devices(one.told)


def test_a_stick_that_leaves_the_bus_is_given_one_power_cycle(desk: StartDesk, bus: Any) -> None:
    """Not one for each look at the empty port; the next loss has its own."""
    stick = bus.add("usb")
    one = desk(recovery=dataclasses.replace(QUICK, power_cycles=1))
    for cycles in (1, 2):
        one.until_on("edgetpu")
        stick.pull()
        one.show(3)
        one.until(lambda: cycles == _cycles(one))  # noqa: B023  called at once
        looks = bus.lists
        one.until(lambda: bus.lists >= looks + 3)  # noqa: B023
        assert cycles == _cycles(one)
        stick.plug()


def _cycles(one: Desk) -> int:
    status = one.supervisor.device().stick
    assert status is not None
    return status.rungs.get(Rung.POWER_CYCLE, 0)


class Unending:
    """Shaped like a Runner that the kernel holds: told to leave, and killed, it is still there."""

    pid = 7
    state = State.STOPPING

    def dismiss(self) -> None:
        """It does not hear."""

    def reap(self) -> bool:
        """It never ends."""
        return False


def test_a_worker_that_cannot_be_ended_is_not_waited_for() -> None:
    """No model waits for an Edge TPU that only a restart of the machine frees: it counts as absent."""
    clock = FakeClock()
    stick = Stick(settings(), clock, lambda: None)
    stick.state, stick.runner = EdgeTpuState.SERVING, cast("Runner", Unending())
    stick.carry_out(RetireEdgeTpu())
    candidate = Candidate("b", on_edgetpu=True)
    desired = {"default": Aspired("a", on_edgetpu=True, candidate=candidate)}
    workers = [
        WorkerView(1, "default", "a", State.READY, serving=True),
        WorkerView(2, "default", "b", State.READY),
    ]
    assert plan(desired, workers, 0.0, stick.view({}, hold=False)) is None
    clock.advance(LEAVING_S + 1)
    stick.hear(None)
    assert Promote("default") == plan(desired, workers, 0.0, stick.view({}, hold=False))
    assert "worker 7 cannot be ended" in str(stick.status().trouble)


def test_proving_to_found_when_a_compiled_model_is_not_the_cpu_s(
    desk: StartDesk, bus: Any, tmp_path: Path
) -> None:
    """No other worker would do better with the same bytes: the CPU serves, and the device is given back."""
    stick = bus.add("usb")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "model.tflite").write_bytes((CORAL / "mobilenet_v2_1.0_224_quant.tflite").read_bytes())
    (mixed / "model_edgetpu.tflite").write_bytes(COMPILED.read_bytes())
    one = desk(vet_bundle(mixed, WorkerSettings(threads=1), CLOCK))
    one.until(lambda: "the compiled model's input is" in (one.supervisor.device().reason or ""))
    one.until(lambda: one.supervisor.device().stick.state is EdgeTpuState.ABSENT)  # type: ignore[union-attr]
    assert {("cpu", True)} == devices(one.show(5))
    assert 1 == stick.opens
    DeviceLock.acquire(Device("usb", 0, stick.path)).close()


LISTING_CRASHES = """
#include <stdlib.h>
const char *edgetpu_version(void) { return "RuntimeVersion(14)"; }
void *edgetpu_list_devices(size_t *count) { abort(); }
void edgetpu_free_devices(void *devices) {}
"""


def test_backoff_to_recovering_when_libedgetpu_cannot_even_list_it(
    desk: StartDesk, bus: Any, tmp_path: Path
) -> None:
    """A stick that is ours and takes the listing down with it is what a reset is for: the ladder goes on."""
    crashing, library = tmp_path / "crashing.so", tmp_path / "libedgetpu.so.1"
    build = ["gcc", "-shared", "-fPIC", "-o", str(crashing), "-x", "c", "-"]
    subprocess.run(build, input=LISTING_CRASHES.encode(), check=True)
    library.symlink_to(standin.libedgetpu())
    stick = bus.add("usb")
    ladder = Ladder(1, usb_resets=1, power_cycles=0, backoff_s=0.001, backoff_max_s=0.002, stable_s=3600.0)
    one = desk(recovery=ladder, library=str(library))
    one.until_on("edgetpu")
    library.unlink()
    library.symlink_to(crashing)
    stick.order("abort")
    one.show(5)
    one.until(lambda: one.supervisor.device().stick.rungs.get(Rung.USB_RESET, 0) >= 1)  # type: ignore[union-attr]
    assert "listing devices" in (one.supervisor.device().reason or "")
    library.unlink()
    library.symlink_to(standin.libedgetpu())
    one.until_on("edgetpu")


def test_the_canary_notices_a_stick_that_lies(desk: StartDesk, bus: Any, tmp_path: Path) -> None:
    """Without a cross-check: what had the right label gets another one, until the stick is well again."""
    stick = bus.add("usb")
    one = desk(cross_check_every=0)
    one.until_on("edgetpu")
    (seen,) = one.show(1)
    cv2.imwrite(str(tmp_path / "seen.png"), seen.frame.pixels)
    label = seen.labels[int(seen.scores.argmax())]
    canary = one.lane.canary = Canary("default", CanaryRule(0.001, tmp_path / "seen.png", label), CLOCK)
    one.until(lambda: canary.status.checks > 0)
    assert canary.status.fault is None
    stick.always("shift")
    one.until(lambda: canary.status.fault is not None)
    assert "on edgetpu); plug the stick in again" in str(canary.status.fault)
    stick.heal()
    one.until(lambda: canary.status.fault is None)
