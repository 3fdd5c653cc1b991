import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from feature_repo.contract import FeatureSpec
from training.columns import columns_of, encode, encode_table


def spec(name, kind="number", **more):
    return FeatureSpec(name=name, view="v", kind=kind, description="", unit="", **more)


COLUMNS = columns_of(
    [spec("income", risk="decreases"), spec("verified", "flag"), spec("home", "category", categories=("OWN", "RENT"))]
)


def test_columns_carry_monotone_signs_and_one_hot_names():
    assert [(c.name, c.feature, c.monotone) for c in COLUMNS] == [
        ("income", "income", -1), ("verified", "verified", 0), ("home=OWN", "home", 0), ("home=RENT", "home", 0),
    ]  # fmt: skip


def test_missing_is_nan_in_every_column_of_the_feature():
    matrix = encode(COLUMNS, {"income": [None, 5.0], "verified": [True, None], "home": [None, "RENT"]})
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, np.array([[np.nan, 1, np.nan, np.nan], [5, np.nan, 0, 1]], dtype=np.float32))


def test_an_unseen_category_is_neither_missing_nor_any_known_one():
    assert encode(COLUMNS, {"home": ["CASTLE"]})[0, 2:].tolist() == [0.0, 0.0]


def test_an_absent_feature_is_missing():
    assert np.isnan(encode(COLUMNS, {"income": [1.0]})[0, 1:]).all()


@pytest.mark.parametrize(
    "values",
    [[1, None, 3], np.array([1.0, np.nan, 3.0]), pd.array([1, None, 3], dtype="Int64"), np.array([1, None, 3], object)],
)
def test_every_way_to_write_a_nullable_integer_encodes_alike(values):
    np.testing.assert_array_equal(encode(COLUMNS, {"income": values})[:, 0], np.array([1, np.nan, 3], np.float32))


def test_a_batch_is_its_single_rows():
    values = {"income": [1.5, None, 7.25], "verified": [True, False, None], "home": ["OWN", None, "RENT"]}
    singles = [encode(COLUMNS, {k: [v[i]] for k, v in values.items()})[0] for i in range(3)]
    np.testing.assert_array_equal(encode(COLUMNS, values), np.stack(singles))


def test_an_arrow_table_encodes_as_its_values_do():
    values = {
        "income": [1.5, None, 7.25, 1e300, float("nan"), -1e300],
        "verified": [True, False, None, True, None, False],
        "home": ["OWN", None, "RENT", "CASTLE", "OWN", None],
    }
    table = pa.table({name: pa.chunked_array([pa.array(v[:2]), pa.array(v[2:])]) for name, v in values.items()})
    np.testing.assert_array_equal(encode_table(COLUMNS, table), encode(COLUMNS, values))
