"""runner.py: the daemon's end of a worker, with real children."""

from __future__ import annotations

import importlib.util
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import (
    InferenceError,
    ModelRefusedError,
    ProtocolError,
    WorkerDiedError,
    WorkerError,
    WorkerStartError,
    WorkerStuckError,
)
from edge_agent.runner import Runner
from edge_agent.sealed import SealedFile
from edge_agent.states import State
from edge_agent.worker_process import WorkerSettings
from tests.faults.worker import faulty_python
from tests.places import CORAL, need_data
from tests.processes import Watched, exists

pytestmark = need_data

VWW = CORAL / "vww_96_int8.tflite"
NETWORKS = ("vww_96_int8", "mobilenet_v1_0.25_128_quant")
PYTHONS = [path for path in os.environ.get("EDGE_AGENT_TEST_PYTHONS", "").split(":") if path]

StartWorker = Callable[..., Runner]


@pytest.fixture
def start() -> Iterator[StartWorker]:
    """Start a worker on a model; every worker is ended with the test."""
    with ExitStack() as stack:

        def start_worker(content: bytes | None = None, **settings: object) -> Runner:
            model = SealedFile(VWW.read_bytes() if content is None else content, "vww.tflite")
            stack.callback(model.close)
            options = WorkerSettings(**{"threads": 1, **settings})  # type: ignore[arg-type]
            runner = Runner({"vww": model}, options, SystemClock())
            stack.callback(runner.retire)
            return runner

        yield start_worker


def zeros(runner: Runner) -> np.ndarray:
    """An input tensor."""
    spec = runner.ready.networks["vww"].input
    return np.zeros(spec.shape, spec.dtype)


@pytest.mark.parametrize("python", [None, *PYTHONS])
def test_a_worker_serves_and_leaves(start: StartWorker, python: str | None) -> None:
    """STARTING, READY, answers in order, STOPPING, EXITED; also in another Python and runtime."""
    runner = start(python=python, describe=True)
    states = [runner.state]
    ready = runner.wait_ready().networks["vww"]
    states.append(runner.state)
    assert (ready.input.shape, ready.input.dtype) == ((1, 96, 96, 3), "int8")
    assert ready.output.shape == (1, 2)
    assert ready.graph is not None
    assert ready.graph.op_counts["DEPTHWISE_CONV_2D"] == 13
    places = [runner.place("vww"), runner.place("vww")]
    first, second = (runner.submit(place, 5.0) for place in places)
    answers = [runner.receive(first, 5.0), runner.receive(second, 5.0)]
    assert [first, second] == [answer.request for answer in answers]
    assert np.array_equal(answers[0].output, answers[1].output)
    runner.retire()
    assert [*states, runner.state] == [State.STARTING, State.READY, State.EXITED]
    assert not exists(runner.pid)


def test_the_runtimes_of_other_pythons_are_tried() -> None:
    """The worker is proven on tflite-runtime and on Python 3.9, where the tests were given one."""
    if not PYTHONS:
        pytest.skip("other Pythons: scripts/test found none of 3.9 to 3.11 to make .venv-tflite with")
    said = [
        subprocess.run(
            [python, "-c", "import sys; print(sys.version_info[1])"], capture_output=True, check=True
        )
        for python in PYTHONS
    ]
    assert [each for each in said if int(each.stdout) <= 11] != []


@pytest.mark.parametrize("how", ["same size", "shorter", "truncated in place"])
def test_overwriting_the_original_changes_nothing(start: StartWorker, tmp_path: Path, how: str) -> None:
    """A worker opens a private copy: what happens to the file that it came from never reaches it."""
    original = tmp_path / "model.tflite"
    original.write_bytes(VWW.read_bytes())
    runner = start(original.read_bytes())
    runner.wait_ready()
    picture = np.random.default_rng(5).integers(-128, 128, (1, 96, 96, 3), np.int8)
    before = runner.run("vww", picture, 5.0).output
    size = original.stat().st_size
    if how == "truncated in place":
        os.truncate(original, 100)
    else:
        with original.open("r+b") as file:
            file.write(b"\0" * (size if how == "same size" else 1000))
            file.truncate()
    assert np.array_equal(before, runner.run("vww", picture, 5.0).output)


def test_a_sealed_file_cannot_be_changed() -> None:
    """Not even through its own descriptor."""
    file = SealedFile(b"abc", "x")
    with pytest.raises(PermissionError):
        os.pwrite(file.fileno(), b"z", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(file.fileno(), 1)
    file.close()


@pytest.mark.parametrize(
    ("fault", "expected", "words"),
    [
        ("abort", WorkerDiedError, "SIGABRT"),
        ("segfault", WorkerDiedError, "SIGSEGV"),
        ("exit", WorkerDiedError, "exit status 3"),
        ("hang", WorkerStuckError, "0.5 s"),
        ("garbage", ProtocolError, "over the limit"),
        ("short", ProtocolError, "bytes for an output of "),
        ("wrong-id", ProtocolError, "answered"),
    ],
)
def test_each_end_of_a_worker_has_its_error(
    start: StartWorker, tmp_path: Path, fault: str, expected: type[WorkerError], words: str
) -> None:
    """A worker that fails is EXITED, its process gone, and the error says how it ended."""
    runner = start(python=faulty_python(tmp_path, fault, (2,)))
    runner.wait_ready()
    runner.run("vww", zeros(runner), 5.0)
    with pytest.raises(expected, match=words) as caught:
        runner.run("vww", zeros(runner), 0.5)
    assert str(caught.value) == str(runner.death())
    runner.retire()
    assert runner.state is State.EXITED
    assert not exists(runner.pid)


def test_last_words_are_in_the_error(start: StartWorker, tmp_path: Path) -> None:
    """What a dying runtime wrote to stderr is what a person needs to read."""
    runner = start(python=faulty_python(tmp_path, "abort", (1,)))
    runner.wait_ready()
    with pytest.raises(WorkerDiedError, match=r"usb_driver\.cc:802"):
        runner.run("vww", zeros(runner), 5.0)


def test_a_refused_tensor_leaves_the_worker_alive(start: StartWorker, tmp_path: Path) -> None:
    """A runtime error in invoke() is an InferenceError; the next frame is answered."""
    runner = start(python=faulty_python(tmp_path, "error", (1,)))
    runner.wait_ready()
    with pytest.raises(InferenceError, match="out of luck"):
        runner.run("vww", zeros(runner), 5.0)
    assert runner.run("vww", zeros(runner), 5.0).output.shape == (1, 2)
    with pytest.raises(
        InferenceError, match=r"a tensor of \(7,\) int8 for an input of \(1, 96, 96, 3\) int8"
    ):
        runner.run("vww", np.zeros(7, np.int8), 5.0)
    assert runner.run("vww", zeros(runner), 5.0).output.shape == (1, 2)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("dumb", WorkerStuckError), ("babble", ProtocolError), ("leave", WorkerDiedError)],
)
def test_a_start_that_fails_has_its_error(
    start: StartWorker, tmp_path: Path, fault: str, expected: type[WorkerError]
) -> None:
    """Silence, garbage and an exit before READY are typed errors too."""
    runner = start(python=faulty_python(tmp_path, fault), start_timeout_s=2.0)
    with pytest.raises(expected):
        runner.wait_ready()
    runner.retire()
    assert runner.state is State.EXITED


def test_poll_ready_never_blocks(start: StartWorker) -> None:
    """The main loop may ask a starting worker at any time, and waits on its descriptor."""
    runner = start()
    while not runner.poll_ready():
        assert runner.state is State.STARTING
        select.select([runner], [], [], 30)
    assert runner.state is State.READY


def test_the_cause_of_a_death_is_known_to_all_who_hear_of_it(start: StartWorker) -> None:
    """The main loop, which watches the process, hears of it in the same moment as the lane that waits."""
    for _ in range(12):
        runner = start()
        runner.wait_ready()
        os.kill(runner.pid, signal.SIGSTOP)
        request = runner.submit(runner.place("vww"), 30.0)
        with ThreadPoolExecutor(1) as lane:
            waiting = lane.submit(runner.receive, request, 30.0)
            os.kill(runner.pid, signal.SIGKILL)
            assert select.select([runner.exit_watch], [], [], 30)[0]
            heard = [runner.death(), waiting.exception()]
        assert [f"worker {runner.pid} ended by SIGKILL"] * 2 == [str(each) for each in heard]


@pytest.mark.parametrize("kind", ["empty", "magic only", "zeros", "truncated", "random"])
def test_a_file_that_is_no_model_is_refused(start: StartWorker, kind: str) -> None:
    """The runtime's refusal is ModelRefusedError, its crash WorkerDiedError; we live on."""
    content = {
        "empty": b"",
        "magic only": b"\0\0\0\0TFL3",
        "zeros": bytes(1000),
        "truncated": VWW.read_bytes()[:1000],
        "random": np.random.default_rng(1).bytes(5000),
    }[kind]
    runner = start(content, memory_limit=1 << 30)
    with pytest.raises((ModelRefusedError, WorkerDiedError)):
        runner.wait_ready()


def test_a_smaller_limit_of_the_service_is_kept() -> None:
    """A worker that already has less memory than it may take starts with what it has."""
    program = (
        "import sys; from pathlib import Path; from edge_agent.clock import SystemClock; "
        "from edge_agent.runner import Runner; from edge_agent.sealed import SealedFile; "
        "from edge_agent.worker_process import WorkerSettings; "
        "model = SealedFile(Path(sys.argv[1]).read_bytes(), 'model'); "
        "runner = Runner({'vww': model}, WorkerSettings(memory_limit=1 << 40), SystemClock()); "
        "runner.wait_ready(); runner.retire()"
    )
    limited = ["sh", "-c", 'ulimit -v 67108864; exec "$@"', "sh", sys.executable, "-c", program, str(VWW)]
    assert "" == subprocess.run(limited, capture_output=True, text=True, check=False).stderr


def test_no_such_python(start: StartWorker, tmp_path: Path) -> None:
    """An interpreter that does not exist is a WorkerStartError with the key to look at."""
    with pytest.raises(WorkerStartError, match=r"inference\.python"):
        start(python=str(tmp_path / "python9"))


def test_a_missing_runtime_names_the_package(start: StartWorker) -> None:
    """`runtime = "tflite-runtime"` where it is not installed tells what to install."""
    if importlib.util.find_spec("tflite_runtime") is not None:
        pytest.skip("tflite-runtime is installed in the tests' own Python")
    runner = start(runtime="tflite-runtime")
    with pytest.raises(WorkerStartError, match="pip install 'tflite-runtime'"):
        runner.wait_ready()


_DAEMON = """
import select, sys, numpy as np
from edge_agent.clock import SystemClock
from edge_agent.runner import Runner
from edge_agent.worker_process import WorkerSettings
from edge_agent.sealed import SealedFile
python = sys.argv[3] or None
model = SealedFile(open(sys.argv[1], "rb").read(), "m")
runner = Runner({"vww": model}, WorkerSettings(threads=1, python=python), SystemClock())
print(runner.pid, flush=True)
if sys.argv[2] == "loading":
    select.select([runner], [], [])
    print("ready", flush=True)
elif sys.argv[2] != "starting":
    spec = runner.wait_ready().networks["vww"].input
    tensor = np.zeros(spec.shape, spec.dtype)
    print("ready", flush=True)
    while sys.argv[2] == "busy":
        runner.run("vww", tensor, 5.0)
    if sys.argv[2] == "stuck":
        runner.submit(runner.place("vww"), 5.0)
        print("submitted", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("moment", ["starting", "loading", "idle", "busy", "stuck"])
def test_kill_9_of_the_daemon_leaves_no_child(tmp_path: Path, moment: str) -> None:
    """At any moment, also in a runtime that never returns: no worker outlives its daemon by a second."""
    faults = {"stuck": "hang", "loading": "grip"}
    python = faulty_python(tmp_path, faults[moment], (1,)) if moment in faults else ""
    with subprocess.Popen(
        [sys.executable, "-c", _DAEMON, str(VWW), moment, python],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as daemon:
        assert daemon.stdout is not None
        worker = Watched(int(daemon.stdout.readline()))
        if moment != "starting":
            assert daemon.stdout.readline() == "ready\n"
        if moment == "stuck":
            assert daemon.stdout.readline() == "submitted\n"
        daemon.send_signal(signal.SIGKILL)
        assert worker.ends_within(1.0)


def test_retiring_ends_the_wait_of_another_thread(start: StartWorker, tmp_path: Path) -> None:
    """A lane that waits for a worker which hangs must not outlive the daemon's stop."""
    runner = start(python=faulty_python(tmp_path, "hang", (1,)))
    runner.wait_ready()
    said: list[WorkerError] = []

    def wait() -> None:
        try:
            runner.run("vww", zeros(runner), 60.0)
        except WorkerError as error:
            said.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    runner.retire()
    waiting.join(30.0)
    assert [WorkerDiedError] == [type(error) for error in said]
    assert State.EXITED is runner.state


def test_a_retired_worker_takes_no_tensor(start: StartWorker) -> None:
    """A lane that is late by a moment hears that its worker is gone, not of a closed descriptor."""
    runner = start()
    runner.wait_ready()
    place = runner.place("vww")
    runner.retire()
    place.tensor.fill(1)
    with pytest.raises(WorkerDiedError):
        runner.submit(place, 1.0)
    with pytest.raises(WorkerDiedError):
        runner.receive(1, 1.0)
    with pytest.raises(WorkerDiedError):
        runner.place("vww")


def test_threads_that_share_a_worker_get_their_own_answers() -> None:
    """Two networks in one worker, two threads with two requests open each: nobody gets another's scores."""
    contents = {name: (CORAL / f"{name}.tflite").read_bytes() for name in NETWORKS}
    models = {name: SealedFile(content, name) for name, content in contents.items()}
    runner = Runner(models, WorkerSettings(threads=1), SystemClock())
    networks = runner.wait_ready().networks
    wrong: list[str] = []

    def ask(name: str) -> None:
        spec = networks[name].input
        tensors = [np.full(spec.shape, value, spec.dtype) for value in (0, 100)]
        expected = [runner.run(name, tensor, 30.0).output for tensor in tensors]
        places = [runner.place(name) for _ in tensors]
        for place, tensor in zip(places, tensors, strict=True):
            place.tensor[:] = tensor
        for _ in range(50):
            requests = [runner.submit(place, 30.0) for place in places]
            answers = [runner.receive(request, 30.0).output for request in requests]
            if not all(map(np.array_equal, expected, answers)):
                wrong.append(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in NETWORKS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    runner.retire()
    for model in models.values():
        model.close()
    assert [] == wrong


def test_a_wait_ends_at_its_own_deadline(start: StartWorker, tmp_path: Path) -> None:
    """A thread with little patience does not wait for as long as another that reads for both."""
    runner = start(python=faulty_python(tmp_path, "hang", (1,)))
    runner.wait_ready()
    said: list[WorkerError] = []

    def wait(timeout_s: float) -> None:
        try:
            runner.run("vww", zeros(runner), timeout_s)
        except WorkerError as error:
            said.append(error)

    threads = [threading.Thread(target=wait, args=(timeout_s,)) for timeout_s in (3600.0, 0.2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert [WorkerStuckError, WorkerStuckError] == [type(error) for error in said]


def test_an_abandoned_answer_is_nobodys(start: StartWorker) -> None:
    """The answers after it reach those who asked, and its place may be written at once."""
    runner = start()
    runner.wait_ready()
    place, other = runner.place("vww"), runner.place("vww")
    place.tensor[:] = 1
    other.tensor[:] = 90
    expected = runner.receive(runner.submit(other, 5.0), 5.0).output
    for _ in range(3):
        runner.abandon(runner.submit(place, 5.0))
    assert np.array_equal(expected, runner.receive(runner.submit(other, 5.0), 5.0).output)
    place.tensor[:] = 90
    assert np.array_equal(expected, runner.receive(runner.submit(place, 5.0), 5.0).output)


def test_the_refused_network_is_named() -> None:
    """Of the networks that share a worker, the one that the runtime refuses is told."""
    models = {
        "good": SealedFile(VWW.read_bytes(), "good.tflite"),
        "bad": SealedFile(b"\0\0\0\0TFL3", "bad.tflite"),
    }
    runner = Runner(models, WorkerSettings(threads=1), SystemClock())
    with pytest.raises(ModelRefusedError, match=r"bad\.tflite") as caught:
        runner.wait_ready()
    runner.retire()
    for model in models.values():
        model.close()
    assert "bad" == caught.value.network


def test_a_death_is_told_to_every_thread_that_waits(start: StartWorker, tmp_path: Path) -> None:
    """Whoever reads when the worker dies, all that wait hear it."""
    runner = start(python=faulty_python(tmp_path, "abort", (1,)))
    runner.wait_ready()
    tensor = zeros(runner)
    said: list[WorkerError] = []

    def wait() -> None:
        try:
            runner.run("vww", tensor, 30.0)
        except WorkerError as error:
            said.append(error)

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert [WorkerDiedError, WorkerDiedError] == [type(error) for error in said]
