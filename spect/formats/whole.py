"""How many slices a format may hold that needs all of them before its first byte: their memory grows with pixels."""

MAX_SLICES = 256  # more than an eye can use on one sheet; 84 MB of JSON
FULL_MATRIX = 128  # a sheet draws a coarser slice as large as one of this matrix


def count_most(matrix: int) -> int:
    """Return the most slices (matrix x matrix): a finer matrix leaves room for fewer."""
    return max(MAX_SLICES * FULL_MATRIX**2 // max(matrix, FULL_MATRIX) ** 2, 1)
