"""Features that know the outcome: what was written after the decision must not be learned from.

A column such as recoveries or the sum of payments received makes any model look excellent until it is used. Nothing
in the data says when a value became known if its source does not, but such columns betray themselves: no lender
knows that much of an applicant, or the loan would not have been made. Four tests:

* **alone**: the AUC of one feature, cut into cells whose default rates come from the other folds;
* **for the amount**: the same of the value over ``purchase_amount``, by ``term_months``: money received in all tells
  little, money received of what was lent tells everything;
* **region**: a value, a range or an absence with which nearly all loans defaulted, or nearly none;
* **jump**: what one feature adds to the out-of-fold AUC of a small boosted model of all others. Honest features
  overlap, so that one adds no more than an independent score would; late fees, or interest received, add more.

A confidence bound and not an estimate is compared with each limit, and the error allowed is shared by all comparisons
of a test (Bonferroni), so that few loans never accuse. What passes may still leak: a weak leak is no other than a good
feature. Tests find what is too good to be true, and knowing the source finds the rest.

References
----------
.. [1] Kaufman, Rosset, Perlich and Stitelman, "Leakage in Data Mining: Formulation, Detection, and Avoidance", ACM
   Transactions on Knowledge Discovery from Data 6, 2012: features too good to be true are looked for one by one.
.. [2] Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial",
   Biometrika 26, 1934: exact bounds of a region's default rate.
.. [3] DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988: bounds of an AUC and of a difference of two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from feature_repo.contract import FeatureSpec
from feature_repo.errors import GateError
from training.leak import Leak, Limits
from training.leak_alone import Alone
from training.leak_jump import jumps
from training.scored import Bools
from training.vouching import Vouch


def check_leakage(
    specs: Sequence[FeatureSpec],
    values: Mapping[str, NDArray[np.object_]],
    defaulted: Bools,
    *,
    seed: int,
    limits: Limits | None = None,
) -> tuple[Leak, ...]:
    """Return the features that know the outcome, in the order of `specs`.

    Parameters
    ----------
    specs : sequence of FeatureSpec
        The features to learn from.
    values : mapping of str to ndarray of object, shape (n,)
        Feature name to its values; None and NaN are missing. Only loans decided before the out-of-time window.
    defaulted : ndarray of bool, shape (n,)
        Outcomes.
    seed : int
        Draws loans and folds.
    limits : Limits or None
        None takes the stated ones.

    Returns
    -------
    tuple of Leak
        One for each test that a feature failed; the jump is measured where the others found nothing. Empty if
        there are too few loans to tell.
    """
    limits = limits or Limits()
    random = np.random.default_rng(seed)
    rows = _drawn(random, np.arange(len(defaulted)), limits.rows)
    outcomes = defaulted[rows]
    if min(int(outcomes.sum()), int((~outcomes).sum())) < limits.fewest:
        return ()
    alone = Alone(specs, {spec.name: values[spec.name][rows] for spec in specs}, outcomes, random, limits)
    leaks = [leak for spec in specs for leak in alone.leaks(spec)]
    caught = {leak.feature for leak in leaks}
    others = [spec for spec in specs if spec.name not in caught]
    rows = _drawn(random, rows, limits.model_rows)
    chosen = {spec.name: values[spec.name][rows] for spec in others}
    leaks += jumps(others, chosen, defaulted[rows], alone.auc, random, limits)
    order = {spec.name: index for index, spec in enumerate(specs)}
    return tuple(sorted(leaks, key=lambda leak: order[leak.feature]))


def require_no_leak(leaks: Sequence[Leak], sound: Mapping[str, Vouch] | None = None) -> None:
    """Stop if there is a leak.

    Parameters
    ----------
    leaks : sequence of Leak
    sound : mapping of str to Vouch
        Features that somebody vouches for: a test says what is too good to be true, and whoever knows
        the source that it is true all the same.

    Raises
    ------
    GateError
        Names each feature and why.
    """
    found: dict[str, str] = {}
    for leak in leaks:
        if leak.feature not in (sound or {}):
            found.setdefault(leak.feature, leak.why)
    if found:
        told = "; ".join(f"{feature}: {why}" for feature, why in found.items())
        raise GateError(
            f"leakage: {told}. Was it written after the decision? Take it out of the source or the feature service; if "
            "you know that it was not, vouch for it: --sound FEATURE=REASON"
        )


def _drawn(random: np.random.Generator, rows: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    return rows if len(rows) <= count else np.sort(random.choice(rows, count, replace=False))
