"""Who the lender is and how its notices are worded: ``lender.toml`` of the home, else the samples beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from feature_repo.errors import UnavailableError
from feature_repo.home import Home

SAMPLES = Path(__file__).with_name("lender.toml")
Text = Annotated[str, Meta(min_length=1)]
Lines = Annotated[tuple[Text, ...], Meta(min_length=1)]


class Party(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody with a postal address; the telephone number may be empty."""

    name: Text
    address: Lines
    telephone: str = ""


class Bureau(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A consumer reporting agency and the feature views that its reports fill.

    Parameters
    ----------
    requests_bring_reports : bool
        Whether values of these views that a request brings come from its reports too. If not, only a stored report
        is one that was obtained.
    """

    views: Lines
    requests_bring_reports: bool = False
    agency: Party


class Wording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Texts that a law prescribes or models; see the comments in ``lender.toml`` for which."""

    ecoa: Text
    counter_offer: Text
    adverse_report: Lines
    risk_based_pricing: Lines
    score: Text


class Lender(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lender of a home.

    Parameters
    ----------
    sample : bool
        Whether these are sample details; notices made with them say so and are not to be sent.
    agency : Party
        Federal agency that administers compliance with the Equal Credit Opportunity Act.
    """

    sample: bool = False
    creditor: Party
    agency: Party
    bureau: tuple[Bureau, ...] = ()
    wording: Wording


def load_lender(home: Home) -> Lender:
    """Read the lender of a home.

    Raises
    ------
    UnavailableError
        If ``lender.toml`` cannot be read, or claims to be filled in and still has the samples' names.
    """
    samples = _read(SAMPLES)
    path = home.root / "lender.toml"
    try:
        lender = _read(path)
    except FileNotFoundError:
        return samples
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise UnavailableError(f"{path} cannot be used ({error}); correct it, or delete it for samples") from None
    names = {party.name for party in _parties(samples)}
    left = [party.name for party in _parties(lender) if party.name in names]
    if left and not lender.sample:
        raise UnavailableError(f"{path} says that it is no sample, but names {left[0]!r}: fill it in")
    return lender


def _parties(lender: Lender) -> tuple[Party, ...]:
    return (lender.creditor, *(bureau.agency for bureau in lender.bureau))


def _read(path: Path) -> Lender:
    return msgspec.toml.decode(path.read_bytes(), type=Lender)
