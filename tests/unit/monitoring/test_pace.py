"""A long reading works a third of the time while the machine is busy."""

import os
import time

import pytest

from monitoring import pace


@pytest.mark.parametrize(
    ("load", "processors", "rested"),
    [(1.0, 1, []), (1.4, 2, []), (1.5, 2, [0.4]), (5.9, 8, []), (6.0, 8, [0.4]), (2.0, None, [0.4])],
)
def test_it_rests_twice_as_long_as_it_worked_where_others_work_too(monkeypatch, load, processors, rested):
    slept = []
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    monkeypatch.setattr(time, "sleep", slept.append)
    pace.rest(0.2)
    assert slept == rested
