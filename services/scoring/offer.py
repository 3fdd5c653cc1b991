"""What is offered on a request: limits on its terms, the expected loss, and a counter-offer where they are exceeded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from feature_repo.errors import InputError
from feature_repo.stores.stored import Scalar
from services.scoring.inputs import derive
from services.scoring.loan_request import LoanRequest
from services.scoring.model import ScoringModel
from services.scoring.policy import Policy
from services.scoring.policy_sections import KnockOut
from services.scoring.pricing import Loan, to_cents
from services.scoring.schemas import ExpectedLoss, Reason, Terms

_ASKED = ("purchase_amount", "term_months")
_MONTHS_A_YEAR = 12
_CENTS = 100


def limits_exceeded(loan: Loan, values: Mapping[str, Scalar | None], policy: Policy) -> tuple[Reason, ...]:
    """Return why a priced loan is not lent to this applicant: payment against income, charges against the law.

    Parameters
    ----------
    values : mapping of str to scalar
        Every feature of the contract by name.
    """
    found: list[Reason] = []
    rule = policy.affordability
    if _takes_too_much(loan, values, policy):
        found.append(Reason("payment_above_share_of_income", rule.income, rule.reason, None, (rule.income,)))
    if loan.apr > policy.legal.max_apr:
        found.append(Reason("apr_above_legal_limit", _ASKED[0], policy.legal.over_max_apr, None, _ASKED))
    return tuple(found)


def _takes_too_much(loan: Loan, values: Mapping[str, Scalar | None], policy: Policy) -> bool:
    income = values[policy.affordability.income]
    if income is None or isinstance(income, str):
        return False
    return loan.payment * _MONTHS_A_YEAR / _CENTS > policy.affordability.max_share * max(income, 1.0)


def expected_loss(loan: Loan, pd: float, policy: Policy) -> ExpectedLoss:
    """Set the expected loss of a loan against its margin.

    Examples
    --------
    >>> from services.scoring.policy import DEFAULT_POLICY, load_policy
    >>> policy = load_policy(DEFAULT_POLICY.read_bytes())
    >>> expected_loss(policy.price(350_000, 12, 0.03), 0.03, policy)
    ExpectedLoss(amount=40.95, margin=95.89, covered=True)
    """
    rule = policy.expected_loss
    loss = pd * rule.loss_given_default * rule.exposure_at_default * loan.principal
    margin = loan.finance_charge - loan.balance_months * rule.funding_rate / 1200
    return ExpectedLoss(round(loss) / _CENTS, round(margin) / _CENTS, margin >= loss)


def terms_of(loan: Loan | None, approved: bool) -> Terms:
    """Return a loan as it is answered, none as terms without figures."""
    if loan is None:
        return Terms(approved=False)
    return Terms(
        approved=approved,
        amount=loan.principal / _CENTS,
        term_months=loan.term_months,
        apr=round(loan.apr, 2),
        monthly_payment=loan.payment / _CENTS,
        last_payment=loan.last_payment / _CENTS,
        finance_charge=loan.finance_charge / _CENTS,
        total_of_payments=loan.total_of_payments / _CENTS,
        note_rate=loan.rate,
        origination_fee=loan.fee / _CENTS,
        amount_financed=loan.amount_financed / _CENTS,
    )


def are_about_terms(rules: Sequence[KnockOut], model: ScoringModel) -> bool:
    """Return whether there are rules and another amount or term may satisfy all of them."""
    free = {name for name, needs in model.needs.items() if any(one in _ASKED for one in needs)}.union(_ASKED)
    return bool(rules) and all(rule.feature in free for rule in rules)


def counter_offer(request: LoanRequest, values: Mapping[str, Scalar | None], model: ScoringModel) -> Loan | None:
    """Return the best loan that passes every rule where the one asked for does not; None if there is none.

    The best is the most credit, never more than was asked for, and then the term nearest to the one asked for. Terms
    are those of the policy, longer than asked, or shorter where the term asked for is itself refused. If
    none carries the whole amount, the most is found on the longest of them, or failing that on the nearest, in steps of
    the policy.

    Parameters
    ----------
    values : mapping of str to scalar
        Every feature of the contract by name, as for the request.
    """

    def passes(amount: int, term: int) -> Loan | None:
        return _approved(amount, term, values, model)

    terms = _terms(request.term_months, model.policy)
    for term in terms:
        if term != request.term_months and (found := passes(request.amount, term)):
            return found
    step = to_cents(model.policy.counter_offer.amount_step)
    for longest in dict.fromkeys((max(terms, default=request.term_months), *terms[:1])):
        if most := _most(step, (request.amount - 1) // step, longest, passes):
            carried = (passes(most.principal, term) for term in terms)
            return next((found for found in carried if found), most)
    return None


def _terms(asked: int, policy: Policy) -> Sequence[int]:
    """Return the terms to try, the nearest to the one asked for first."""
    offered = policy.counter_offer.terms
    if any(rule.feature == "term_months" and rule.fires(asked) for rule in policy.knock_out):
        return sorted(offered, key=lambda term: abs(term - asked))
    return [asked, *(term for term in offered if term > asked)]


def _most(step: int, steps: int, term: int, passes: Callable[[int, int], Loan | None]) -> Loan | None:
    """Return the largest amount that passes, by bisection: more credit never passes where less does not."""
    best: Loan | None = None
    low, high = 1, steps
    while low <= high:
        middle = (low + high) // 2
        if found := passes(middle * step, term):
            best, low = found, middle + 1
        else:
            high = middle - 1
    return best


def _approved(amount: int, term: int, values: Mapping[str, Scalar | None], model: ScoringModel) -> Loan | None:
    """Price another amount and term for the same applicant; None unless a request for them would be approved."""
    policy = model.policy
    asked = dict(zip(_ASKED, (amount / _CENTS, term), strict=True))
    if any(rule.feature in asked and rule.fires(asked[rule.feature]) for rule in policy.knock_out):
        return None
    try:
        if _takes_too_much(policy.price(amount, term, 0.0), values, policy):
            return None  # even at the best rate; nothing had to be scored
        changed = {**values, **asked}
        derived = derive(changed)
        changed |= {spec.name: derived[spec.name] for spec in model.contract.on_demand}
        if any(rule.fires(changed[rule.feature]) for rule in policy.knock_out):
            return None
        pd = model.scorer.score(changed).pd
        if policy.recommend(pd) != "APPROVED":
            return None
        loan = policy.price(amount, term, pd)
    except InputError:  # too little for so many payments
        return None
    if limits_exceeded(loan, changed, policy) or any(doubts_about(loan, pd, policy)):
        return None
    return loan


def doubts_about(loan: Loan, pd: float, policy: Policy) -> Iterator[str]:
    """Yield why a person has to look at a priced loan."""
    if policy.expected_loss.when_short == "review" and not expected_loss(loan, pd, policy).covered:
        yield "The margin does not cover the expected loss"
