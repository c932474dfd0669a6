"""Whatever holds rows is used exactly, or refused by name: masks, odd types, frames, tensors,
wherever rows come in.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

import diffeo
from diffeo.core.errors import DataError, DiffeoError
from diffeo.core.tensors import to_tensor
from diffeo.data import read_table

ROWS = 60
BIG = 2**53 + 1
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


def numbers(columns: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, columns))


def counts() -> np.ndarray:
    return np.arange(ROWS) % 7


def masked() -> np.ma.MaskedArray:
    """Two masked cells over the fill value of netCDF."""
    x, mask = numbers(), np.zeros((ROWS, 2), bool)
    mask[3, 1] = mask[20, 0] = True
    return np.ma.masked_array(np.where(mask, 9.97e36, x), mask=mask)


def flow(columns: int = 2) -> diffeo.Flow:
    return diffeo.models.nsf((columns,), layers=2, hidden=(8,))


# ---------------------------------------------------------------- masks


def structured_mask() -> np.ma.MaskedArray:
    table = np.ma.zeros(ROWS, dtype=[("a", float), ("n", int)])
    table["a"], table["n"] = numbers(1)[:, 0], counts()
    table["n"][3] = table["a"][20] = np.ma.masked
    return table


MASKED: dict[str, Callable[[], Any]] = {
    "floats": masked,
    "float32": lambda: masked().astype(np.float32),
    "whole numbers": lambda: np.ma.masked_array(
        np.c_[counts(), counts()[::-1]], mask=masked().mask
    ),
    "hard mask": lambda: masked().harden_mask(),
    "structured": structured_mask,
    "objects": lambda: masked().astype(object),
}


@pytest.mark.parametrize("case", MASKED)
def test_masked_cells_are_empty_cells(case: str) -> None:
    table = read_table(MASKED[case](), max_bad=0.1)
    assert (table.intake.total, table.intake.kept, table.intake.nonfinite) == (ROWS, ROWS - 2, 2)
    assert np.abs(table.values).max() < 10
    if case == "whole numbers":
        assert table.schema.supports == ("integer", "integer")


def test_a_mask_without_masked_cells_changes_nothing() -> None:
    x = numbers()
    for mask in (np.ma.nomask, np.zeros(x.shape, bool)):
        np.testing.assert_array_equal(read_table(np.ma.masked_array(x, mask=mask)).values, x)


@pytest.mark.parametrize(
    "use",
    [
        lambda x: diffeo.fit(flow(), x, steps=2),
        lambda x: diffeo.fit(flow(), numbers(), steps=2, valid=x),
        lambda x: diffeo.fit(
            diffeo.models.nsf((2,), (2,), layers=2, hidden=(8,)), numbers(), x, steps=2
        ),
        lambda x: diffeo.FlowEstimator(fit_args={"steps": 2}).fit(x),
        lambda x: diffeo.training.evaluate(flow(), x),
        lambda x: diffeo.infer(lambda u: -u.square().sum(1), 2, steps=2, samples=100, reference=x),
    ],
    ids=["fit", "valid", "context", "estimator", "evaluate", "reference"],
)
def test_masked_cells_are_named_where_rows_must_be_whole(use: Callable[[Any], Any]) -> None:
    with pytest.raises(DataError, match=r"row 3"):
        use(masked())


def test_masked_cells_make_no_density() -> None:
    bad = [3, 20]
    scores = diffeo.training.log_probs(flow(), masked())
    assert scores.isnan().nonzero().flatten().tolist() == bad
    assert diffeo.check(flow(), masked()).non_finite == 2
    with pytest.raises(DataError, match="2 masked cells"):
        diffeo.FlowEstimator(fit_args={"steps": 2}).fit(numbers()).score_samples(masked())


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([numbers(), masked()], "batch 1: has masked cells"),
        ([masked()], "batch 0: has masked cells"),
        (
            [torch.tensor([[1.0, np.nan], [2.0, 3.0]])],
            "batch 0, row 0, column 1: not a finite number",
        ),
    ],
)
def test_a_stream_of_masked_or_empty_cells_is_refused(batches: list[Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        diffeo.fit(flow(), batches, steps=4, valid=None)


# ---------------------------------------------------------------- types of arrays


USED: dict[str, Callable[[], Any]] = {
    "float16": lambda: numbers().astype(np.float16),
    "big-endian": lambda: numbers().astype(">f8"),
    "backwards": lambda: numbers()[::-1],
    "exact longdouble": lambda: numbers().astype(np.longdouble),
    "bool": lambda: numbers() > 0,
    "uint64": lambda: np.c_[counts(), counts()[::-1]].astype(np.uint64),
    "matrix": lambda: np.asmatrix(numbers()),
    "objects": lambda: np.array([[1, Decimal("2.5")], [3.5, np.float32(0.5)]] * 30, dtype=object),
    "tensor": lambda: torch.tensor(numbers()),
    "tensor with gradient": lambda: torch.tensor(numbers(), requires_grad=True),
    "bfloat16": lambda: torch.tensor(numbers()).bfloat16(),
    "negated view": lambda: (
        torch.complex(torch.tensor(numbers()), torch.tensor(numbers())).conj().imag
    ),
}


def values_of(data: Any) -> np.ndarray:
    if isinstance(data, torch.Tensor):
        return data.detach().resolve_neg().double().numpy()
    return np.asarray(data, dtype=np.float64)


@pytest.mark.parametrize("case", USED)
def test_arrays_of_numbers_are_used_as_they_are(case: str) -> None:
    data = USED[case]()
    np.testing.assert_array_equal(read_table(data).values, values_of(data))
    np.testing.assert_array_equal(to_tensor("x", data).double().numpy(), values_of(data))
    diffeo.fit(flow(), data, steps=2)


def to_sparse(x: np.ndarray) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix(x)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "complex": (lambda: numbers() * 1j, "complex128, not numbers"),
    "dates": (lambda: np.array([["2020-01-01"]] * ROWS, dtype="M8[D]"), "datetime64"),
    "time spans": (lambda: np.ones((ROWS, 2), dtype="m8[s]"), "timedelta64"),
    "text": (lambda: numbers().astype(str), "not numbers"),
    "text objects": (
        lambda: np.array([[1, "7"]] * ROWS, dtype=object),
        f"{ROWS}.* of .* cells.*'7'|'7'.*{ROWS} of",
    ),
    "long floats": (lambda: numbers().astype(np.longdouble) / 3, "no exact float64"),
    "long integers": (lambda: np.c_[counts(), counts() + BIG], "2\\^53"),
    "one long integer": (
        lambda: np.where(np.arange(2 * ROWS) == 5, BIG, np.arange(2 * ROWS)).reshape(-1, 2),
        "2\\^53",
    ),
    "uint64": (lambda: np.c_[counts(), counts()].astype(np.uint64) + np.uint64(2**63), "2\\^53"),
    "long objects": (lambda: np.array([[1, 2**70], [2, 3]] * 30, dtype=object), "2\\^53"),
    "sparse matrix": (lambda: to_sparse(numbers()), r"\.toarray\(\)"),
    "sparse tensor": (lambda: torch.tensor(numbers()).to_sparse(), r"\.to_dense\(\)"),
    "complex tensor": (lambda: torch.tensor(numbers() * 1j).conj(), "complex numbers"),
    "meta tensor": (lambda: torch.empty(ROWS, 2, device="meta"), "meta device"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize(
    "read", [read_table, lambda x: diffeo.fit(flow(), x, steps=2)], ids=["table", "fit"]
)
def test_other_arrays_are_refused_by_name(case: str, read: Callable[[Any], Any]) -> None:
    build, words = REFUSED[case]
    with pytest.raises(DataError, match=words) as caught:
        read(build())
    assert "\n" not in str(caught.value)


def test_structured_arrays_with_rows_in_a_field() -> None:
    with pytest.raises(DataError, match=r"'a' is of \(3,\) numbers in each row"):
        read_table(np.zeros(9, dtype=[("a", float, (3,)), ("b", float)]))


def test_nested_lists() -> None:
    assert to_tensor("x", [[1, 2.5], [3, None]]).tolist()[0] == [1, 2.5]
    with pytest.raises(DataError, match=r"row 1, column 0.*not a finite number"):
        diffeo.fit(flow(), [[1.0, 2.0], [None, 1.0], [2.0, 3.0]], steps=2)
    for rows, words in (
        ([[1, 2], [1]], "rows of one length"),
        ([["1", 2], [3, 4]], "'1' in row 0"),
        ([[BIG, 1]] * 3, "2\\^53"),
    ):
        with pytest.raises(DataError, match=words):
            diffeo.fit(flow(), rows, steps=2)


def test_other_array_likes() -> None:
    class Grid:  # as xarray's: an array for whoever asks
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return numbers()

    np.testing.assert_array_equal(read_table(Grid()).values, numbers())
    diffeo.fit(flow(), Grid(), steps=2)


# ---------------------------------------------------------------- data frames


def frame(**columns: Any) -> Any:
    return pd.DataFrame({"a": numbers()[:, 0], **columns})


FRAMES: dict[str, tuple[Callable[[], Any], list[float] | np.ndarray, str]] = {
    "series": (lambda: pd.Series(numbers()[:, 1], name="c"), numbers()[:, 1], "real"),
    "sparse": (lambda: frame(c=pd.arrays.SparseArray(counts())), counts(), "integer"),
    "Int64": (
        lambda: frame(c=pd.array([None, *counts()[1:]], dtype="Int64")),
        counts()[1:],
        "integer",
    ),
    "Float64": (
        lambda: frame(c=pd.array([None, *numbers()[1:, 1]], dtype="Float64")),
        numbers()[1:, 1],
        "real",
    ),
    "boolean": (
        lambda: frame(c=pd.array([None, *(counts()[1:] > 3)], dtype="boolean")),
        counts()[1:] > 3,
        "integer",
    ),
    "objects": (
        lambda: frame(c=pd.Series([None, *counts()[1:]], dtype=object)),
        counts()[1:],
        "integer",
    ),
    "NA objects": (
        lambda: frame(c=pd.Series([pd.NA, *numbers()[1:, 1]], dtype=object)),
        numbers()[1:, 1],
        "real",
    ),
    "decimals": (lambda: frame(c=[Decimal("0.1"), Decimal("2.7")] * 30), [0.1, 2.7] * 30, "real"),
    "arrow": (
        lambda: frame(c=pd.array(numbers()[:, 1], dtype="double[pyarrow]")),
        numbers()[:, 1],
        "real",
    ),
    "float16": (
        lambda: frame(c=numbers()[:, 1].astype("f2")),
        numbers()[:, 1].astype("f2"),
        "real",
    ),
    "polars": (
        lambda: pl.DataFrame({"a": numbers()[:, 0], "c": [None, *counts()[1:].tolist()]}),
        counts()[1:],
        "integer",
    ),
    "polars series": (lambda: pl.Series("c", numbers()[:, 1]), numbers()[:, 1], "real"),
}


@pytest.mark.parametrize("case", FRAMES)
def test_columns_of_frames_are_used_exactly(case: str) -> None:
    build, expected, support = FRAMES[case]
    table = read_table(build(), max_bad=0.1)
    column = table.schema.names.index("c")
    np.testing.assert_array_equal(table.values[:, column], np.asarray(expected, float))
    assert table.schema.supports[column] == support
    assert table.intake.total == ROWS


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (lambda: pd.Categorical(counts()), "categories"),
        (lambda: pd.date_range("2020", periods=ROWS), "datetime64"),
        (lambda: pd.date_range("2020", periods=ROWS, tz="UTC"), "not numbers"),
        (lambda: pd.to_timedelta(counts()), "timedelta64"),
        (lambda: pd.period_range("2020", periods=ROWS, freq="D"), "not numbers"),
        (lambda: ["x", *counts()[1:]], "1 of 60 cells, first 'x' in row 1"),
        (lambda: counts().astype(str), "60 of 60 cells"),
        (lambda: numbers()[:, 1] * 1j, "complex128"),
        (lambda: counts() + BIG, "2\\^53"),
        (lambda: pd.array([None, *(counts()[1:] + BIG)], dtype="Int64"), "2\\^53"),
        (lambda: numbers()[:, 1].astype(np.longdouble) / 3, "no exact float64"),
    ],
)
def test_other_columns_of_frames_are_named(column: Callable[[], Any], words: str) -> None:
    with pytest.raises(DataError, match=rf"'c'.*{words}"):
        read_table(frame(c=column()), max_bad=0.1)


def test_an_index_is_no_column_and_is_mentioned() -> None:
    for index, words in (
        (pd.Index(range(9, 9 + ROWS), name="id"), "'id'"),
        (pd.Index(numbers()[:, 1]), "the index was"),
    ):
        table = read_table(frame().set_index(index))
        assert table.schema.names == ("a",)
        assert words in "\n".join(table.describe())
    assert read_table(frame()[::2]).notes == ()


def test_whole_numbers_of_2_to_the_53_may_be_declared_real() -> None:
    column = counts() + BIG
    table = read_table(frame(c=column), columns={"c": "real"})
    np.testing.assert_array_equal(table.values[:, 1], column.astype(float))


# ---------------------------------------------------------------- the estimator


@pytest.mark.parametrize(
    "rows",
    [
        numbers().astype(str),
        numbers().astype(str).astype(object),
        np.array([["2020-01-01"]] * ROWS, dtype="M8[s]"),
        np.c_[counts(), counts() + BIG],
        pd.DataFrame({"c": pd.Categorical(counts())}),
        pd.DataFrame({"c": pd.date_range("2020", periods=ROWS)}),
        pd.DataFrame({"c": counts() + BIG}),
        pd.DataFrame({"c": counts().astype(str)}),
    ],
    ids=[
        "text",
        "objects",
        "dates",
        "long",
        "categories",
        "frame of dates",
        "frame of long",
        "frame of text",
    ],
)
def test_the_estimator_takes_nothing_for_numbers(rows: Any) -> None:
    with pytest.raises(DataError):
        diffeo.FlowEstimator(fit_args={"steps": 2}).fit(rows)


@pytest.mark.parametrize(
    "rows", [pd.DataFrame(numbers(), columns=["a", "b"]), pl.DataFrame({"a": numbers()[:, 0]})]
)
def test_the_estimator_keeps_names(rows: Any) -> None:
    est = diffeo.FlowEstimator(fit_args={"steps": 2}).fit(rows)
    assert list(est.feature_names_in_) == list(rows.columns)
    assert est.score_samples(rows).shape == (ROWS,)


def test_the_estimator_takes_tensors() -> None:
    x = torch.tensor(numbers())
    expected = diffeo.FlowEstimator(fit_args={"steps": 2}).fit(numbers()).score_samples(numbers())
    for rows in (x, x.clone().requires_grad_()):
        np.testing.assert_array_equal(
            diffeo.FlowEstimator(fit_args={"steps": 2}).fit(rows).score_samples(rows), expected
        )


@pytest.mark.parametrize(
    "state", [np.random.RandomState, np.random.default_rng], ids=["RandomState", "Generator"]
)
def test_random_states_are_repeatable_and_go_on(state: Callable[[int], Any]) -> None:
    def drawn() -> tuple[np.ndarray, np.ndarray]:
        est = diffeo.FlowEstimator(fit_args={"steps": 2}, random_state=state(0)).fit(numbers())
        return est.sample(5), est.sample(5)

    (first, second), (again, _) = drawn(), drawn()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    est = diffeo.FlowEstimator(fit_args={"steps": 2}).fit(numbers())
    np.testing.assert_array_equal(est.sample(5, state(1)), est.sample(5, state(1)))


def test_no_random_state_and_a_wrong_one() -> None:
    est = diffeo.FlowEstimator(fit_args={"steps": 2}, random_state=None).fit(numbers())
    assert not np.array_equal(est.sample(5), est.sample(5))
    with pytest.raises(DiffeoError, match="random_state='a'"):
        diffeo.FlowEstimator(random_state="a").fit(numbers())
