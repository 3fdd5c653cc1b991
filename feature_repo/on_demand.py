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
        Columns of length n, null where an input is null, the amount is not positive or the term below 1; income
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
    # Feast ships this function as source text: what it needs is inside. Plain Python serves one row in a
    # tenth of the time that arrays take, and a million in as long as it takes to make arrays of lists.
    monthly_rate = 0.15 / 12
    names = ["purchase_amount", "term_months", "annual_income", "debt_to_income_ratio", "inflow_90d"]
    to_income, price_to_income, owed_after, to_inflow = [], [], [], []
    for amount, term, income, debt_to_income, inflow in zip(*[inputs[name] for name in names], strict=True):
        instalment = instalment_to_income = purchase_to_income = after = instalment_to_inflow = None
        if amount is not None and amount > 0:
            # Who declares nothing, or next to nothing, must not look better than who declares a little.
            if income is not None and income == income:
                purchase_to_income = amount / max(income, 1.0)
            if term is not None and term >= 1:
                instalment = amount * monthly_rate / (1 - (1 + monthly_rate) ** -term)
        if instalment is not None and income is not None and income == income:
            instalment_to_income = instalment * 12 / max(income, 1.0)
            if debt_to_income is not None and debt_to_income == debt_to_income:
                after = debt_to_income + instalment_to_income
        if instalment is not None and inflow is not None and inflow == inflow:
            instalment_to_inflow = instalment * 3 / max(inflow, 1.0)
        to_income.append(instalment_to_income)
        price_to_income.append(purchase_to_income)
        owed_after.append(after)
        to_inflow.append(instalment_to_inflow)
    return {
        "instalment_to_income": to_income,
        "purchase_to_income": price_to_income,
        "debt_to_income_after": owed_after,
        "instalment_to_inflow": to_inflow,
    }
