import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.on_demand import affordability

number = st.none() | st.floats(-1e6, 1e7, allow_nan=False)
NAMES = ("purchase_amount", "term_months", "annual_income", "debt_to_income_ratio", "inflow_90d")
row = st.fixed_dictionaries(dict.fromkeys(NAMES, number) | {"term_months": st.none() | st.integers(-3, 120)})


def by_hand(one):
    amount, term, income, debt, inflow = (one[name] for name in NAMES)
    positive = lambda v: v is not None and v > 0  # noqa: E731
    instalment = amount * 0.0125 / (1 - 1.0125**-term) if positive(amount) and positive(term) else None
    to_income = instalment * 12 / max(income, 1) if instalment is not None and income is not None else None
    return {
        "instalment_to_income": to_income,
        "purchase_to_income": amount / max(income, 1) if positive(amount) and income is not None else None,
        "debt_to_income_after": debt + to_income if debt is not None and to_income is not None else None,
        "instalment_to_inflow": instalment * 3 / max(inflow, 1)
        if instalment is not None and inflow is not None
        else None,
    }


@given(st.lists(row, min_size=1, max_size=20))
def test_columns_equal_the_formula_row_by_row(rows):
    found = affordability({name: [one[name] for one in rows] for name in NAMES})
    for index, one in enumerate(rows):
        for name, expected in by_hand(one).items():
            value = found[name][index]
            assert (value is None) == (expected is None), name
            assert value is None or math.isclose(value, expected, rel_tol=1e-9)


@given(st.lists(row, min_size=2, max_size=8))
def test_a_batch_is_bit_for_bit_its_single_rows(rows):
    batch = affordability({name: [one[name] for one in rows] for name in NAMES})
    for index, one in enumerate(rows):
        single = affordability({name: [one[name]] for name in NAMES})
        assert {name: values[index] for name, values in batch.items()} == {name: v[0] for name, v in single.items()}


def test_declaring_no_income_never_looks_better_than_declaring_a_little():
    columns = {"purchase_amount": [3500.0] * 4, "term_months": [12] * 4, "debt_to_income_ratio": [0.2] * 4,
               "inflow_90d": [0.0, 0.5, 100.0, 6000.0], "annual_income": [0.0, 1e-35, 1000.0, 30000.0]}  # fmt: skip
    found = affordability(columns)
    for name in ("instalment_to_income", "purchase_to_income", "debt_to_income_after", "instalment_to_inflow"):
        assert found[name] == sorted(found[name], reverse=True)
        assert found[name][0] < 1e7


def test_the_source_text_that_feast_executes_stands_alone():
    import inspect

    names: dict = {}
    exec(inspect.getsource(affordability), names)
    inputs = {"purchase_amount": [1200.0], "term_months": [12], "annual_income": [30000.0],
              "debt_to_income_ratio": [0.2], "inflow_90d": [6000.0]}  # fmt: skip
    assert names["affordability"](inputs) == affordability(inputs)
    assert affordability(inputs)["instalment_to_inflow"] == [pytest.approx(0.054155, rel=1e-4)]
