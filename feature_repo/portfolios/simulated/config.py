"""What to simulate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from feature_repo.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """A simulated portfolio; the same configuration gives the same bytes.

    Parameters
    ----------
    applicants : int
        People, 1 to 9,999,999.
    seed : int
        Seed of all randomness, not negative.
    as_of : datetime
        The end of the simulation, UTC, at the start of a month; nothing received later is written.
    months : int
        Months before `as_of` in which features and loans are observed.
    history_months : int
        Months of loans and payments before that, so that people have a history when it begins.
    loans_per_applicant : float
        Mean number of loan applications in `months`, before some stop because of a default.
    default_rate : float
        Mean probability of default of all applications, 0 to 1, exclusive.
    late_share : float
        Share of events that are received three days to five weeks after they happened.
    resent_share : float
        Share of events that are sent again later, half of them with corrected values.
    no_bureau_share, no_bank_share, guest_share : float
        Share of people without bureau file, without linked bank account, and without customer
        account (a guest's repayments are not joined to the person).
    shift_from : datetime or None
        From when a macro shift holds: higher utilization, more inquiries, lower account inflow. It
        moves these features and not the probability of default; None is never.
    shift_strength : float
        Size of the shift in standard deviations of each feature (of its logarithm for inflow).
    """

    applicants: int = 6_000
    seed: int = 7
    as_of: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    months: int = 24
    history_months: int = 12
    loans_per_applicant: float = 1.75
    default_rate: float = 0.1
    late_share: float = 0.02
    resent_share: float = 0.02
    no_bureau_share: float = 0.07
    no_bank_share: float = 0.08
    guest_share: float = 0.06
    shift_from: datetime | None = None
    shift_strength: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.applicants <= 9_999_999:
            raise InputError(f"applicants: {self.applicants} is not between 1 and 9,999,999")
        if self.seed < 0:
            raise InputError(f"seed: {self.seed} is negative")
        if not 0 < self.default_rate < 1:
            raise InputError(f"default_rate: {self.default_rate} is not between 0 and 1")
        if self.months < 1 or self.history_months < 1:
            raise InputError("months and history_months must be at least 1")
        for name, instant in (("as_of", self.as_of), ("shift_from", self.shift_from)):
            if instant is not None and instant.tzinfo is None:
                raise InputError(f"{name}: {instant} has no time zone")
