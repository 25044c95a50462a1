"""Write a zip in one pass, as a stream: stored, no clock in it, no more memory than one chunk."""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say
_UNIX = 3
_READABLE = 0o644 << 16  # else what is unpacked could be read by nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of the archive; its size is stated so that one beyond 4 GiB is announced as such."""

    name: str
    size: int
    chunks: Iterable[bytes]

    @classmethod
    def of(cls, name: str, content: bytes) -> "Member":
        """Return a member that is there as a whole."""
        return cls(name=name, size=len(content), chunks=(content,))


class _Outbox:
    """A file that cannot seek, from which what was written is taken: checksums then follow each member's content."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, content: bytes) -> int:
        self._written.append(content)
        return len(content)

    def flush(self) -> None:
        """Nothing waits."""

    def take(self) -> Iterator[bytes]:
        written, self._written = self._written, []
        return filter(None, written)


def stream_zip(members: Iterable[Member]) -> Iterator[bytes]:
    """Yield the archive; the same members give the same bytes however their content is cut into chunks.

    The directory comes last: an archive that was cut off anywhere opens nowhere.
    """
    outbox = _Outbox()
    with zipfile.ZipFile(outbox, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for member in members:
            info = zipfile.ZipInfo(member.name, _EPOCH)
            info.file_size, info.create_system, info.external_attr = member.size, _UNIX, _READABLE
            with archive.open(info, "w") as stream:
                for chunk in member.chunks:
                    stream.write(chunk)
                    yield from outbox.take()
            yield from outbox.take()
    yield from outbox.take()
