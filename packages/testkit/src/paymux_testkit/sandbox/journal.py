"""Append lines to a file with one fsync per group, and say when all of them are on disk."""

import asyncio
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Callback = Callable[[], None]
_encode = json.JSONEncoder(separators=(",", ":")).encode


class JournalDamaged(Exception):
    """A line that is not the last one cannot be read: the file was changed by someone else."""


class JournalInUse(Exception):
    """Another process writes this file."""


class Journal:
    """Group lines that are written at the same time into one write and one fsync.

    All methods are called on the event loop; only the write and the fsync run in a thread, one group at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise JournalInUse(path) from None
        _sync_folder(path.parent)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="book")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting_lines: list[bytes] = []
        self._waiting_callbacks: list[Callback] = []
        self._writing_callbacks: list[Callback] = []
        self._is_writing = False

    def read(self) -> Iterator[dict[str, object]]:
        """Yield every line, and cut off a last one that a kill tore. Raises: JournalDamaged."""
        good_bytes = 0
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                entry = _entry_of(line)
                if entry is None:
                    if lines.read(1):
                        raise JournalDamaged(f"{self._path}: line {number} cannot be read")
                    break
                good_bytes += len(line)
                yield entry
        if good_bytes < self._path.stat().st_size:
            os.ftruncate(self._file, good_bytes)
            os.fsync(self._file)

    def append(self, entry: dict[str, object]) -> None:
        """Hand a line to the next group."""
        self._waiting_lines.append(_encode(entry).encode() + b"\n")
        if not self._is_writing:
            # Not at once: everything that arrives in this turn of the loop joins the group.
            self._is_writing = True
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._write_group)

    def when_durable(self, callback: Callback) -> None:
        """Call back once every line appended so far is on disk: now, if it already is."""
        if self._waiting_lines:
            self._waiting_callbacks.append(callback)
        elif self._is_writing:
            self._writing_callbacks.append(callback)
        else:
            callback()

    def close(self) -> None:
        """Write what is left and give up the file. Nobody is called back."""
        self._thread.shutdown(wait=True)
        _write_durably(self._file, b"".join(self._waiting_lines))
        self._waiting_lines = []
        os.close(self._file)

    def _write_group(self) -> None:
        assert self._loop is not None
        group = b"".join(self._waiting_lines)
        self._writing_callbacks, self._waiting_callbacks = self._waiting_callbacks, []
        self._waiting_lines = []
        written = self._loop.run_in_executor(self._thread, _write_durably, self._file, group)
        written.add_done_callback(self._group_written)

    def _group_written(self, written: asyncio.Future[None]) -> None:
        if written.cancelled():
            return
        failure = written.exception()
        if failure is not None:
            # What is on disk is unknown after a failed fsync. Nobody may be answered any more.
            sys.stderr.write(f"sandbox: the book cannot be written: {failure}\n")
            sys.stderr.flush()
            os._exit(1)
        callbacks, self._writing_callbacks = self._writing_callbacks, []
        if self._waiting_lines:
            self._write_group()
        else:
            self._is_writing = False
        for callback in callbacks:
            callback()


def _entry_of(line: bytes) -> dict[str, object] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _write_durably(file: int, group: bytes) -> None:
    rest = memoryview(group)
    while rest:
        rest = rest[os.write(file, rest) :]
    if group:
        os.fsync(file)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
