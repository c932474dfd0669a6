"""What arrays hold, as numbers that nothing has changed: exact, masked cells as NaN, all else
refused by name.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

__all__ = [
    "EXACT",
    "as_array",
    "as_float64",
    "has_mask",
    "is_empty",
    "not_numbers",
    "odd_cells",
    "place",
    "plain",
    "refuse_changes",
    "refuse_mask",
    "refuse_rounding",
]

EXACT = 2**53  # float64 holds every whole number up to here
BEYOND = "is beyond 2^53, where float64 rounds whole numbers"


def not_numbers(dtype: np.dtype[Any]) -> str | None:
    """What an array of this type holds, if that is no numbers; Python objects have to be looked at
    (`odd_cells`).
    """
    return None if dtype.kind in "biufO" else f"of type {dtype}, not numbers"


def has_mask(array: Any) -> bool:
    """True if any cell of an array is masked."""
    return isinstance(array, np.ma.MaskedArray) and bool(np.ma.getmaskarray(array).any())


def plain(array: Any) -> NDArray[Any]:
    """An array without its subclass (`matrix`, `recarray`, ...), but for its mask, which becomes
    NumPy's if it is another's.
    """
    if isinstance(array, np.ma.MaskedArray):
        return array
    mask: Any = getattr(array, "mask", None)
    values = np.asarray(array)
    # astropy's Masked arrays have one
    if isinstance(mask, np.ndarray) and mask.shape == values.shape:
        return np.ma.masked_array(np.asarray(getattr(array, "unmasked", values)), mask=mask)
    return values


def as_float64(label: str, array: NDArray[Any], first: int = 0) -> NDArray[np.float64]:
    """The numbers of an array, NaN where it is masked, None, NaN or NA; int64 and uint64 beyond
    2^53 are rounded.

    Raises `DataError` where the type holds no numbers, an object is none or beyond 2^53, or an
    extended float has no float64; it counts rows from `first`.
    """
    values = np.ma.getdata(array)
    mask = np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else None
    if (words := not_numbers(values.dtype)) is not None:
        raise DataError(f"{label}: {words}; convert it to numbers, or leave it out")
    if values.dtype.kind == "O":
        numbers = _objects(label, values, mask, first=first)
    else:
        with np.errstate(over="ignore"):
            numbers = np.array(values, dtype=np.float64)
        if values.dtype.kind == "f" and values.dtype.itemsize > 8:
            _refuse_cells(
                label,
                values,
                (numbers != values) & (values == values),
                mask=mask,
                what="has no exact float64",
                first=first,
            )
    if mask is not None:
        numbers[mask] = np.nan
    return numbers


def odd_cells(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Where an array of Python objects holds neither a number nor nothing (None, NaN, NA), as a
    mask.
    """
    odd = np.fromiter((not _is_number(v) for v in array.flat), np.bool_, array.size).reshape(
        array.shape
    )
    return odd & ~np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else odd


def _is_number(value: Any) -> bool:
    return isinstance(value, (Real, Decimal, np.bool_)) or is_empty(value)


def is_empty(value: Any) -> bool:
    """None, NaN (of Decimal too), a masked cell, and pandas' NA; not NaT, which stands among
    dates.
    """
    return value is None or value is np.ma.masked or type(value).__name__ == "NAType"


def _objects(
    label: str, values: NDArray[Any], mask: NDArray[np.bool_] | None, *, first: int
) -> NDArray[np.float64]:
    odd = odd_cells(values)
    _refuse_cells(label, values, odd, mask=mask, what="is no number", first=first)
    huge = np.fromiter((_is_huge(v) for v in values.flat), np.bool_, values.size).reshape(
        values.shape
    )
    _refuse_cells(label, values, huge, mask=mask, what=BEYOND, first=first)
    skip = odd if mask is None else odd | mask
    cells = zip(values.flat, skip.flat, strict=True)
    numbers = np.fromiter(
        (np.nan if out or is_empty(v) else _float(v) for v, out in cells), np.float64, values.size
    )
    return numbers.reshape(values.shape)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return np.inf if value > 0 else -np.inf


def _refuse_cells(
    label: str,
    values: NDArray[Any],
    bad: NDArray[np.bool_],
    *,
    mask: NDArray[np.bool_] | None,
    what: str,
    first: int = 0,
) -> None:
    bad = bad if mask is None else bad & ~mask
    if not bad.any():
        return
    at = tuple(int(i[0]) for i in np.nonzero(bad))
    cell = values[at]
    shown = repr(cell.item() if isinstance(cell, np.generic) and cell.dtype.kind != "f" else cell)[
        :60
    ]
    where = place((at[0] + first, *at[1:]) if at else at)
    count = f"{np.count_nonzero(bad):,} of {bad.size:,} cells"
    raise DataError(f"{label}: {shown} in {where} {what} ({count}); {_advice(cell)}")


def _advice(cell: Any) -> str:
    if isinstance(cell, (str, bytes)):
        return "convert text with .astype(float) if it stands for numbers, or leave it out"
    if isinstance(cell, (datetime.date, datetime.timedelta, np.datetime64, np.timedelta64)):
        return "give dates as numbers, such as days since a first one"
    return "convert with .astype(float), or leave it out"


def place(index: tuple[int, ...]) -> str:
    """An index in words, counted from 0 like the array itself.

    >>> place((4, 2)), place((7,))
    ('row 4, column 2', 'row 7')
    """
    if len(index) > 2:
        return f"row {index[0]}, entry {tuple(index[1:])}"
    if len(index) == 2:
        return f"row {index[0]}, column {index[1]}"
    return f"row {index[0]}" if index else "the only cell"


def as_array(label: str, values: Any) -> NDArray[Any]:
    """NumPy's view of an array or of nested lists, masks kept. Raises `DataError` where there is
    none.
    """
    if isinstance(values, np.ndarray):
        return plain(values)
    if isinstance(values, (list, tuple)) and any(isinstance(v, np.ma.MaskedArray) for v in values):
        return np.ma.stack([np.ma.asanyarray(v) for v in values])
    if hasattr(values, "toarray"):
        raise DataError(f"{label}: a sparse matrix; give its cells with .toarray()")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError) as e:
        raise DataError(
            f"{label}: no array of numbers ({str(e).splitlines()[0][:100]}); give rows of one"
            " length"
        ) from e
    return (
        np.array(values, dtype=object)
        if array.dtype.kind in "US" and isinstance(values, (list, tuple))
        else array
    )


def refuse_rounding(label: str, array: NDArray[Any]) -> None:
    """Raise `DataError` for a whole number beyond 2^53, which float64 cannot tell from the next
    one.
    """
    values = np.ma.getdata(array)
    mask = np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else None
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        large = (values > EXACT) | (values < -EXACT) if values.dtype.kind == "i" else values > EXACT
        _refuse_cells(label, values, large, mask=mask, what=BEYOND)


def refuse_changes(label: str, values: Any) -> None:
    """Raise `DataError` where NumPy would make float64 of something else in silence: text, dates,
    masked or long numbers.
    """
    array = as_array(label, values)
    as_float64(label, array)
    refuse_rounding(label, array)
    refuse_mask(label, array)


def refuse_mask(label: str, array: Any) -> None:
    """Raise `DataError` for an array with a masked cell."""
    if has_mask(array):
        mask = np.ma.getmaskarray(array)
        first = place(tuple(int(i[0]) for i in np.nonzero(mask)))
        raise DataError(
            f"{label}: {mask.sum():,} masked cells, the first in {first}; fill them or leave their"
            " rows out"
        )


def _is_huge(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and abs(int(value)) > EXACT
