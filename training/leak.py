"""What a leak is, and from where on something is one."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What no honest feature reaches, and how it is measured.

    Chosen on loans of one simulated and two real portfolios before their out-of-time windows. Honest features' bounds
    went no further there than AUC 0.74 (mean account balance), a region's default rate of 0.31 and no less than 0.20
    of the average, a jump of 0.02 (0.05 in a contract of nine), and 0.001 more than independent scores would add.

    Parameters
    ----------
    error : float
        Chance that any feature passes a limit though all are just below it, for a test's comparisons together, 0..1.
    auc : float
        AUC of a feature alone or for the amount, 0.5..1.
    bad_rate : float
        How far a region's default rate is from the average, 0, to 1, where all default.
    good_rate : float
        Default rate of a region over the average.
    jump : float
        What a feature may add to the AUC of a model of all others.
    interplay : float
        The same, beyond what two independent scores of the model's and the feature's own AUC would have together.
    others : int
        Fewest other features that make a jump comparable; in a thin contract an honest one may carry the model.
    fewest : int
        Loans of the rarer outcome below which nothing can be told.
    bins, folds : int
        Quantile bins of a number, and folds of the tests of single features.
    rows, model_rows : int
        Loans looked at, drawn by the seed, by the tests of single features and by the jump.
    jumps : int
        For how many features, those of the largest gain, the jump is measured.
    """

    error: float = 0.05
    auc: float = 0.85
    bad_rate: float = 0.7
    good_rate: float = 0.02
    jump: float = 0.12
    interplay: float = 0.02
    others: int = 8
    fewest: int = 10
    bins: int = 32
    folds: int = 5
    rows: int = 100_000
    model_rows: int = 30_000
    jumps: int = 4


class Leak(msgspec.Struct, frozen=True):
    """One feature that failed one test.

    Parameters
    ----------
    feature : str
    test : str
        ``alone``, ``for the amount``, ``region`` or ``jump``.
    estimate, bound, limit : float
        What was measured, its confidence bound, and the limit that the bound passed.
    why : str
        The same in words.
    """

    feature: str
    test: str
    estimate: float
    bound: float
    limit: float
    why: str
