"""Every error that edge-agent raises on purpose.

    EdgeAgentError                 exit 1
    ├── UsageError                 exit 2    the command line asks for something impossible
    ├── ConfigError                exit 78   the configuration cannot be used
    ├── ImageError                           a still image cannot be read
    ├── DatasetError                         labelled images cannot be evaluated
    ├── EvaluationError                      answers or a report cannot be kept, or read again
    ├── GateError                            a model is worse than it may be
    ├── BundleError                          a bundle cannot be used
    │   ├── ManifestError                    cvexport.manifest
    │   ├── MetadataError                    metadata_properties.json
    │   ├── LabelsError                      labels.txt, or embedded labels
    │   ├── UnsupportedModelError            a sound model of a kind that is not served
    │   ├── UnsuitableError                  a sound one that may not serve here, as things are
    │   ├── UnprovenError                    the worker that was to try it died, or gave no answer
    │   └── SignatureError                   it is not signed by the key that is trusted
    ├── ConversionError                      of a model cannot be made what was asked for
    ├── RepositoryError                      installed bundles cannot be read or written
    │   ├── RepositoryBusyError    retryable another process is writing
    │   ├── UnknownVersionError              no version of that digest is installed
    │   └── DamagedVersionError              an installed version is not what it was
    ├── ControlError                         the agent that runs cannot be asked, or says no
    │   ├── AgentNotRunningError   retryable nobody listens at its socket
    │   ├── AnotherAgentError                another one listens at the socket that is ours
    │   ├── AgentBusyError         retryable it has too much to do, or does not answer
    │   └── ControlNotAllowedError           only its user and group may ask
    ├── CameraError                retryable a source cannot be opened or read
    │   ├── CameraStalledError     retryable it opened, then no frame came in time
    │   └── CameraSetupError                 it can never work as configured
    ├── BrokerError                retryable the MQTT broker cannot be reached or refuses us
    ├── OutboxError                retryable what waits for the broker cannot be kept on the disk
    │   └── DamagedOutboxError               what was kept there is not what it was
    └── WorkerError                retryable a worker process failed
        ├── WorkerStartError       retryable it never became READY
        │   ├── RuntimeMissingError retryable its Python has no TensorFlow Lite runtime
        │   ├── DeviceBusyError    retryable another process holds the Edge TPU
        │   └── NoDeviceError      retryable there is no Edge TPU, or no library for it
        ├── RecoveryError          retryable a failed Edge TPU could not be reset or switched
        ├── WorkerDiedError        retryable it ended: exit status or signal
        ├── WorkerStuckError       retryable no answer before the deadline
        ├── DisagreementError      retryable the Edge TPU's answers are not the CPU's
        ├── ProtocolError          retryable it sent something that is no message
        ├── ModelRefusedError                the runtime refused the model
        ├── InferenceError                   the runtime refused one tensor; the worker lives
        └── SlotDownError                    no worker will come: the slot's model keeps killing them

An error carries its facts as attributes, a remedy in words, the exit code of a command that
ends with it, and whether trying the same again can help. This module runs on Python 3.9.
"""

from __future__ import annotations

import signal
from typing import ClassVar, Optional


class EdgeAgentError(Exception):
    """The root. ``str()`` gives one line: what happened, then the remedy where there is one."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, what: str, remedy: Optional[str] = None) -> None:
        super().__init__(what, remedy)
        self.what = one_line(what)
        self.remedy = None if remedy is None else one_line(remedy)

    def __str__(self) -> str:
        return self.what if self.remedy is None else f"{self.what}; {self.remedy}"


def one_line(text: str) -> str:
    """The text with every run of white space, line ends included, as one space.

    What cannot be shown is written as its escape: bytes of a file's name that are no UTF-8 (Python reads
    them as lone surrogates), for an error goes into messages that must be UTF-8, and control characters,
    for it goes to terminals.
    """
    words = " ".join(text.split())
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in words)


class UsageError(EdgeAgentError):
    """The command line asks for something impossible."""

    exit_code = 2


class ConfigError(EdgeAgentError):
    """The configuration cannot be used; a restart cannot heal it (exit 78, EX_CONFIG)."""

    exit_code = 78


class ImageError(EdgeAgentError):
    """A still image cannot be read."""


class DatasetError(EdgeAgentError):
    """Labelled images, or predictions for them, cannot be used as they are."""


class EvaluationError(EdgeAgentError):
    """The answers of an evaluation, or its report, cannot be kept, or read again."""


class GateError(EdgeAgentError):
    """A model is worse than a gate lets pass."""


class BundleError(EdgeAgentError):
    """A bundle cannot be used; ``digest`` (12 hex digits) names it where it could be read at all.

    ``lasting``: the same files will be refused again, whatever is configured and however busy the machine is.
    """

    lasting: ClassVar[bool] = True
    digest: Optional[str] = None


class ManifestError(BundleError):
    """cvexport.manifest is malformed or of a version that is not understood."""


class MetadataError(BundleError):
    """metadata_properties.json has a key or value that is not understood."""


class LabelsError(BundleError):
    """The labels cannot be read or do not fit the model's output."""


class UnsupportedModelError(BundleError):
    """A sound model of a kind that is not served (detection, NCHW, several inputs ...)."""


class UnsuitableError(BundleError):
    """A sound bundle that may not serve on this machine, or as it is configured."""

    lasting = False


class UnprovenError(BundleError):
    """The worker that was to try it died or gave no answer: for the bundle, or for want of memory or time."""

    lasting = False


class SignatureError(BundleError):
    """A bundle is not signed, by another key than the trusted one, or was changed since."""

    lasting = False


class ConversionError(EdgeAgentError):
    """Of a model cannot be made what was asked for: its operators, the pictures or a package are at fault."""


class RepositoryError(EdgeAgentError):
    """Installed bundles cannot be read or written: a full disk, a read-only one, another owner."""


class RepositoryBusyError(RepositoryError):
    """Another process writes to the repository; ``pid`` is that process, None where it is not known."""

    retryable = True

    def __init__(self, folder: str, pid: Optional[int]) -> None:
        by = "another process" if pid is None else f"pid {pid}"
        super().__init__(f"{folder} is in use by {by}", "wait until it is done, or ask the running agent")
        self.pid = pid


class UnknownVersionError(RepositoryError):
    """No version of that digest is installed."""


class DamagedVersionError(RepositoryError):
    """An installed version is not what it was; ``digest`` (64 hex digits) names it."""

    def __init__(self, digest: str, what: str, remedy: Optional[str] = None) -> None:
        super().__init__(what, remedy)
        self.digest = digest


class ControlError(EdgeAgentError):
    """The agent that runs cannot be asked, or it answers that something failed."""


class AgentNotRunningError(ControlError):
    """Nobody listens at the agent's socket, ``path``."""

    retryable = True

    def __init__(self, path: object) -> None:
        super().__init__(f"no agent listens at {path}", "start it: systemctl start edge-agent")
        self.path = path


class AnotherAgentError(ControlError):
    """Another agent listens at the socket: two of them cannot be told apart."""


class AgentBusyError(ControlError):
    """The agent has too much to do, or gave no answer in time."""

    retryable = True


class ControlNotAllowedError(ControlError):
    """Only the agent's own user and ``group`` may ask it; None where the group is not known."""

    def __init__(self, path: object, group: Optional[str]) -> None:
        named = group or "edge-agent"
        super().__init__(
            f"{path}: only root and the group {named} may ask the agent",
            f"use sudo, or join the group: sudo usermod -aG {named} $USER, then log in again",
        )
        self.group = group


class CameraError(EdgeAgentError):
    """A source cannot be opened or read at the moment."""

    retryable = True


class CameraStalledError(CameraError):
    """The source is open, but no frame came before the deadline."""


class CameraSetupError(CameraError):
    """The source can never work as configured; retried rarely, told loudly."""

    retryable = False


class BrokerError(EdgeAgentError):
    """The MQTT broker cannot be reached, or it refuses us."""

    retryable = True


class OutboxError(EdgeAgentError):
    """What waits for the broker cannot be kept on the disk: it is full, read-only or somebody else's."""

    retryable = True


class DamagedOutboxError(OutboxError):
    """The file of what waits for the broker, ``path``, is not what it was."""

    retryable = False

    def __init__(self, path: object, what: str) -> None:
        super().__init__(f"{path} is damaged: {what}", "check the disk, or replace the card")
        self.path = path


class WorkerError(EdgeAgentError):
    """A worker process failed."""

    retryable = True


class WorkerStartError(WorkerError):
    """The worker never became READY."""


class RuntimeMissingError(WorkerStartError):
    """The worker's Python has no TensorFlow Lite runtime, or none of the wanted name."""


class DeviceBusyError(WorkerStartError):
    """Another process holds the Edge TPU; ``pid`` is that process, None where it is not known."""

    def __init__(self, device: str, pid: Optional[int], why: str = "") -> None:
        how = f"is in use by pid {pid}" if pid is not None else f"cannot be locked ({why or 'in use'})"
        super().__init__(f"Edge TPU {device} {how}", "stop that program first, or use --device cpu")
        self.device = device
        self.pid = pid


class NoDeviceError(WorkerStartError):
    """There is no Edge TPU, none of the wanted name, or no library that could find one."""


class RecoveryError(WorkerError):
    """A rung of the recovery ladder failed: the Edge TPU could not be reset, or its port not switched."""


class WorkerDiedError(WorkerError):
    """The worker ended by itself.

    ``returncode`` is as in :class:`subprocess.Popen` (negative: the signal's number), or None
    where it could not be had; ``last_words`` is the end of what it wrote to stderr.
    """

    def __init__(self, pid: int, returncode: Optional[int], last_words: str = "") -> None:
        said = f": {last_words}" if last_words else ""
        super().__init__(f"worker {pid} ended by {ending(returncode)}{said}")
        self.pid = pid
        self.returncode = returncode
        self.last_words = last_words

    @property
    def was_killed(self) -> bool:
        """Whether somebody else ended it, or the kernel for want of memory."""
        return self.returncode == -signal.SIGKILL


class WorkerStuckError(WorkerError):
    """The worker gave no answer before the deadline and was killed."""

    def __init__(self, pid: int, timeout_s: float) -> None:
        super().__init__(f"worker {pid} gave no answer within {timeout_s:.3g} s")
        self.pid = pid
        self.timeout_s = timeout_s


class DisagreementError(WorkerError):
    """The Edge TPU's answers are not the CPU's: it must not serve.

    ``digest`` (64 hex digits) is that of the model whose answers they were, where that is known.
    """

    digest: Optional[str] = None


class ProtocolError(WorkerError):
    """What came over the socket is no message."""


class ModelRefusedError(WorkerError):
    """The runtime refused the model; the same bytes will be refused again.

    ``network`` says which of a worker's networks it was; None where that is not known.
    """

    retryable = False

    def __init__(self, what: str, remedy: Optional[str] = None, network: Optional[str] = None) -> None:
        super().__init__(what, remedy)
        self.network = network


class InferenceError(WorkerError):
    """The runtime refused this tensor; the worker lives on."""

    retryable = False


class SlotDownError(WorkerError):
    """No worker will come for this slot until its model or the configuration changes."""

    retryable = False


def ending(returncode: Optional[int]) -> str:
    """How a process ended, in words: ``exit status 3``, ``SIGABRT``."""
    if returncode is None:
        return "an unknown cause"
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
