"""Have the C library give large blocks back to the system as soon as they are free, where it is glibc."""

import ctypes

_M_MMAP_THRESHOLD = -3  # of mallopt(3)
_LARGE_BYTES = 2**20


def give_back_large_blocks() -> None:
    """Keep blocks from a mebibyte on apart from the heap.

    Left to itself glibc raises that border as such blocks are freed, keeps them in the heap of each thread from then
    on, and a worker that has written a few long answers holds on to what they took.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    except (AttributeError, OSError, TypeError):  # another C library: it has ways of its own
        return
