"""Damaged labels: cells that say nonsense, rows and columns lost, added or endless, other encodings."""

from collections.abc import Callable
from functools import cache

import nibabel
import numpy as np

from tests.fuzz.case import Case, Rng
from tests.fuzz.phantoms import AFFINE, head_volume
from tests.fuzz.raw_bytes import MUTATORS as BYTE_MUTATORS
from tests.fuzz.raw_bytes import words

Table = list[list[str]]
TableMutator = Callable[[Table, Rng], Table]
_CELLS = (
    "", " ", "norml", "NORMAL", "CER", "bilateral", "TOP", "-1", "nan", "inf", "1e400", "0", "../a.nii", "/etc/passwd",
    "a.nii", "b.nii", "c.nii", "more", ".", "x" * 2000, "x" * 200_000, "=1+1", '"', 'a"b', "\0", "\ud7ff", "Jürgen",
    "a\nb", "image-left", "left", "1,5", "9" * 5000, "\u202eevil", "\x1b[31m",
)  # fmt: skip


def _sound_table() -> Table:
    return [
        ["file", "pattern", "level", "patient", "cer_mm", "bg_mm", "cor_mm"],
        ["a.nii", "normal", "", "A-1", "", "", ""],
        ["more/b.nii", "unilateral", "COR", "B-2", "-30", "0", "30"],
    ]


@cache
def _volume(seed: int) -> bytes:
    encoded: bytes = nibabel.Nifti1Image(head_volume(np.random.default_rng(seed)), AFFINE).to_bytes()
    return encoded


def a_strange_cell(table: Table, rng: Rng) -> Table:
    for _ in range(int(rng.integers(1, 4))):
        row = table[int(rng.integers(1, len(table)))]
        row[int(rng.integers(len(row)))] = str(rng.choice(_CELLS))
    return table


def a_strange_header(table: Table, rng: Rng) -> Table:
    table[0][int(rng.integers(len(table[0])))] = str(
        rng.choice([*_CELLS, *table[0], "FILE", " file ", "left", "\ufefffile"])
    )
    return table


def a_cell_lost_or_added(table: Table, rng: Rng) -> Table:
    row = table[int(rng.integers(len(table)))]
    if rng.integers(2):
        row.pop(int(rng.integers(len(row))))
    else:
        row.insert(int(rng.integers(len(row) + 1)), str(rng.choice(_CELLS)))
    return table


def rows_lost_or_doubled(table: Table, rng: Rng) -> Table:
    kept = [row for row in table if rng.integers(3)]
    return kept + [list(row) for row in kept[1:]] * int(rng.integers(3))


def very_many_rows(table: Table, rng: Rng) -> Table:
    rows = [[f"{number}.nii", "normal", "", "x", "", "", ""] for number in range(int(rng.choice([300, 20_000])))]
    return table + rows


def very_many_columns(table: Table, rng: Rng) -> Table:
    return [row + ["x"] * int(rng.choice([1, 50_000])) for row in table]


def columns_in_another_order(table: Table, rng: Rng) -> Table:
    """Sound, if unusual: columns as they come, empty rows between."""
    order = rng.permutation(len(table[0]))
    shuffled = [[row[column] for column in order] for row in table]
    return shuffled + [[""] * len(order)] * int(rng.integers(4))


TABLE_MUTATORS: tuple[TableMutator, ...] = (
    a_strange_cell,
    a_strange_cell,
    columns_in_another_order,
    columns_in_another_order,
    a_strange_header,
    a_cell_lost_or_added,
    rows_lost_or_doubled,
    very_many_rows,
    very_many_columns,
)


def _text(table: Table, separator: str = ",") -> str:
    return "".join(separator.join(row) + "\n" for row in table)


def labels_case(rng: Rng) -> Case:
    """Two sound volumes and a labels file with one damage."""
    choices = (*TABLE_MUTATORS, *TABLE_MUTATORS, *BYTE_MUTATORS)
    mutator = choices[int(rng.integers(len(choices)))]
    if mutator in TABLE_MUTATORS:
        encodings = ("utf-8",) * 12 + ("utf-8-sig", "utf-16", "latin-1", "cp037")
        separator = ";" if rng.integers(20) == 0 else ","
        text = _text(mutator(_sound_table(), rng), separator)  # type: ignore[arg-type]
        damaged = text.encode(encodings[int(rng.integers(len(encodings)))], "replace")
    else:
        damaged = mutator(_text(_sound_table()).encode(), rng)  # type: ignore[arg-type]
    scans = {"a.nii": _volume(0), "more/b.nii": _volume(1)}
    return Case(scans=scans, labels=damaged, how=words(mutator), whole_directory=True)
