"""Where Redis keeps the contract's values: plain data that travels in the model bundle."""

from __future__ import annotations

import struct

import msgspec

from feature_repo.contract import Kind


class FeatureSlot(msgspec.Struct, frozen=True):
    """One feature of a stored view and the field of the Redis hash that holds it.

    Parameters
    ----------
    name : str
        Feature name.
    kind : {"number", "count", "flag", "category"}
        What its bytes decode to: float, int, bool or str.
    hash : str
        Name of the hash field, 4 bytes in hex.
    """

    name: str
    kind: Kind
    hash: str


class ViewPlan(msgspec.Struct, frozen=True):
    """The fields of one stored view.

    Parameters
    ----------
    ttl_seconds : int
        Age beyond which a stored row is STALE; 0 means never.
    timestamp_field : str
        Name of the hash field that holds the event time.
    """

    name: str
    ttl_seconds: int
    timestamp_field: str
    slots: tuple[FeatureSlot, ...]


class OnlinePlan(msgspec.Struct, frozen=True):
    """All that is needed to read one applicant with one command.

    Parameters
    ----------
    project : str
        Feast project.
    key_head, key_tail : str
        Bytes before the length of the applicant's ID and bytes after the ID, in hex.
    """

    project: str
    key_head: str
    key_tail: str
    views: tuple[ViewPlan, ...]

    def key(self, applicant_id: str) -> bytes:
        """Return the Redis key of one applicant.

        Raises
        ------
        UnicodeEncodeError
            If the ID holds a lone surrogate, which no UTF-8 text can.
        """
        raw = applicant_id.encode()
        return bytes.fromhex(self.key_head) + struct.pack("<I", len(raw)) + raw + bytes.fromhex(self.key_tail)
