"""The promotion gate as data: the lines of a TOML file, and what it says of a candidate measured against one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from feature_repo.errors import InputError
from training.vouching import Vouch

DEFAULT_GATE = Path(__file__).with_name("promotion_gate.toml")
Share = Annotated[float, Meta(ge=0, le=1)]
_WORST, _ATTRIBUTE = "fairness_worst_air_high", "fairness_air_high."


class PromotionGate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lines that a candidate must not cross.

    Parameters
    ----------
    version : str
        Name of this set of lines.
    min_oot_auc : float
        Lowest AUC out of time.
    max_oot_ece : float
        Largest expected calibration error out of time.
    max_oot_psi : float
        Largest population stability index of scores, loans fitted on against out of time. Siddiqi, "Credit Risk
        Scorecards", 2006: above 0.25 the population has shifted.
    level : float
        Share of samples whose interval of a difference holds the truth.
    max_auc_loss : float
        AUC that the candidate may lose against the champion beyond noise.
    max_auc_doubt : float
        AUC that it may lose within noise, that is, by the lower end of the difference's interval: with few loans an
        interval excludes nothing, and a worse candidate would pass for want of evidence.
    max_brier_rise : float
        Brier score that it may add beyond noise.
    min_air_high : float
        Least that the upper end of the adverse impact ratio's interval must reach, for the group worst off;
        0.8 is the four-fifths line of 29 CFR 1607.4 D.
    max_attributes_lost : int
        Protected attributes whose groups the champion's run compared and the candidate's could not: a source that was
        emptied must not pass for one that never knew any.
    max_explainer_mb : float
        Size of the tables that score and explain, MB of 10**6 bytes.
    max_score_us : float
        Median time of one score with its explanation, in microseconds.
    """

    version: Annotated[str, Meta(min_length=1)]
    min_oot_auc: Share
    max_oot_ece: Share
    max_oot_psi: Annotated[float, Meta(ge=0, le=100)]
    level: Annotated[float, Meta(ge=0.5, le=0.9999)]
    max_auc_loss: Share
    max_auc_doubt: Share
    max_brier_rise: Share
    min_air_high: Share
    max_attributes_lost: Annotated[int, Meta(ge=0)]
    max_explainer_mb: Annotated[float, Meta(gt=0, le=1e6)]
    max_score_us: Annotated[float, Meta(gt=0, le=1e9)]


class GateLine(msgspec.Struct, frozen=True):
    """What one line of the gate said of a candidate.

    Parameters
    ----------
    name : str
        What was measured.
    value : float or None
        As measured; None where it could not be.
    limit : float or None
        The line; None where it is no number.
    passed : bool
    note : str
        Why it was refused, or what else is to be known.
    """

    name: str
    value: float | None
    limit: float | None
    passed: bool
    note: str = ""


def read_gate(path: Path) -> tuple[PromotionGate, str]:
    """Read the lines of a gate and the digest of their file, ``sha256:<hex>``.

    Raises
    ------
    InputError
        If the file cannot be read, is not TOML, or a line is missing, unknown or out of range.
    """
    try:
        text = path.read_bytes()
        gate = msgspec.toml.decode(text, type=PromotionGate)
    except OSError as error:
        raise InputError(f"gate {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"gate {path}: {error}") from None
    return gate, f"sha256:{hashlib.sha256(text).hexdigest()}"


def metric_lines(gate: PromotionGate, metrics: Mapping[str, float]) -> list[GateLine]:
    """Hold what a run recorded against the gate.

    Parameters
    ----------
    metrics : mapping of str to float
        Of the run that made the candidate. One that the gate needs and the run lacks is refused; only fairness is
        not measured where no protected attribute is known.
    """
    lines = [
        _line("oot_auc", metrics.get("oot_auc"), "at least", gate.min_oot_auc),
        _line("oot_ece", metrics.get("oot_ece"), "at most", gate.max_oot_ece),
        _line("oot_psi", metrics.get("oot_psi"), "at most", gate.max_oot_psi),
    ]
    if _WORST in metrics:
        return [*lines, _line(_WORST, metrics[_WORST], "at least", gate.min_air_high)]
    return [
        *lines,
        GateLine(_WORST, None, gate.min_air_high, True, "not measured: the run knew no protected attribute"),
    ]


def fairness_lost_line(
    gate: PromotionGate, metrics: Mapping[str, float], champions: Mapping[str, float], name: str
) -> GateLine:
    """Tell which protected attributes the champion's run measured and the candidate's did not; the value counts them.

    Parameters
    ----------
    metrics, champions : mapping of str to float
        Of the run that made the candidate, and of the champion's; an older one says of no attribute by name.
    name : str
        What the champion is called in notes.
    """
    gone = champions.keys() - metrics.keys()
    lost = sorted(metric.removeprefix(_ATTRIBUTE) for metric in gone if metric.startswith(_ATTRIBUTE))
    if not lost and _WORST in gone:
        lost = ["protected attributes"]
    told = (
        f"the run of {name} compared groups by {', '.join(lost)}, and this one could not: the source is empty, or has "
    )
    told += "too few loans out of time; mend it, or give a --gate of another max_attributes_lost"
    passed = len(lost) <= gate.max_attributes_lost
    return GateLine("fairness_lost", len(lost), gate.max_attributes_lost, passed, told if lost else "")


def vouched_line(vouched: Mapping[str, Vouch]) -> GateLine:
    """Tell whoever approves which features seem to leak and who says that they do not; the value counts them."""
    told = "; ".join(f"{name} is vouched for: {vouch.told()}" for name, vouch in vouched.items())
    return GateLine("vouched_features", len(vouched), None, True, told)


def size_line(gate: PromotionGate, explainer_bytes: int) -> GateLine:
    """Hold the size of the tables that score and explain against the gate."""
    return _line("explainer_mb", explainer_bytes / 1e6, "at most", gate.max_explainer_mb)


def latency_line(gate: PromotionGate, seconds: float) -> GateLine:
    """Hold the time of one score with its explanation against the gate."""
    return _line("score_us", seconds * 1e6, "at most", gate.max_score_us)


def refusals(lines: Sequence[GateLine]) -> list[str]:
    """Return why a candidate is refused, empty if it is not."""
    return [line.note or line.name for line in lines if not line.passed]


def _line(name: str, value: float | None, side: Literal["at least", "at most"], limit: float) -> GateLine:
    """Compare; what is not there or not a number crosses every line."""
    if value is None or value != value:
        return GateLine(name, None, limit, False, f"{name} was not recorded: train again")
    passed = value >= limit if side == "at least" else value <= limit
    wrong = "below" if side == "at least" else "above"
    return GateLine(name, value, limit, passed, "" if passed else f"{name} {value:.6g} is {wrong} {limit:g}")
