"""edge_agent.doctor beside the Edge TPU: Python, packages, service, heat, clock, storage, cameras, broker.

Stood in for: as in test_doctor.py, and ``systemctl`` (a script, first on PATH). Real: mosquitto, sockets of
network cameras, users and groups.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest

from edge_agent.cameras.v4l2 import captures, device_path, gives_pictures
from edge_agent.clock import SystemClock
from edge_agent.doctor import (
    Finding,
    Installation,
    User,
    broker,
    cameras,
    examine,
    heat,
    python,
    rights,
    service,
    storage,
    times,
    wheels,
)
from edge_agent.doctor.edgetpu import Setup
from edge_agent.mqtt import BrokerSettings
from tests.brokers import Broker, free_port
from tests.fakes.clock import FakeClock
from tests.test_doctor import Board, by_name


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A machine with nothing in it."""
    return Board(tmp_path)


def told(finding: Finding) -> tuple[str, str | None]:
    """Its level and its fix; a problem must have a reason and a way out."""
    assert finding.level != "problem" or (finding.why and (finding.fix or finding.remedy))
    return finding.level, finding.fix


# Python and packages


def test_python_must_have_64_bits_and_be_new_enough() -> None:
    """No runtime is made for 32 bit any more; words help with that, no command."""
    assert "ok" == python.look().level
    assert ("problem", None) == told(python.look(bits=32))
    assert "problem" == python.look(version=(3, 9, 2)).level


def dist(folder: Path, name: str, version: str, *requires: str) -> None:
    """A distribution's metadata."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    lines = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    metadata.write_text("\n".join(lines) + "\n")


def test_this_very_installation_has_its_packages() -> None:
    """All that setup.cfg asks for, in the versions that it asks for."""
    assert [("wheels", "ok")] == [(each.name, each.level) for each in wheels.look()]


def test_what_is_missing_or_too_old_is_named(tmp_path: Path) -> None:
    """With the versions to install; extras are nobody's need."""
    dist(
        tmp_path, "edge-agent", "1.0", "numpy>=1.26", "click>=8.1", "rich>=13.7", "amqtt>=1; extra == 'demo'"
    )
    dist(tmp_path, "numpy", "1.9.5")
    dist(tmp_path, "rich", "13.10.0")
    (finding,) = wheels.look([str(tmp_path)])
    assert "numpy 1.9.5, click missing (3 packages are needed)" == finding.found
    assert "install --upgrade 'numpy>=1.26' 'click>=8.1'" in str(finding.fix)


def test_two_editions_of_opencv_are_one_too_many(tmp_path: Path) -> None:
    """The command leaves the one without windows, whole."""
    dist(tmp_path, "opencv-python", "4.10.0")
    dist(tmp_path, "opencv-python-headless", "4.10.0")
    finding = by_name(list(wheels.look([str(tmp_path)])))["opencv"]
    assert "opencv-python and opencv-python-headless are installed together" == finding.found
    removed, again = str(finding.fix).split(" && ")
    assert removed.endswith("-m pip uninstall -y opencv-python")
    assert again.endswith("install --force-reinstall --no-deps opencv-python-headless")


# Service


def systemctl(board: Board, folder: Path, monkeypatch: pytest.MonkeyPatch, **properties: str) -> None:
    """A systemd that knows the unit by these properties."""
    (board.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    lines = "".join(
        f"echo '{name}={value}'\n" for name, value in {"LoadState": "loaded", **properties}.items()
    )
    (programs / "systemctl").write_text(f"#!/bin/sh\n{lines}")
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("properties", "level", "fix"),
    [
        ({"ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}, "ok", None),
        (
            {"ActiveState": "active", "UnitFileState": "disabled"},
            "problem",
            "sudo systemctl enable edge-agent.service",
        ),
        ({"ActiveState": "active", "NRestarts": "9"}, "problem", service._LOG),
        ({"ActiveState": "inactive"}, "problem", "sudo systemctl start edge-agent.service"),
        (
            {"ActiveState": "failed", "ExecMainStatus": "78", "Result": "exit-code"},
            "problem",
            "edge-agent check; sudo systemctl restart edge-agent.service",
        ),
        ({"ActiveState": "failed", "ExecMainStatus": "6", "Result": "watchdog"}, "problem", service._LOG),
    ],
)
def test_the_service_s_state_has_its_command(
    board: Board,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    properties: dict[str, str],
    level: str,
    fix: str | None,
) -> None:
    """What failed for its configuration is told from what failed otherwise."""
    systemctl(board, tmp_path, monkeypatch, **properties)
    assert (level, fix) == told(service.look(service.ask(board.machine)))


def test_no_systemd_and_no_unit_are_no_problem(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container, or an agent that somebody started by hand."""
    assert service.ask(board.machine) is None
    systemctl(board, tmp_path, monkeypatch, LoadState="not-found")
    assert "note" == service.look(service.ask(board.machine)).level


def test_a_systemctl_that_is_not_there_is_passed_over(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder tells of a systemd, the program does not."""
    (board.root / "run/systemd/system").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(board.root))
    assert service.ask(board.machine) is None


def test_rights_are_those_of_the_service_s_user(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the groups that the unit adds, not of whoever asks."""
    systemctl(board, tmp_path, monkeypatch, User="nobody", SupplementaryGroups="video plugdev")
    user = service.user_of(board.machine, service.ask(board.machine))
    assert "nobody" == user.name
    assert {"video", "plugdev"} <= user.groups
    systemctl(board, tmp_path, monkeypatch, User="no-such-user")
    assert board.user == service.user_of(board.machine, service.ask(board.machine))


def test_mode_and_group_say_who_may(board: Board, tmp_path: Path) -> None:
    """For another user than the one that asks."""
    node = tmp_path / "node"
    node.touch()
    group = rights.group_of(node.stat().st_gid)
    inside, outside = User("nobody", frozenset({group})), User("nobody", frozenset({"nogroup"}))
    node.chmod(0o660)
    assert (True, False) == (
        rights.may_use(board.machine, inside, node),
        rights.may_use(board.machine, outside, node),
    )
    node.chmod(0o640)
    assert not rights.may_use(board.machine, inside, node)
    assert rights.may_use(board.machine, User("root", frozenset()), node)
    assert not rights.may_use(board.machine, inside, tmp_path / "absent")


# Heat and clock


@pytest.mark.parametrize(
    ("told_c", "level"),
    [(None, "note"), ("51200", "ok"), ("74000", "note"), ("82300", "problem"), ("hot", "note")],
)
def test_heat_has_two_limits(board: Board, told_c: str | None, level: str) -> None:
    """Thousandths of a degree, as the kernel has them."""
    if told_c is not None:
        board.write("sys/class/thermal/thermal_zone0/temp", told_c)
    assert level == heat.look(board.machine).level


def test_a_clock_that_was_never_set_is_a_problem(board: Board) -> None:
    """One that is merely not synchronised is a note: without a network nothing can do that."""
    clock = FakeClock()
    clock.set_wall(1_000_000_000)
    assert "problem" == told(times.look(board.machine, clock))[0]
    clock.set_wall(1_795_000_000_000_000_000)
    assert "ok" == times.look(board.machine, clock).level
    board.synchronized = False
    assert ("note", times._SET) == told(times.look(board.machine, clock))


# Storage


def of_storage(board: Board, state_dir: Path, user: User | None = None) -> dict[str, Finding]:
    """By name."""
    return by_name(list(storage.look(board.machine, user or board.user, state_dir)))


def mounted(board: Board, point: Path, kind: str, options: str = "rw,noatime") -> None:
    """A root, and this below it."""
    board.write(
        "proc/mounts",
        f"/dev/root / ext4 rw 0 0\n/dev/x {str(point).replace(' ', chr(92) + '040')} {kind} {options} 0 0",
    )


def test_a_folder_that_may_be_written_to_is_ok(board: Board, tmp_path: Path) -> None:
    """And there is room."""
    mounted(board, tmp_path, "ext4")
    levels = {name: each.level for name, each in of_storage(board, tmp_path).items()}
    assert {"state": "ok", "space": "ok"} == levels


def test_one_that_is_not_there_is_made(board: Board, tmp_path: Path) -> None:
    """The nearest folder above it is looked at."""
    state = of_storage(board, tmp_path / "a" / "b")["state"]
    assert "note" == state.level


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("ext4", "ro,noatime", "which may only be read"),
        ("tmpfs", "rw", "(tmpfs), where nothing survives a restart"),
        ("overlay", "rw,lowerdir=/a", "(overlay), where nothing survives a restart"),
    ],
)
def test_a_mount_that_keeps_nothing_is_a_problem(
    board: Board, tmp_path: Path, kind: str, options: str, words: str
) -> None:
    """Also where its name has a space."""
    point = tmp_path / "a card"
    point.mkdir()
    mounted(board, point, kind, options)
    state = of_storage(board, point)["state"]
    assert words in state.found
    assert "problem" == told(state)[0]


def test_another_s_folder_is_given_to_the_user(board: Board, tmp_path: Path) -> None:
    """By a command."""
    tmp_path.chmod(0o755)
    state = of_storage(board, tmp_path, User("nobody", frozenset({"nogroup"})))["state"]
    assert ("problem", f"sudo chown -R nobody: {tmp_path}") == told(state)


@pytest.mark.parametrize(("free", "level"), [(50_000_000, "problem"), (500_000_000, "note")])
def test_little_room_is_told(board: Board, tmp_path: Path, free: int, level: str) -> None:
    """Before a model is refused for it."""
    board.free = free
    assert level == of_storage(board, tmp_path)["space"].level


def test_errors_of_a_file_system_are_told(board: Board, tmp_path: Path) -> None:
    """Of each that has any."""
    board.write("sys/fs/ext4/mmcblk0p2/errors_count", "3")
    board.write("sys/fs/ext4/sda1/errors_count", "0")
    errors = of_storage(board, tmp_path)["filesystem"]
    assert "/dev/mmcblk0p2: 3 errors of the file system" == errors.found
    assert "problem" == told(errors)[0]


@pytest.mark.parametrize(
    ("life", "end", "level", "words"),
    [
        ("0x01 0x02", "0x01", "ok", "10 to 20 %"),
        ("0x0a 0x01", "0x01", "problem", "90 to 100 %"),
        ("0x0b 0x0b", "0x01", "problem", "more than 100 %"),
        ("0x03 0x03", "0x02", "problem", "20 to 30 %"),
        ("rubbish", "", "ok", "0 to 0 %"),
    ],
)
def test_a_worn_card_is_told(
    board: Board, tmp_path: Path, life: str, end: str, level: str, words: str
) -> None:
    """Where it tells; as many do not, silence is no finding."""
    assert "wear" not in of_storage(board, tmp_path)
    board.write("sys/block/mmcblk0/device/life_time", life)
    board.write("sys/block/mmcblk0/device/pre_eol_info", end)
    wear = of_storage(board, tmp_path)["wear"]
    assert level == told(wear)[0]
    assert words in wear.found


# Cameras


def of_camera(board: Board, source: str, user: User | None = None) -> Finding:
    """The finding of the only camera."""
    (finding,) = cameras.look(board.machine, user or board.user, {"door": source})
    assert ("camera", "door: ") == (finding.name, finding.found[:6])
    return finding


def test_a_device_must_be_there(board: Board) -> None:
    """By its number or its path."""
    for source in ("3", "/dev/video3"):
        assert ("problem", "v4l2-ctl --list-devices") == told(of_camera(board, source))
    board.write("dev/video3")
    assert ("ok", None) == told(of_camera(board, "3"))


def test_a_device_that_is_a_folder_is_none(board: Board) -> None:
    """A container makes one where the device was not there."""
    (board.root / "dev/video0").mkdir()
    assert "is no device" in of_camera(board, "0").found


def test_the_service_s_user_must_be_let_in(board: Board) -> None:
    """By its group; where the device has none that lets in, by a rule."""
    node = board.write("dev/video0")
    group = rights.group_of(node.stat().st_gid)
    user = User("nobody", frozenset({"nogroup"}))
    node.chmod(0o600)
    level, fix = told(of_camera(board, "0", user))
    assert "problem" == level
    assert 'SUBSYSTEM=="video4linux", GROUP="video", MODE="0660"' in str(fix)
    node.chmod(0o660)
    if group != "root":
        assert f"sudo usermod -aG {group} nobody" == of_camera(board, "0", user).fix
    assert "ok" == of_camera(board, "0", User("nobody", frozenset({group}))).level


def test_the_second_device_of_a_camera_gives_no_pictures(board: Board) -> None:
    """It has metadata only."""
    board.metadata_only.add(board.write("dev/video1"))
    assert "gives no pictures" in of_camera(board, "1").found


def test_who_has_the_camera_is_told(board: Board) -> None:
    """The agent is no problem, another program may be."""
    node = board.write("dev/video0")
    board.write("proc/4711/comm", "cheese")
    (board.root / "proc/4711/fd").mkdir()
    (board.root / "proc/4711/fd/7").symlink_to(node)
    busy = of_camera(board, "0")
    assert ("note", "ps -fp 4711") == told(busy)
    assert "in use by pid 4711 (cheese)" in busy.found
    board.write("proc/4711/comm", "edge-agent")
    assert "ok" == of_camera(board, "0").level


def test_a_network_camera_must_take_connections(board: Board) -> None:
    """Without its password in any word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = f"rtsp://me:s3cret@127.0.0.1:{listener.getsockname()[1]}/x"
        up = of_camera(board, source)
    assert "ok" == up.level
    down = of_camera(board, source)
    assert "nothing listens at" in down.found
    assert "problem" == told(down)[0]
    assert "s3cret" not in f"{up}{down}"


def test_other_sources_are_looked_for(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a scene, a camera module."""
    assert "ok" == of_camera(board, "scene:finishes").level
    assert "ok" == of_camera(board, str(tmp_path)).level
    assert "problem" == told(of_camera(board, str(tmp_path / "absent.mp4")))[0]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ("problem", "sudo apt install rpicam-apps") == told(of_camera(board, "picamera:0"))
    (tmp_path / "rpicam-vid").touch(0o755)
    assert "ok" == of_camera(board, "picamera:0").level


@pytest.mark.parametrize(
    ("of_all", "own", "expected"),
    [(0x8420_0001, 0x0420_0001, True), (0x84A0_0001, 0x04A0_0000, False), (0x1, 0, True), (0x1000, 0, True)],
)
def test_a_driver_s_answer_says_whether_there_are_pictures(of_all: int, own: int, expected: bool) -> None:
    """Of this node, where it tells that apart: the first two are a webcam's two devices."""
    answer = struct.pack("=16s32s32s6I", b"uvcvideo", b"HD Webcam", b"usb-1", 0x60100, of_all, own, 0, 0, 0)
    assert expected == gives_pictures(answer)


def test_what_is_no_camera_does_not_say(tmp_path: Path) -> None:
    """Another kind of device, and none at all."""
    assert (None, None) == (captures(Path("/dev/null")), captures(tmp_path / "absent"))
    assert (None, "/dev/video2") == (device_path("photos/"), device_path("02"))


@pytest.mark.parametrize(("hiding", "level"), [("yes", "problem"), ("no", "ok")])
def test_a_file_that_the_sandbox_hides_is_not_there(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hiding: str, level: str
) -> None:
    """Though whoever asks sees it; what a drop-in shows again is there."""
    systemctl(board, tmp_path, monkeypatch, ProtectHome=hiding)
    hides_home = service.hides_home(service.ask(board.machine))
    user = board.machine.user
    sources = {"home": "/root/", "photos": str(tmp_path)}
    found = list(cameras.look(board.machine, user, sources, hides_home=hides_home))
    assert [level, "ok"] == [told(each)[0] for each in found]


# Broker


def test_the_broker_is_tried_with_a_message() -> None:
    """As `check` does."""
    with Broker() as running:
        settings = BrokerSettings("127.0.0.1", running.port)
        finding = broker.look(settings, "edge-agent/dock/check", SystemClock(), hears=True)
    assert "ok" == finding.level
    assert finding.found.endswith("it takes what we publish, and gives it back")


def test_a_broker_that_is_away_or_refuses_is_a_problem() -> None:
    """On this machine the command installs one; with the wrong password words must do."""
    settings = BrokerSettings("127.0.0.1", free_port())
    away = broker.look(settings, "edge-agent/dock/check", SystemClock(), hears=True)
    assert ("problem", broker._START) == told(away)
    with Broker(users={"dock": "right"}) as running:
        wrong = BrokerSettings("127.0.0.1", running.port, username="dock", password="wrong")
        refused = broker.look(wrong, "edge-agent/dock/check", SystemClock(), hears=True)
    assert ("problem", None) == told(refused)


def test_a_password_that_only_the_service_is_given_is_no_problem() -> None:
    """Systemd hands it over; whoever asks here has none. Without a service nobody else has one either."""
    with Broker(users={"dock": "right"}) as running:
        settings = BrokerSettings("127.0.0.1", running.port, username="dock")
        levels = [
            broker.look(settings, "edge-agent/dock/check", SystemClock(), hears=True, serviced=each).level
            for each in (True, False)
        ]
    assert ["note", "problem"] == levels


def test_everything_is_looked_at_in_one_go(board: Board, tmp_path: Path) -> None:
    """One finding at least of each part, and a way out of each problem."""
    board.write("dev/video0")
    with Broker() as running:
        installation = Installation(
            tmp_path,
            {"door": "0", "yard": "/dev/video9"},
            BrokerSettings("127.0.0.1", running.port),
            "edge-agent/dock/check",
            hears=True,
        )
        found = list(examine(board.machine, Setup(device="cpu"), SystemClock(), installation))
    names = {finding.name for finding in found}
    parts = {"python", "wheels", "runtime", "service", "power", "heat", "clock", "state", "space", "camera"}
    assert parts | {"broker", "libedgetpu", "stick"} <= names
    problems = [finding.found for finding in found if told(finding)[0] == "problem"]
    assert [f"yard: there is no {board.root}/dev/video9"] == problems
