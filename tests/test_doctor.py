"""edge_agent.doctor and ``edge-agent doctor``, on machines made of folders.

Stood in for: /sys, /dev, /proc and /etc (folders), the user and the right to open a node (parameters),
``vcgencmd`` (a script put first on PATH), and packages (metadata and modules put first on PYTHONPATH). Real:
the Pythons that are asked and the loader that is asked for libedgetpu.
"""

from __future__ import annotations

import grp
import json
import os
import stat
import subprocess
import sys
import venv
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.__main__ import main
from edge_agent.bus import sticks
from edge_agent.cli import edge_agent
from edge_agent.cli.doctor import unusable
from edge_agent.clock import SystemClock
from edge_agent.doctor import Finding, Machine, Setup, User, examine, library, packages, power, usb
from edge_agent.errors import ConfigError
from edge_agent.power import FIRMWARE
from edge_agent.power import power as firmware
from edge_agent.worker_process import WorkerSettings
from tests.brokers import Broker

STICK = "/sys/bus/usb/devices/2-1"


class Board:
    """A folder that passes for a machine; the user "pi" may open everything until told otherwise."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "board"
        for name in ("sys", "dev", "proc", "etc", "run", "rules", "locks"):
            (self.root / name).mkdir(parents=True)
        self.closed: set[Path] = set()
        self.user = User("pi", frozenset({"pi"}))
        self.metadata_only: set[Path] = set()
        self.free = 10_000_000_000
        self.synchronized = True

    @property
    def machine(self) -> Machine:
        """As the doctor takes it."""
        root = self.root
        return Machine(
            sys=root / "sys",
            dev=root / "dev",
            proc=root / "proc",
            etc=root / "etc",
            run=root / "run",
            udev_rules=(root / "rules", root / "no such folder"),
            locks=root / "locks",
            user=self.user,
            may_open=lambda path: path not in self.closed,
            is_device=stat.S_ISREG,
            captures=lambda path: path not in self.metadata_only,
            is_synchronized=lambda: self.synchronized,
            free_bytes=lambda _path: self.free,
        )

    def write(self, path: str, text: str = "") -> Path:
        """A file below the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
        return file

    def device(self, port: str, **attributes: object) -> None:
        """An entry of the USB bus."""
        for name, value in attributes.items():
            self.write(f"sys/bus/usb/devices/{port}/{name}", str(value))

    def plug(self, speed: int = 5000, vendor: str = "18d1", product: str = "9302") -> Path:
        """A stick on port 2-1; its node."""
        for number, root_speed in ((1, 480), (2, 5000)):
            self.device(f"usb{number}", speed=root_speed, idVendor="1d6b", idProduct="0003")
        self.device("2-1", idVendor=vendor, idProduct=product, busnum=2, devnum=3, speed=speed)
        return self.write("dev/bus/usb/002/003")

    def allow(self) -> None:
        """The udev rules that libedgetpu's package brings."""
        self.write("rules/60-libedgetpu1-std.rules", "\n".join(usb.RULES))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A machine with nothing in it."""
    return Board(tmp_path)


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    """The findings, each name once."""
    named = {finding.name: finding for finding in findings}
    assert len(named) == len(findings)
    return named


def of_stick(board: Board) -> dict[str, Finding]:
    """``access`` and ``speed`` of the only stick."""
    (stick,) = sticks(board.machine.sys, board.machine.dev)
    return by_name(list(usb.look(board.machine, stick)))


# Sticks


def test_a_stick_that_may_be_opened_is_ok(board: Board) -> None:
    """A node that is open and a rule that keeps it so: nothing to say."""
    board.plug()
    board.allow()
    findings = of_stick(board)
    assert {"access": "ok", "speed": "ok"} == {name: each.level for name, each in findings.items()}


def test_a_stick_without_a_rule_is_only_open_to_some(board: Board) -> None:
    """Root may open it, a service's user may not: said before it is found out the hard way."""
    board.plug()
    access = of_stick(board)["access"]
    assert "note" == access.level
    assert usb.write_rules() == access.fix


def test_a_rule_for_one_of_the_two_names_is_none(board: Board) -> None:
    """A stick that may be opened before its firmware is loaded vanishes when it is; a comment is no rule."""
    board.closed.add(board.plug())
    board.write("rules/99.rules", f"{usb.RULES[0]}\n# {usb.RULES[1]}")
    assert "no udev rule" in of_stick(board)["access"].found


def test_a_closed_stick_without_a_rule_gets_rule_and_membership(board: Board) -> None:
    """One command does both, and says what follows it."""
    board.closed.add(board.plug())
    access = of_stick(board)["access"]
    assert "problem" == access.level
    assert f"{usb.write_rules()} && sudo usermod -aG plugdev pi" == access.fix
    assert "log in again" in str(access.remedy)


def test_the_command_for_the_rules_writes_them(tmp_path: Path) -> None:
    """It is typed into a shell as it stands: the quoting must survive that."""
    target = tmp_path / "99.rules"
    command, *_ = usb.write_rules().replace("sudo ", "").replace(usb.RULES_FILE, str(target)).split(" && ")
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)
    assert "\n".join(usb.RULES) + "\n" == target.read_text()


def test_a_closed_stick_names_the_group_to_join(board: Board) -> None:
    """With the rule in effect, membership is what is missing; after joining, a new login is."""
    group = given_to_a_group(board)
    assert f"sudo usermod -aG {group} pi" == of_stick(board)["access"].fix
    board.user = User("pi", frozenset({"pi"}), frozenset({group}))
    access = of_stick(board)["access"]
    assert "log in again" in str(access.remedy)
    assert access.fix is None


def given_to_a_group(board: Board) -> str:
    """A closed stick, as a rule leaves it; its group's name."""
    node = board.plug()
    board.allow()
    board.closed.add(node)
    if os.geteuid() == 0:
        os.chown(node, -1, 65534)
    node.chmod(0o660)
    gid = node.stat().st_gid
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def test_a_rule_without_effect_is_reloaded(board: Board) -> None:
    """The stick was plugged in before its rule came: the node is still root's alone."""
    node = board.plug()
    board.allow()
    board.closed.add(node)
    node.chmod(0o600)
    access = of_stick(board)["access"]
    assert "sudo udevadm control --reload && sudo udevadm trigger" == access.fix
    assert "plug the stick in again" in str(access.remedy)


def test_a_stick_without_a_node_is_in_a_container(board: Board) -> None:
    """The kernel's view is shared with the host, the nodes are not."""
    board.plug().unlink()
    access = of_stick(board)["access"]
    assert "problem" == access.level
    assert "docker run" in str(access.fix)


def test_usb_2_is_a_problem_where_there_is_usb_3(board: Board) -> None:
    """Three times slower, and nothing else would tell."""
    board.plug(speed=480)
    board.allow()
    speed = of_stick(board)["speed"]
    assert "problem" == speed.level
    assert f"{STICK}: USB 2 only, 480 Mbit/s" == speed.found
    assert "blue port" in str(speed.remedy)


def test_usb_2_is_a_note_where_there_is_nothing_faster(board: Board) -> None:
    """A Pi 3 has no better port: nobody can do anything about it."""
    board.plug(speed=480)
    board.device("usb2", speed=480)
    assert "note" == of_stick(board)["speed"].level


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_attribute_of_a_device_is_trusted(
    tmp_path_factory: pytest.TempPathFactory, speed: str, number: str
) -> None:
    """Whatever sysfs holds, there is a finding and no exception."""
    board = Board(tmp_path_factory.mktemp("odd"))
    board.device("2-1", idVendor="18d1", idProduct="9302")
    for name, text in (("speed", speed), ("busnum", number), ("devnum", number)):
        (board.root / f"sys/bus/usb/devices/2-1/{name}").write_bytes(text.encode("utf-8", "replace"))
    assert "access" in of_stick(board)


# Power


@pytest.mark.parametrize(
    ("bits", "level", "words"),
    [
        (0x0, "ok", "no under-voltage and no throttling since boot"),
        (0x50005, "problem", "under-voltage, throttled now"),
        (0x50000, "problem", "under-voltage, throttled: has happened since boot"),
        (0x20002, "problem", "frequency capped now"),
        (
            0xE0008,
            "problem",
            "soft temperature limit now; frequency capped, throttled: has happened since boot",
        ),
        (0x80000, "note", "soft temperature limit: has happened since boot"),
        (0x100, "note", "0x100"),
    ],
)
def test_the_firmware_s_bits_are_told_in_words(board: Board, bits: int, level: str, words: str) -> None:
    """Under-voltage breaks the stick whenever it was; heat that has passed is only worth a note."""
    board.write(f"sys/{FIRMWARE}", f"{bits:x}")
    found = power.look(board.machine)
    assert (level, words) == (found.level, found.found)


def _bits(machine: Machine) -> int | None:
    told = firmware(machine.sys)
    return told.bits if told else None


def vcgencmd(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of that name, first on PATH."""
    program = folder / "bin" / "vcgencmd"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_vcgencmd_is_asked_first(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It speaks to the firmware itself; the file in sysfs is not on every kernel."""
    board.write(f"sys/{FIRMWARE}", "0")
    vcgencmd(tmp_path, monkeypatch, '[ "$1" = get_throttled ] && echo throttled=0x50000')
    assert 0x50000 == _bits(board.machine)


@pytest.mark.parametrize("script", ["echo 'cannot open /dev/vcio' >&2; exit 255", "echo error=1", "exit 0"])
def test_a_vcgencmd_that_may_not_ask_is_passed_over(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """Outside the group "video" it fails: then sysfs tells."""
    vcgencmd(tmp_path, monkeypatch, script)
    assert _bits(board.machine) is None
    board.write(f"sys/{FIRMWARE}", "50000")
    assert 0x50000 == _bits(board.machine)


def test_the_voltage_sensor_is_the_last_to_be_asked(board: Board) -> None:
    """Other chips have alarms of that name too: only the board's own counts."""
    board.write("sys/class/hwmon/hwmon0/name", "nvme")
    board.write("sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1")
    assert _bits(board.machine) is None
    assert "note" == power.look(board.machine).level
    board.write("sys/class/hwmon/hwmon1/name", "rpi_volt")
    alarm = board.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0")
    assert 0 == _bits(board.machine)
    alarm.write_text("1\n")
    assert "under-voltage now" == power.look(board.machine).found


@given(st.binary(max_size=40))
def test_no_answer_of_the_firmware_is_trusted(tmp_path_factory: pytest.TempPathFactory, told: bytes) -> None:
    """Whatever the file holds, there is a finding and no exception."""
    board = Board(tmp_path_factory.mktemp("odd"))
    board.write(f"sys/{FIRMWARE}").write_bytes(told)
    assert power.look(board.machine).found


# Packages


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python without any package."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return str(folder / "bin" / "python")


class Packages:
    """Packages of our own making, first on PYTHONPATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "packages"
        self.folder.mkdir()
        monkeypatch.setenv("PYTHONPATH", str(self.folder))

    def install(self, name: str, version: str, *, summary: str = "", **modules: str) -> None:
        """Metadata, and modules: "__" in a name stands for a dot."""
        metadata = self.folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: {summary}\n")
        for module, source in modules.items():
            file = self.folder / (module.replace("__", "/") + ".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    """No package yet."""
    return Packages(tmp_path, monkeypatch)


def of_packages(python: str, runtime: str = "auto") -> dict[str, Finding]:
    """What is found in this Python."""
    return by_name(list(packages.look(WorkerSettings(runtime=runtime, python=python))))


def test_the_runtime_of_this_very_python_is_found() -> None:
    """The real one, imported in a real child."""
    (runtime,) = packages.look(WorkerSettings())
    assert "ok" == runtime.level
    assert runtime.found.endswith(f"Python {sys.version.split()[0]}")


def test_a_python_without_a_runtime_gets_one(bare_python: str) -> None:
    """The command installs into the Python that was looked at, not into the one that looked."""
    findings = of_packages(bare_python)
    assert {"runtime": "problem"} == {name: each.level for name, each in findings.items()}
    assert f"{bare_python} -m pip install ai-edge-litert" == findings["runtime"].fix


NUMPY_1_ONLY = "raise AttributeError('_ARRAY_API not found')"


def test_numpy_2_beside_tflite_runtime_is_named(bare_python: str, installed: Packages) -> None:
    """The runtime dies with words that nobody understands; the cause and the versions that go are told."""
    installed.install("numpy", "2.1.0", numpy="")
    installed.install("tflite-runtime", "2.14.0", tflite_runtime__interpreter=NUMPY_1_ONLY)
    findings = of_packages(bare_python)
    assert {"numpy": "problem"} == {name: each.level for name, each in findings.items()}
    assert findings["numpy"].fix == (f"{bare_python} -m pip install 'numpy<2' 'opencv-python-headless<4.12'")


def test_numpy_2_is_a_note_where_litert_is_used(bare_python: str, installed: Packages) -> None:
    """Nothing is wrong with what runs, unless the configuration asks for the one that cannot."""
    installed.install("numpy", "2.1.0", numpy="")
    installed.install("tflite-runtime", "2.14.0", tflite_runtime__interpreter=NUMPY_1_ONLY)
    installed.install("ai-edge-litert", "2.3.0", ai_edge_litert__interpreter="")
    levels = {name: each.level for name, each in of_packages(bare_python).items()}
    assert {"numpy": "note", "runtime": "ok"} == levels
    levels = {name: each.level for name, each in of_packages(bare_python, "tflite-runtime").items()}
    assert {"numpy": "problem"} == levels


def test_a_tflite_runtime_that_takes_numpy_2_is_left_alone(bare_python: str, installed: Packages) -> None:
    """There are rebuilds: what can be imported is no fault, whatever its version says."""
    installed.install("numpy", "2.1.0", numpy="")
    installed.install("tflite-runtime", "2.17.1", tflite_runtime__interpreter="")
    findings = of_packages(bare_python)
    assert ["runtime"] == list(findings)
    assert findings["runtime"].found.startswith("tflite-runtime 2.17.1, numpy 2.1.0, ")


def test_a_runtime_that_ends_its_process_is_told(bare_python: str, installed: Packages) -> None:
    """It is imported in a child: the doctor survives, and says which signal it was."""
    suicide = "import os, signal\nos.write(2, b'a warning')\nos.kill(os.getpid(), signal.SIGSEGV)"
    installed.install("ai-edge-litert", "2.3.0", ai_edge_litert__interpreter=suicide)
    runtime = of_packages(bare_python)["runtime"]
    assert f"litert: SIGSEGV in {bare_python}" == runtime.found
    assert f"{bare_python} -m pip install --force-reinstall ai-edge-litert" == runtime.fix


def test_the_stranger_called_pycoral_is_told_from_google_s(bare_python: str, installed: Packages) -> None:
    """By what it says of itself, and by the module that it lacks."""
    installed.install("pycoral", "0.2.0", summary="CLI for the Allen Coral Atlas", pycoral__utils__edgetpu="")
    stranger = of_packages(bare_python)["pycoral"]
    assert "problem" == stranger.level
    assert f"{bare_python} -m pip uninstall -y pycoral" == stranger.fix
    (installed.folder / "pycoral-0.2.0.dist-info" / "METADATA").write_text("Name: pycoral\nVersion: 2.0.0\n")
    assert "pycoral" not in of_packages(bare_python)
    (installed.folder / "pycoral" / "utils" / "edgetpu.py").unlink()
    assert "pycoral" in of_packages(bare_python)


def test_a_python_that_is_none_is_told(tmp_path: Path) -> None:
    """inference.python may name anything."""
    for python in (str(tmp_path / "absent"), "/bin/true"):
        findings = of_packages(python)
        assert "problem" == findings["runtime"].level
        assert "inference.python" in str(findings["runtime"].remedy)


# The whole


def test_a_missing_libedgetpu_gets_the_package_for_this_system(board: Board) -> None:
    """One command, for the Debian release that runs; where no package is known to fit, words."""
    absent = "libedgetpu-absent.so.1"
    board.write("etc/os-release", 'ID=debian\nVERSION_CODENAME="trixie"')
    found = library.look(board.machine, absent)
    assert ("problem", f"no {absent} is installed") == (found.level, found.found)
    assert ".trixie_$(dpkg --print-architecture).deb" in str(found.fix)
    board.write("etc/os-release", "VERSION_CODENAME=plucky")
    found = library.look(board.machine, absent)
    assert found.fix is None
    assert library.RELEASES in str(found.remedy)


def test_a_file_that_is_no_library_is_told(board: Board) -> None:
    """A library for another processor, or a page that was downloaded in its place."""
    found = library.look(board.machine, str(board.write("libedgetpu.so.1", "<html>")))
    assert "problem" == found.level
    assert "cannot be loaded" in found.found


@pytest.mark.parametrize(
    ("device", "level"), [("auto", "problem"), ("edgetpu:usb:0", "problem"), ("cpu", "note")]
)
def test_no_stick_and_no_library_matter_where_they_are_wanted(board: Board, device: str, level: str) -> None:
    """An agent that is told to use the CPU misses nothing."""
    setup = Setup(WorkerSettings(library="libedgetpu-absent.so.1"), device)
    findings = by_name(list(examine(board.machine, setup, SystemClock())))
    assert level == findings["libedgetpu"].level
    assert level == findings["stick"].level


def run(board: Board, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and output of the command on this machine."""
    code = edge_agent.main(
        ["doctor", *arguments], prog_name="edge-agent", standalone_mode=False, obj=board.machine
    )
    return code, capsys.readouterr().out


def way_out(finding: Finding) -> str | None:
    """The command, else the words."""
    return finding.fix or finding.remedy


def test_every_problem_has_its_reason_and_the_way_out(
    board: Board, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON a list of objects; as a table the same, wrapped at 100 columns, commands whole; exit code 1."""
    board.write("etc/os-release", "VERSION_CODENAME=bookworm")
    board.closed.add(board.plug(speed=480))
    board.write(f"sys/{FIRMWARE}", "50005")
    absent = ("--library", "libedgetpu-absent.so.1")
    code, out = run(board, capsys, "--json", *absent)
    findings = [Finding(**each) for each in json.loads(out)]
    problems = {finding.name for finding in findings if finding.level == "problem"}
    assert (1, {"libedgetpu", "access", "speed", "power"}) == (code, problems)
    assert [] == [each for each in findings if each.name in problems and not (each.why and way_out(each))]
    code, out = run(board, capsys, *absent)
    assert 1 == code
    commands = [f"{'fix':>12}         {finding.fix}" for finding in findings if finding.fix]
    assert 2 == len(commands)
    lines = [line for line in out.splitlines() if str(board.root) not in line]
    assert [] == [line for line in lines if len(line) > 100 and line not in commands]
    assert set(commands) <= set(lines)


def test_nothing_wrong_is_exit_code_0(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a board that is told to use its CPU, and for a stick that there is not."""
    config = tmp_path / "config.toml"
    with Broker() as broker:
        state = f"[agent]\nstate_dir = '{tmp_path}'\n"
        config.write_text(f"{state}[mqtt]\nport = {broker.port}\n[inference]\ndevice = 'cpu'\n")
        code, out = run(board, capsys, "-c", str(config))
        assert 0 == code
        assert {"ok", "note"} == {line.split()[0] for line in out.splitlines() if line[0] != " "}
        monkeypatch.setenv("EDGE_AGENT_CONFIG", str(config))
        assert 0 == run(board, capsys)[0]


def test_a_configuration_that_cannot_be_used_is_a_finding(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The machine is looked at all the same."""
    config = tmp_path / "config.toml"
    config.write_text("[inference]\ndevise = 'cpu'\n")
    code, out = run(board, capsys, "-c", str(config), "--json")
    findings = by_name([Finding(**each) for each in json.loads(out)])
    assert 1 == code
    assert "device" in findings["config"].found + str(findings["config"].remedy)
    assert "problem" == findings["stick"].level


def test_a_configuration_that_is_closed_to_the_user_is_asked_for_again() -> None:
    """It may be well: only root can tell. For root itself the words of the error stand."""
    error = ConfigError("/etc/edge-agent/config.toml: cannot be read: Permission denied", "name another")
    assert "sudo edge-agent doctor" == unusable(error, is_root=False).fix
    assert "name another" == unusable(error, is_root=True).remedy


def test_a_slot_without_a_compiled_model_is_noted(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It will never use the stick, whatever the stick does."""
    config = tmp_path / "config.toml"
    config.write_text(f"[models.default]\npath = '{tmp_path / 'absent'}'\n")
    _, out = run(board, capsys, "-c", str(config), "--json")
    (model,) = [each for each in json.loads(out) if each["name"] == "model"]
    assert "note" == model["level"]


def test_a_model_that_is_not_compiled_proves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--model is refused as bad usage, or in the bundle's own words."""
    model = tmp_path / "model.tflite"
    model.write_bytes(b"\x00\x00\x00\x00TFL3")
    assert 2 == main(["doctor", "--model", str(model)])
    assert "no model compiled for the Edge TPU" in capsys.readouterr().err
    assert 1 == main(["doctor", "--model", str(tmp_path / "absent.tflite")])


def test_doctor_is_a_command() -> None:
    """It stands in the table that help is made of."""
    assert "doctor" in edge_agent.list_commands(click.Context(edge_agent))
