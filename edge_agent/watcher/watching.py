"""The thread that looks: woken by inotify, and every few seconds in any case."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.watcher.drives import OnDrives, inboxes
from edge_agent.watcher.fingerprints import folders_of, is_being_written, look_at
from edge_agent.watcher.inbox import candidates, newest
from edge_agent.watcher.settling import Candidate, Settling
from edge_agent.watcher.stillness import LOOKS_PER_SETTLING, SETTLE_S

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""What inotify cannot tell is seen by a look: a drive mounted on a watched path, a network share that another
machine writes to, a write through mmap."""

REST = 20
"""After a look it rests so many times as long as the look took: 5 % of a core at most."""

MAX_WATCHED_FOLDERS = 256
"""inotify allows a user 8,192 on small boards, for all programs."""

_STEP_MS = 100
"""watchfiles looks so often whether it heard something, and whether it is to stop."""

LONG_LOOK_S = 60.0
"""A drive that fails answers with an error after some 30 s; a share whose server is gone does not at all."""

_CLOSE_S = 0.5


class Watcher:
    """Tells which candidates are new or changed, and stand still.

    Everything else happens in its thread, which begins with the first :meth:`watch`.
    """

    def __init__(self, wake: Callable[[], None], clock: Clock, settle_s: float = SETTLE_S) -> None:
        """``wake`` is called from the thread when there is something in :meth:`settled`."""
        self._wake = wake
        self._clock = clock
        self._beat_s = settle_s / LOOKS_PER_SETTLING
        self._settling = Settling(settle_s)
        self._bundles: Mapping[str, Path] = {}
        self._inboxes: Mapping[str, Path] = {}
        self._drives: Mapping[str, OnDrives] = {}
        self._told: queue.SimpleQueue[Candidate] = queue.SimpleQueue()
        self._interrupted = threading.Event()
        self._closed = False
        self._is_deaf = False
        self._due_s = self._rested_s = 0.0
        self._thread: threading.Thread | None = None
        self._ended: str | None = None
        self._crowded: Mapping[Path, str] = {}
        self._look_began_s: float | None = None
        self.is_restless = True
        """Whether there is something yet to be told, as far as it was looked at."""

    @property
    def fault(self) -> str | None:
        """What is wrong: its thread has ended, a look does not, or an inbox holds more than is looked at."""
        began_s = self._look_began_s
        if began_s is not None and self._now_s() - began_s > LONG_LOOK_S:
            drives = {each.mounts for each in self._drives.values()}
            places = ", ".join(map(str, (*self._bundles.values(), *self._inboxes.values(), *drives)))
            return f"no new model is seen at {places}: what is mounted there does not answer; unmount it"
        return self._ended or "; ".join(self._crowded.values()) or None

    def watch(
        self,
        bundles: Mapping[str, Path],
        inboxes: Mapping[str, Path] | None = None,
        drives: Mapping[str, OnDrives] | None = None,
    ) -> None:
        """From now on watch these, each under the name of its way in; what is still among them is not told
        again. Neither they nor their parents need exist.

        At the end of a way of ``bundles`` lies one bundle: a folder, zip or ``.tflite``. In a folder of
        ``inboxes`` each of them is a candidate of its own, and so it is in those that ``drives`` bring.
        """
        self._bundles, self._inboxes, self._drives = dict(bundles), dict(inboxes or {}), dict(drives or {})
        self._interrupted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
            self._thread.start()

    def settled(self) -> list[Candidate]:
        """(way, path) of each candidate that is new or changed since it was last told, and has stood still
        since; never blocks.
        """
        told = []
        with contextlib.suppress(queue.Empty):
            while True:
                told.append(self._told.get_nowait())
        return told

    def close(self) -> None:
        """End the thread, in half a second; one that a dead network share holds is left behind."""
        self._closed = True
        self._interrupted.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            while not self._closed:
                self._interrupted.clear()
                if not self._closed:
                    self._listen()
        except Exception as error:  # the top of a thread
            logger.exception("the watcher ended")
            self._ended = f"new models are not seen any more: {error!r}"
            self._wake()

    def _listen(self) -> None:
        """Look whenever it is time, until other folders are to be listened to."""
        self._look_began_s = self._now_s()
        folders = self._folders()
        self._look_began_s = None
        self._due_s = 0.0  # what changed before we listened is seen by a look after it
        for heard in self._beats([folder for folder in folders if _is_text(folder)]):
            if self._is_time(heard) and self._look() != folders:
                return

    def _beats(self, folders: list[str]) -> Iterator[bool]:
        """Several times per ``settle_s``: whether something was heard of.

        Ends when interrupted, and some time after nothing could be heard, for that may be over: watchfiles
        gives up for want of inotify, but also at a file's name that is no UTF-8.
        """
        try:
            if folders:
                yield from self._heard(folders)
        except FileNotFoundError:
            logger.debug("a watched folder has just gone")
        except (OSError, RuntimeError) as error:
            level = logging.DEBUG if self._is_deaf else logging.WARNING
            self._is_deaf = True
            logger.log(level, "inotify cannot be had, so a look every %g s it is: %s", LOOK_EVERY_S, error)
        again_s = self._now_s() + LOOK_EVERY_S
        while self._now_s() < again_s and not self._interrupted.wait(self._beat_s):
            yield False

    def _heard(self, folders: list[str]) -> Iterator[bool]:
        """As :meth:`_beats`. Raises OSError or RuntimeError where the system has no inotify to give."""
        import watchfiles  # 40 ms, which no start should wait for

        beat_ms = int(self._beat_s * 1e3)
        changes = watchfiles.watch(
            *folders,
            watch_filter=None,
            debounce=beat_ms,
            step=min(_STEP_MS, beat_ms),
            rust_timeout=beat_ms,
            yield_on_timeout=True,
            stop_event=self._interrupted,
            force_polling=False,
            recursive=False,
            raise_interrupt=False,
            ignore_permission_denied=True,
        )
        with contextlib.closing(changes):
            for change in changes:
                yield bool(change)

    def _is_time(self, heard: bool) -> bool:
        """Whether a look is due: at its time, or because of what was heard, but never without a rest."""
        if heard:
            self._due_s = min(self._due_s, self._rested_s)
        return self._now_s() >= max(self._due_s, self._rested_s)

    def _look(self) -> dict[str, tuple[int, int]]:
        """Look at all candidates, and give the folders that are to be listened to."""
        began_s = self._look_began_s = self._now_s()
        found = self._candidates()
        self._settling.keep(found)
        due = [each for each in found if self._settling.is_due(each, look_at(each[1]), began_s)]
        for way, path in sorted(due, key=lambda each: _arrived_ns(each[1])):
            if not is_being_written(path):
                self._settling.tell((way, path))
                self._told.put((way, path))
                self._wake()
        folders = self._folders()
        ended_s, self._look_began_s = self._now_s(), None
        self._rested_s = ended_s + max(REST * (ended_s - began_s), self._beat_s / 2)
        self.is_restless = self._settling.is_restless
        self._due_s = self._rested_s if self.is_restless else ended_s + LOOK_EVERY_S
        return folders

    def _candidates(self) -> list[Candidate]:
        """What exists at the end of each way."""
        crowded: dict[Path, str] = {}
        found = [(way, path) for way, path in self._bundles.items() if _is_there(path)]
        for way, inbox in self._all_inboxes():
            there = candidates(inbox)
            looked_at = newest(there)
            found += [(way, path) for path in looked_at]
            if len(there) > len(looked_at):
                crowded[inbox] = (
                    f"{inbox} holds {len(there)} bundles, and only the {len(looked_at)} newest are looked "
                    "at: remove those that are not needed"
                )
        for inbox in crowded.keys() - self._crowded.keys():
            logger.warning("%s", crowded[inbox])
        self._crowded = crowded
        return found

    def _all_inboxes(self) -> list[Candidate]:
        """Those of the drives that are mounted at the moment included."""
        brought = [(way, inbox) for way, place in self._drives.items() for inbox in inboxes(place)]
        return [*self._inboxes.items(), *brought]

    def _folders(self) -> dict[str, tuple[int, int]]:
        """Device and inode of each folder in which something can happen to a candidate."""
        told: dict[str, tuple[int, int]] = {}
        paths = [*self._bundles.values(), *(inbox for _, inbox in self._all_inboxes())]
        folders = [folder for path in paths for folder in _folders_around(path)]
        for folder in (*folders, *{_nearest_folder(place.mounts / "any") for place in self._drives.values()}):
            # It may have gone meanwhile; the next look sees that.
            with contextlib.suppress(OSError):
                status = os.stat(folder)  # noqa: PTH116
                told[folder] = (status.st_dev, status.st_ino)
        return dict(list(told.items())[:MAX_WATCHED_FOLDERS])

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9


def _arrived_ns(path: Path) -> int:
    """Of what comes together the last is told last, and serves: copies keep the time of what they are of, so
    it is that of the entry. Unix time; 0 where nobody knows.
    """
    try:
        return os.stat(path).st_ctime_ns  # noqa: PTH116
    except (OSError, ValueError):
        return 0


def _is_there(path: Path) -> bool:
    """Also where only the system knows: what may not be looked at, or lies on a dead mount, is told."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def _is_text(path: str) -> bool:
    """Whether it is UTF-8: watchfiles takes no other name."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _folders_around(path: Path) -> list[str]:
    """Those above it, as it is named and where links lead, and those of which it consists."""
    parents = [_nearest_folder(path), _nearest_folder(Path(os.path.realpath(path)))]
    return [*parents, *folders_of(path, MAX_WATCHED_FOLDERS)]


def _nearest_folder(path: Path) -> str:
    """The folder that holds it, or would if there were one."""
    # Path.is_dir() raises where a folder may not be looked into, or its drive is dead.
    return next((str(parent) for parent in path.absolute().parents if os.path.isdir(parent)), "/")  # noqa: PTH112
