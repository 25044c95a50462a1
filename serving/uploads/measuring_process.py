"""The process in which uploads are parsed and measured: it can be ended, where a thread that parses cannot.

A file made to be slow costs its time limit and this process, which the next upload starts again; one made to take
memory meets the operating system's limit on it. Nothing is pickled: bytes and JSON go in, bytes and JSON come out.
It is started with the first upload and lives on; it ends with its worker, whose end of the pipe closes.
"""

import json
import logging
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, BinaryIO

from serving.problems import KINDS, DeadlineError, find_kind
from spect.errors import FormatError, ServiceError, SynspectError

log = logging.getLogger(__name__)

_HEAD = struct.Struct(">QQQ")  # bytes of the task, of the file, of the profile
_TAIL = struct.Struct(">?Q")  # whether it was done; bytes of the answer, or of what was wrong
_MEMORY_WORDS = "the uploaded file needs more memory than one upload may take; split it"
_GRACE_SECONDS = 5.0
_PIECE_BYTES = 2**20  # of an upload on its way from the disk to the child
_ROOT = Path(__file__).resolve().parents[2]


class Stop:
    """Ends the job it is given to, from whichever thread calls it, before the job begins or while it runs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.is_called = False

    def __call__(self) -> None:
        """End the child if it is at this job, and let the job begin no more."""
        with self._lock:
            self.is_called = True
            if self._process is not None:
                self._process.kill()

    @contextmanager
    def reaching(self, process: "subprocess.Popen[bytes]") -> Iterator[None]:
        """End this child when called; the next job's child is out of reach."""
        with self._lock:
            self._process = process
            if self.is_called:
                process.kill()
        try:
            yield
        finally:
            with self._lock:
                self._process = None


class MeasuringProcess:
    """One child process, started when it is needed; one job at a time.

    `memory_bytes` bounds its address space, where the system can.
    """

    def __init__(self, *, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return None if self._process is None else self._process.pid

    def run(
        self,
        task: Mapping[str, Any],
        file: BinaryIO,
        size: int,
        profile: bytes = b"",
        *,
        seconds: float,
        give_up: Stop | None = None,
    ) -> bytes:
        """Have a task of `serving.uploads.measuring` done; return its answer. `give_up`, called, ends it.

        The `size` bytes of the uploaded file are read as they are handed over, a mebibyte at a time.

        Raises
        ------
        SynspectError
            What was wrong with the upload, of the class that its kind has in the table of problems.
        DeadlineError
            If it took longer than `seconds`; the child has been ended.
        ServiceError
            If the child ended by itself, met an error of its own, or the job was given up.
        """
        words = json.dumps({**task, "seconds": seconds}).encode()
        give_up, be_late = give_up or Stop(), Stop()
        with self._lock:
            process = self._find_process()
            timer = threading.Timer(seconds, be_late)
            timer.start()
            try:
                with give_up.reaching(process), be_late.reaching(process):
                    is_done, answer = _exchange(process, words, (file, size), profile)
            except (OSError, EOFError):
                self._forget()
                if be_late.is_called:
                    raise DeadlineError(
                        f"the upload was not measured within {seconds:.0f} s; send fewer slices at a time"
                    ) from None
                raise ServiceError("the process that measures uploads ended; the next upload starts another") from None
            finally:
                timer.cancel()
            if give_up.is_called or be_late.is_called:  # just after its answer: the child may be dying
                self._forget()
        if is_done:
            return answer
        raise _to_error(json.loads(answer))

    def close(self) -> None:
        """End the child, busy or not."""
        process = self._process
        if process is not None:
            process.kill()
            with self._lock:
                self._forget()

    def _find_process(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._forget()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "serving.uploads.measuring_process", str(self._memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=_ROOT,
            )
        return self._process

    def _forget(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):  # what was not handed over yet has nobody to go to
                        pipe.close()
            self._process = None


def _exchange(
    process: "subprocess.Popen[bytes]", words: bytes, upload: tuple[BinaryIO, int], profile: bytes
) -> tuple[bool, bytes]:
    if process.stdin is None or process.stdout is None:
        raise EOFError
    file, size = upload
    process.stdin.write(_HEAD.pack(len(words), size, len(profile)) + words)
    file.seek(0)
    shutil.copyfileobj(file, process.stdin, _PIECE_BYTES)
    process.stdin.write(profile)
    process.stdin.flush()
    is_done, length = _TAIL.unpack(_read_exactly(process.stdout, _TAIL.size))
    return is_done, _read_exactly(process.stdout, length)


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _to_error(problem: Mapping[str, str]) -> SynspectError:
    """Return the error that a kind stands for: the first class of the table with its name."""
    refusals = {kind.name: known for known, kind in reversed(KINDS) if kind.status < HTTPStatus.INTERNAL_SERVER_ERROR}
    error_class = refusals.get(problem["kind"], ServiceError)
    return error_class(problem["detail"])


def main() -> None:
    """Do jobs from standard input until it ends."""
    # Imported here: the worker, which imports this module too, needs none of it.
    from serving.uploads.measuring import TASKS, Job, Task  # noqa: PLC0415 — only in the child

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the server, which ends this process
    _limit_memory(int(sys.argv[1]))
    # What a library prints may not mix with the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while head := sys.stdin.buffer.read(_HEAD.size):
        words, content, profile = (_read_exactly(sys.stdin.buffer, size) for size in _HEAD.unpack(head))
        task = Task.model_validate_json(words)
        _set_alarm(task.seconds + _GRACE_SECONDS)
        is_done, answer = _do(TASKS[task.name], Job(task=task, content=content, profile=profile))
        _set_alarm(0)
        answers.write(_TAIL.pack(is_done, len(answer)) + answer)
        answers.flush()


def _do(work: Callable[[Any], bytes], job: object) -> tuple[bool, bytes]:
    try:
        return True, work(job)
    except MemoryError:
        error: SynspectError = FormatError(_MEMORY_WORDS)
    except SynspectError as found:
        error = found
    except Exception:
        log.exception("an upload could not be measured")
        error = ServiceError("an upload could not be measured")
    return False, json.dumps({"kind": find_kind(error).name, "detail": str(error)}).encode()


def _set_alarm(seconds: float) -> None:
    """Have the system end this process by then, should its worker have died without doing so; 0: never."""
    if hasattr(signal, "alarm"):
        signal.alarm(math.ceil(seconds))


def _limit_memory(size: int) -> None:
    try:
        import resource  # noqa: PLC0415 — not on every system
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


if __name__ == "__main__":
    main()
