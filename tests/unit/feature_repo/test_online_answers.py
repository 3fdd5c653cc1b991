"""Answers taken apart at once say what hiredis and the plain decoder say of them one by one."""

import math
import struct
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions

from feature_repo.contract import Contract, FeatureSpec, ViewSpec
from feature_repo.errors import UnavailableError
from feature_repo.stores.compile import compile_plan
from feature_repo.stores.online import PlanDecoder
from feature_repo.stores.online_answers import Answers, one_by_one
from feature_repo.stores.online_columns import decode_columns, stored_features
from feature_repo.stores.online_layout import cells
from feature_repo.stores.protocol import bulk, command

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TRAPS = [b"*0\r\n", b"*48\r\n$4\r\n", b"\r\n*", b"\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"\r\n-", b"-ERR\r\n", b"$-1\r\n"]
FIELDS = [b"a", b"b\r\n*1", b"cc"]
NULL = b"$-1\r\n"


def _view(name, ttl, **kinds):
    specs = tuple(FeatureSpec(name=each, view=name, kind=kind, description="", unit="") for each, kind in kinds.items())
    return ViewSpec(name=name, table=name, ttl_seconds=ttl, missing_reason="", features=specs)


PLAN = compile_plan(
    Contract(
        service="s",
        views=(
            _view("first", 86400, ratio="number", amount="number", times="count"),
            _view("second", 0, flag="flag", home="category", share="number"),
            _view("bare", 86400),
        ),
        request=(),
        on_demand=(),
    ),
    project="p",
)
DECODER = PlanDecoder(PLAN, "here:1")

values = st.one_of(
    st.sampled_from([b"", b"x", b"123456789"]),
    st.binary(max_size=12),
    st.lists(st.sampled_from([*TRAPS, b"abc"]), max_size=4).map(b"".join),
)
hashes = st.dictionaries(st.sampled_from([*FIELDS, b"other"]), values)


@st.composite
def many_alike(draw, one):
    """Things of few forms in any order, often enough to be seen as alike."""
    some = draw(st.lists(one, min_size=1, max_size=3))
    return draw(st.lists(st.sampled_from(some) | one, min_size=1, max_size=60))


def whole_answer(stored):
    return command(*(part for pair in stored.items() for part in pair)) if stored else b"*0\r\n"


def picked_answer(row):
    return b"*%d\r\n" % len(row) + b"".join([NULL if value is None else bulk(value) for value in row])


def told(parts, count):
    """The rows of all parts in the order of the whole."""
    rows = [None] * count
    for part in parts:
        assert part.places.tolist() == sorted(part.places.tolist())
        for place, row in zip(part.places.tolist(), zip(*map(cells, part.columns), strict=True), strict=True):
            assert rows[place] is None
            rows[place] = list(row)
    return rows


@given(many_alike(hashes), st.booleans())
def test_answers_are_what_was_stored_whatever_values_look_like(stored, whole):
    rows = [[each.get(field) for field in FIELDS] for each in stored]
    data = b"".join(map(whole_answer, stored) if whole else map(picked_answer, rows))
    answers = Answers(FIELDS, whole)
    for _ in range(2):  # the second time by the layouts of the first
        assert told(answers.parts(data, len(stored)), len(stored)) == rows


@given(many_alike(hashes), st.booleans(), st.data())
def test_answers_that_are_not_all_there_are_waited_for(stored, whole, data):
    rows = [[each.get(field) for field in FIELDS] for each in stored]
    sent = b"".join(map(whole_answer, stored) if whole else map(picked_answer, rows))
    answers = Answers(FIELDS, whole)
    answers.parts(sent, len(stored))
    lines = [at + 2 for at in range(len(sent) - 2) if sent[at : at + 2] == b"\r\n"]
    for cut in data.draw(st.lists(st.sampled_from(lines or [1]), max_size=20)):
        assert answers.parts(sent[:cut], len(stored)) is None
        assert one_by_one(sent[:cut], len(stored)) is None


@given(many_alike(hashes), st.data())
def test_one_error_among_answers_is_the_error_of_all(stored, data):
    sent = [whole_answer(each) for each in stored]
    sent[data.draw(st.integers(0, len(sent) - 1))] = b"-WRONGTYPE Operation\r\n"
    with pytest.raises(exceptions.ResponseError, match="WRONGTYPE"):
        Answers(FIELDS, whole=True).parts(b"".join(sent), len(sent))


@pytest.mark.parametrize("sent", [b"*0\r\n*0\r\n*0\r\n", b"*0\r\n:1\r\n-ERR\r\n", b"*-1\r\n*-1\r\n", b"*0\r\n*?\r\n"])
def test_what_is_no_answer_is_refused(sent):
    with pytest.raises(exceptions.RedisError):
        Answers(FIELDS, whole=True).parts(sent, 2)


def test_answers_alike_become_matrices_and_a_known_layout_is_found_again():
    stored = [{b"a": bytes([number] * 9), b"cc": b"\r\n*48\r\n"[: number % 2]} for number in range(40)]
    answers = Answers(FIELDS, whole=True)
    for _ in range(2):
        parts = answers.parts(b"".join(map(whole_answer, stored)), len(stored))
        assert [len(part.places) for part in parts] == [20, 20]
        assert all(isinstance(part.columns[0], np.ndarray) for part in parts)


def stamp_of(instant):
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp.SerializeToString()


doubles = st.floats(width=64)
wires = {
    "number": st.one_of(
        doubles.map(lambda number: b"\x29" + struct.pack("<d", number)),
        doubles.map(lambda number: b"\x29" + struct.pack("<d", number)),
        st.sampled_from([b"\x29" + trap.ljust(8, b"\n")[:8] for trap in TRAPS]),
        st.floats(width=32).map(lambda number: Value(float_val=number).SerializeToString()),
        st.integers(-(2**63), 2**63 - 1).map(lambda number: Value(int64_val=number).SerializeToString()),
    ),
    "count": st.integers(-(2**31), 2**31 - 1).map(lambda number: Value(int64_val=number).SerializeToString()),
    "flag": st.booleans().map(lambda flag: Value(bool_val=flag).SerializeToString()),
    "category": st.sampled_from(["OWN", "RENT", "ü", *(trap.decode() for trap in TRAPS)]).map(
        lambda text: Value(string_val=text).SerializeToString()
    ),
}
instants = st.one_of(
    st.sampled_from([NOW, NOW - DAY, NOW - DAY - timedelta(microseconds=1), NOW + timedelta(seconds=61)]),
    st.datetimes(datetime(2026, 5, 25), datetime(2026, 6, 2)),
    st.datetimes(datetime(1900, 1, 1), datetime(3000, 1, 1)),  # older: the plain decoder rounds the age
).map(lambda instant: stamp_of(instant.replace(tzinfo=None)))
NULLS = st.sampled_from([b"", b"\x98\x01\x00"])


@st.composite
def an_applicant(draw, full):
    stored = {b"elsewhere": draw(values)} if draw(st.booleans()) else {}
    for view in PLAN.views:
        if full or draw(st.booleans()):
            for slot in view.slots:
                if full or draw(st.booleans()):
                    kind = wires[slot.kind] if full else wires[slot.kind] | NULLS
                    stored[bytes.fromhex(slot.hash)] = draw(kind)
            stored[view.timestamp_field.encode()] = draw(instants)
    return stored


applicants = st.lists(an_applicant(full=True), min_size=1, max_size=30) | many_alike(an_applicant(full=False))


def by_parts(stored, whole):
    rows = [[each.get(field) for field in DECODER.fields] for each in stored]
    data = b"".join(map(whole_answer, stored) if whole else map(picked_answer, rows))
    return rows, Answers(DECODER.fields, whole).parts(data, len(stored))


@given(applicants, st.booleans())
def test_columns_say_what_the_plain_decoder_says_of_each(stored, whole):
    rows, parts = by_parts(stored, whole)
    names = [f"A{place}" for place in range(len(stored))]
    plain = [DECODER.decode(name, row, NOW) for name, row in zip(names, rows, strict=True)]
    columns = decode_columns(PLAN, parts, NOW)
    assert stored_features(names, columns, NOW) == plain
    for place, row in enumerate(plain):
        for view, one in row.views.items():
            assert columns[view].status[place] == one.status
            for name, column in columns[view].values.items():
                value, number = one.values.get(name), isinstance(column, np.ndarray)
                assert math.isnan(column[place]) if number and value is None else column[place] == value
                assert number or type(column[place]) is type(value)


@given(st.lists(an_applicant(full=True), min_size=1, max_size=30), st.sampled_from(DECODER.fields), st.data())
def test_bytes_that_are_not_feasts_are_refused_by_both(stored, field, data):
    for place in data.draw(st.sets(st.integers(0, len(stored) - 1))):
        stored[place][field] = data.draw(st.binary(max_size=13))
    rows, parts = by_parts(stored, True)
    try:
        plain = [DECODER.decode("A", row, NOW) for row in rows]
    except UnavailableError:
        with pytest.raises(ValueError):  # noqa: PT011
            decode_columns(PLAN, parts, NOW)
    else:
        assert stored_features(["A"] * len(stored), decode_columns(PLAN, parts, NOW), NOW) == plain
