import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import shap
import xgboost

from feature_repo.errors import GateError, InputError
from training.reference_shap import ShapTables
from training.shap_check import check_tables
from training.shap_tables import compile_tables


@pytest.fixture(scope="module")
def tables(fitted):
    booster, x, _, _ = fitted
    return compile_tables(bytes(booster.save_raw("json")), x[1000:1250])


def test_scores_are_xgboosts_own_to_float32(tables, fitted):
    _, x, _, margins = fitted
    np.testing.assert_allclose(tables.margins(x), margins, atol=1e-5)


def test_impacts_equal_shaps_interventional_values_with_missing_data(tables, fitted):
    booster, x, _, _ = fitted
    background = x[1000:1250].astype(np.float64)
    masker = shap.maskers.Independent(background, max_samples=len(background))
    explainer = shap.TreeExplainer(booster, data=masker, feature_perturbation="interventional")
    rows = x[:300]
    assert np.isnan(rows).any()
    np.testing.assert_allclose(tables.explain(rows)[1], explainer.shap_values(rows), atol=1e-6)


def test_impacts_equal_the_definition_of_the_shapley_value(tables, fitted):
    _, x, _, _ = fitted
    background, row, k = x[1000:1250], x[0], x.shape[1]

    def game(chosen):
        mixed = background.copy()
        mixed[:, list(chosen)] = row[list(chosen)]
        return tables.margins(mixed).mean()

    value = {s: game(s) for size in range(k + 1) for s in itertools.combinations(range(k), size)}
    for j in range(k):
        others = [i for i in range(k) if i != j]
        expected = sum(
            math.factorial(len(s)) * math.factorial(k - len(s) - 1) / math.factorial(k)
            * (value[tuple(sorted((*s, j)))] - value[s])
            for size in range(k) for s in itertools.combinations(others, size)
        )  # fmt: skip
        assert tables.explain(row[None])[1][0, j] == pytest.approx(expected, abs=1e-9)


def test_impacts_add_up_to_the_distance_from_the_reference(tables, fitted):
    _, x, _, _ = fitted
    margin, impact = tables.explain(x[:200])
    np.testing.assert_allclose(tables.reference_margin + impact.sum(axis=1), margin, atol=1e-12)
    assert tables.reference_margin == pytest.approx(tables.margins(x[1000:1250]).mean())


def test_a_batch_is_bit_for_bit_its_single_rows(tables, fitted):
    _, x, _, _ = fitted
    margin, impact = tables.explain(x[:50])
    for i in range(50):
        one_margin, one_impact = tables.explain(x[i : i + 1])
        assert one_margin[0] == margin[i]
        np.testing.assert_array_equal(one_impact[0], impact[i])


def test_tables_survive_a_file(tables, fitted):
    _, x, _, _ = fitted
    again = ShapTables.from_arrays(tables.arrays())
    np.testing.assert_array_equal(again.explain(x[:5])[1], tables.explain(x[:5])[1])


def test_an_empty_reference_population_is_refused(fitted):
    booster, x, _, _ = fitted
    with pytest.raises(InputError, match="reference population is empty"):
        compile_tables(bytes(booster.save_raw("json")), x[:0])


def test_deep_trees_are_cut_into_branches_with_the_same_values():
    random = np.random.default_rng(2)
    x = random.normal(size=(3000, 9)).astype(np.float32)
    y = random.random(3000) < 1 / (1 + np.exp(-x[:, :5].sum(axis=1) * np.sign(x[:, 5])))
    x[random.random(x.shape) < 0.1] = np.nan
    options = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.3, "nthread": 1}
    booster = xgboost.train(options, xgboost.DMatrix(x, label=y), 12)
    tables = compile_tables(bytes(booster.save_raw("json")), x[:40])
    assert len(tables.value) > 12
    check_tables(tables, booster, x[100:300], x[:40])


def test_tables_that_are_not_the_boosters_are_refused(tables, fitted):
    booster, x, _, _ = fitted
    with pytest.raises(GateError, match=r"differ from the booster by 1\.00e-03"):
        check_tables(replace(tables, base_margin=tables.base_margin + 1e-3), booster, x[:20], x[1000:1250])
    with pytest.raises(GateError, match="differ from shap"):
        check_tables(replace(tables, impact=tables.impact * 1.001), booster, x[:20], x[1000:1250])
