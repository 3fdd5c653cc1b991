"""Request-time features: one vectorised function, used by Feast in training and by the service online."""

from collections.abc import Sequence

Column = Sequence[float | None]


def affordability(inputs: "dict[str, Column]") -> "dict[str, list[float | None]]":
    """Set the purchase against what the applicant earns, owes and receives.

    The instalment is that of an annuity at a fixed reference rate of 15 % a year, so that the
    feature does not depend on the price that the decision sets later.

    Parameters
    ----------
    inputs : dict of str to sequence of float or None
        Columns of equal length n: ``purchase_amount`` (currency), ``term_months``,
        ``annual_income`` (currency/year), ``debt_to_income_ratio``, ``inflow_90d`` (currency).

    Returns
    -------
    dict of str to list of float or None
        Columns of length n, null where an input is null or the amount or term is not positive; income
        and inflow count as 1 unit of currency at least:
        ``instalment_to_income``, ``purchase_to_income``, ``debt_to_income_after`` and
        ``instalment_to_inflow``, all ratios.

    Examples
    --------
    >>> out = affordability({"purchase_amount": [1200.0], "term_months": [12], "annual_income": [30000.0],
    ...                      "debt_to_income_ratio": [0.2], "inflow_90d": [None]})
    >>> round(out["instalment_to_income"][0], 6), out["instalment_to_inflow"]
    (0.043324, [None])
    """
    import numpy as np  # Feast ships this function as source text: it must bring its own names

    names = ["purchase_amount", "term_months", "annual_income", "debt_to_income_ratio", "inflow_90d"]
    given = np.array([inputs[name] for name in names], dtype=np.float64)  # None becomes NaN
    given[:2][given[:2] <= 0] = np.nan
    amount, term, income, debt_to_income, inflow = given
    monthly_rate = 0.15 / 12
    instalment = amount * monthly_rate / (1 - (1 + monthly_rate) ** -term)
    # Who declares nothing, or next to nothing, must not look better than who declares a little.
    income, inflow = np.maximum(income, 1.0), np.maximum(inflow, 1.0)
    instalment_to_income = instalment * 12 / income
    ratios = {
        "instalment_to_income": instalment_to_income,
        "purchase_to_income": amount / income,
        "debt_to_income_after": debt_to_income + instalment_to_income,
        "instalment_to_inflow": instalment * 3 / inflow,
    }
    return {name: [None if value != value else value for value in column.tolist()] for name, column in ratios.items()}
