"""What whylogs 1.6.4 needs before it is used here.

* It reads ``np.unicode_``, gone since NumPy 2, when it meets a text: its module of data types is given a stand-in
  for NumPy that still has the name.
* It defines a class for each number and sketch that it reads, and looks up for each one that it makes how such are
  summed and written, which takes most of the time of small profiles: it is given classes that it has, and what it
  found before.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from whylogs.core import DatasetProfileView, datatypes
from whylogs.core.metrics.metric_components import (
    FractionalComponent,
    FrequentStringsComponent,
    HllComponent,
    IntegralComponent,
    KllComponent,
    MetricComponent,
)

Profile: TypeAlias = DatasetProfileView


class _NumpyWithUnicode(ModuleType):
    unicode_ = np.str_

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


datatypes.np = _NumpyWithUnicode("numpy")
_define = MetricComponent.from_protobuf.__func__
_READY = {
    "n": IntegralComponent,
    "d": FractionalComponent,
    "kll": KllComponent,
    "hll": HllComponent,
    "frequent_items": FrequentStringsComponent,
}


def _component(cls: Any, message: Any, registries: Any = None) -> Any:
    ready = _READY.get(message.WhichOneof("value"))
    if ready is None or message.type_id or registries:
        return _define(cls, message, registries)
    component = ready(None)
    component.set(component._deserializer(msg=message))
    return component


MetricComponent.from_protobuf = classmethod(_component)
_look_up = MetricComponent.__init__
_FOUND: dict[type, dict[str, Any]] = {}


def _set_up(self: Any, value: Any) -> None:
    if found := _FOUND.get(type(self)):
        self.__dict__.update(found)
        self._value = value
        return
    _look_up(self, value)
    if type(self) in _READY.values():
        _FOUND[type(self)] = {name: part for name, part in self.__dict__.items() if name != "_value"}


MetricComponent.__init__ = _set_up
