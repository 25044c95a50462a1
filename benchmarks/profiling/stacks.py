"""What a running program's threads were at: py-spy's samples, weighted by the processor time the kernel gave each.

Samples alone mislead where threads share a core: one that waits for it looks as busy as the one that has it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

REST = "HTTP and all else"
NOT_SEEN, NO_PYTHON = "not seen", "threads never found busy"
# What a stack is at is said by its innermost frame that one of these knows; the order decides within a frame.
PARTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("session (ONNX Runtime)", re.compile(r"\(onnxruntime/")),
    ("quantifier", re.compile(r"\(spect/(quantify|midline|outline|edge|features|finishing)\.py")),
    ("drift watch", re.compile(r"\(serving/drift/|\(spect/(drift|shift|profile)\.py")),
    ("draws and checks of slices", re.compile(r"\(spect/(sampling|density|intensity)\.py|\(registry/bundle/")),
    ("encoding and digest", re.compile(r"\(spect/formats/|\(serving/(encode|answers)\.py|\(zipfile\.py|\(hashlib\.py")),
    ("micro-batches", re.compile(r"\(serving/batching/")),
)
BESIDE_THE_PATH = ("quantifier", "drift watch")
DRIFT_THREAD = "synspect-drift"
# Innermost frames of threads that wait: the kernel calls some of them running because they have just been woken.
_WAITS = re.compile(
    r"(EpollSelector\.select|Condition\.wait|_worker \(concurrent/futures/thread\.py|_watch \(serving/supervised"
    r"|_wait_for_the_end)"
)
_THREAD = re.compile(r"^thread \((?P<id>\d+)\)(?:: (?P<name>.*))?$")
_NUMBER = re.compile(r"_\d+$")


Seconds = dict[str, dict[str, float]]  # of processor time, by part and thread


@dataclass(frozen=True, slots=True)
class Stack:
    """How often a thread was found at one stack of frames."""

    thread_id: int  # the kernel's
    thread: str
    frames: tuple[str, ...]  # the outermost first
    samples: int

    @property
    def is_waiting(self) -> bool:
        """Whether the thread had nothing to do."""
        return not self.frames or _WAITS.search(self.frames[-1]) is not None

    @property
    def part(self) -> str:
        """What it was at."""
        for frame in reversed(self.frames):
            for name, pattern in PARTS:
                if pattern.search(frame):
                    return name
        return REST


def parse_stacks(lines: Iterable[str]) -> list[Stack]:
    """Read py-spy's raw lines: process;thread;frame;...;frame SAMPLES. A process's command may hold semicolons."""
    stacks = []
    for line in lines:
        text, _, samples = line.rstrip().rpartition(" ")
        names = text.split(";")
        found = next(((k, match) for k, name in enumerate(names) if (match := _THREAD.match(name))), None)
        if found is None:
            raise ValueError(f"not a line of py-spy with threads: {line!r}")
        place, thread = found
        name = _NUMBER.sub("", thread["name"] or "no name")
        stacks.append(Stack(int(thread["id"]), name, tuple(names[place + 1 :]), int(samples)))
    return stacks


def share_out(stacks: Iterable[Stack], seconds: Mapping[int, float]) -> Seconds:
    """Share out each thread's processor time over what it was found at; the most expensive part first.

    `seconds` is by thread id, of every thread. That of threads never found busy, those of the runtime's own pool among
    them, which hold no Python, is `NOT_SEEN`.
    """
    busy = [stack for stack in stacks if not stack.is_waiting and stack.thread_id in seconds]
    samples: dict[int, int] = defaultdict(int)
    for stack in busy:
        samples[stack.thread_id] += stack.samples
    shared: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for stack in busy:
        taken = seconds[stack.thread_id] * stack.samples / samples[stack.thread_id]
        shared[stack.part][stack.thread] += taken
    unseen = sum(taken for thread, taken in seconds.items() if thread not in samples)
    if unseen > 0:
        shared[NOT_SEEN][NO_PYTHON] = unseen
    ordered = sorted(shared.items(), key=lambda item: -sum(item[1].values()))
    return {part: dict(threads) for part, threads in ordered}


def sum_in_the_path(shared: Seconds) -> float:
    """Return the seconds of what belongs beside the path of a request, spent in threads that are on it."""
    return sum(
        taken for part in BESIDE_THE_PATH for thread, taken in shared.get(part, {}).items() if thread != DRIFT_THREAD
    )
