"""Damage any file can suffer, whatever is in it: bytes flipped, cut, repeated, moved, or overwritten."""

from collections.abc import Callable

from tests.fuzz.case import Rng

ByteMutator = Callable[[bytes, Rng], bytes]
_HEAD = 512  # where headers live; damage there is worth more than damage to a pixel
_LARGEST = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFFFFFF, 8: 2**64 - 1}


def flip_bits(content: bytes, rng: Rng) -> bytes:
    damaged = bytearray(content)
    for place in rng.integers(len(damaged), size=int(rng.integers(1, 9))):
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def flip_bits_of_the_head(content: bytes, rng: Rng) -> bytes:
    head = min(_HEAD, len(content))
    return flip_bits(content[:head], rng) + content[head:]


def overwrite_bytes_of_the_head(content: bytes, rng: Rng) -> bytes:
    damaged = bytearray(content)
    for place in rng.integers(min(_HEAD, len(damaged)), size=int(rng.integers(1, 6))):
        damaged[place] = int(rng.integers(256))
    return bytes(damaged)


def truncate(content: bytes, rng: Rng) -> bytes:
    return content[: int(rng.integers(len(content)))]


def lose_the_last_bytes(content: bytes, rng: Rng) -> bytes:
    return content[: max(0, len(content) - int(rng.integers(1, 64)))]


def extend_with_noise(content: bytes, rng: Rng) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 4096)))


def extend_with_itself(content: bytes, rng: Rng) -> bytes:
    return content + content[int(rng.integers(len(content))) :]


def swap_chunks(content: bytes, rng: Rng) -> bytes:
    if len(content) < 4:
        return content + b"?"
    first, second, third = sorted(int(place) for place in rng.integers(len(content), size=3))
    return content[:first] + content[second:third] + content[first:second] + content[third:]


def remove_a_chunk(content: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(len(content)))
    return content[:start] + content[start + int(rng.integers(1, 256)) :]


def zero_a_chunk(content: bytes, rng: Rng) -> bytes:
    start, size = int(rng.integers(len(content))), int(rng.integers(1, 256))
    return content[:start] + bytes(len(content[start : start + size])) + content[start + size :]


def absurd_number_in_the_head(content: bytes, rng: Rng) -> bytes:
    """Write an integer of the sort that overflows sizes: 0, -1, the largest, the smallest, a little above a power."""
    width = int(rng.choice([1, 2, 4, 8]))
    largest = _LARGEST[width]
    value = int(rng.choice(5))
    number = (0, largest, largest >> 1, (largest >> 1) + 1, 2 ** (4 * width) + 1)[value]
    place = int(rng.integers(max(1, min(_HEAD, len(content)) - width)))
    order = "little" if rng.integers(2) else "big"
    return content[:place] + (number & largest).to_bytes(width, order) + content[place + width :]


def nothing_but_noise(content: bytes, rng: Rng) -> bytes:
    """Keep the first bytes, by which a reader is chosen, and nothing else."""
    return content[: int(rng.integers(4, 64))] + rng.bytes(int(rng.integers(0, 2048)))


def empty(content: bytes, rng: Rng) -> bytes:
    return content[: int(rng.integers(0, 9))]


MUTATORS: tuple[ByteMutator, ...] = (
    flip_bits,
    flip_bits_of_the_head,
    overwrite_bytes_of_the_head,
    truncate,
    lose_the_last_bytes,
    extend_with_noise,
    extend_with_itself,
    swap_chunks,
    remove_a_chunk,
    zero_a_chunk,
    absurd_number_in_the_head,
    nothing_but_noise,
    empty,
)


def words(mutator: object) -> str:
    """Return a mutator's name as words."""
    return str(getattr(mutator, "__name__", mutator)).strip("_").replace("_", " ")
