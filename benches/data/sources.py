"""Reading the sources of the public sets: NumPy archives and tables, with errors that help."""
from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from folder import ExportError

LAYOUT = "benches/data/README.md describes the files of each set and where they come from"


def read_arrays(path: Path, names: Iterable[str], per_row: str) -> dict[str, np.ndarray]:
    """The named arrays of an .npz archive, those of `per_row`'s length checked against it.

    `per_row` is the array with one entry per utterance; names that begin with `*` have a length
    of their own.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            wanted = {name.removeprefix("*"): not name.startswith("*") for name in names}
            missing = [name for name in wanted if name not in archive.files]
            if missing:
                raise ExportError(
                    f"{path} has no array `{missing[0]}`; it has {', '.join(archive.files)}", LAYOUT
                )
            arrays = {name: archive[name] for name in wanted}
    except FileNotFoundError:
        raise ExportError(f"{path} does not exist", LAYOUT) from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path} cannot be read as .npz: {error}", LAYOUT) from error
    length = len(arrays[per_row])
    for name, array in arrays.items():
        if wanted[name] and len(array) != length:
            raise ExportError(
                f"{path}: `{name}` has {len(array)} entries and `{per_row}` {length}",
                "all arrays must have one entry per utterance",
            )
    return arrays


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a .csv file with a header that has at least these columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            for column in columns:
                if column not in header:
                    raise ExportError(
                        f"{path} has no column `{column}`; it has {', '.join(header)}", LAYOUT
                    )
            return list(reader)
    except FileNotFoundError:
        raise ExportError(f"{path} does not exist", LAYOUT) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ExportError(f"{path} cannot be read as .csv: {error}", LAYOUT) from error


def whole(path: Path, line: int, column: str, cell: str) -> int:
    """A whole number from 0 of a table."""
    if not cell.strip().isdecimal():
        raise ExportError(
            f"{path}, row {line}: `{cell}` in `{column}` is not a whole number from 0", LAYOUT
        )
    return int(cell)
