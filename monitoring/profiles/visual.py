"""whylogs' own reports on two profiles: its visual comparison, and constraints drawn from the reference."""

from __future__ import annotations

import json
from typing import Any

from whylogs.core.configs import SummaryConfig
from whylogs.core.constraints import Constraints, ConstraintsBuilder
from whylogs.core.constraints.factories import (
    frequent_strings_in_reference_set,
    is_in_range,
    null_percentage_below_number,
    quantile_between_range,
)
from whylogs.viz.enums.enums import PageSpec, PageSpecEnum
from whylogs.viz.utils.html_template_utils import get_compiled_template
from whylogs.viz.utils.profile_viz_calculations import generate_summaries_with_drift_score

from monitoring.profiles.mended import Profile
from monitoring.profiles.merging import renamed
from monitoring.profiles.offline import offline
from monitoring.segments import unbanded

_ROOM = 0.10


def comparison_page(reference: Profile, current: Profile) -> str:
    """Return whylogs' visual comparison of two profiles as a page that needs nothing from a network.

    Its own drift verdicts are p-values, which on many rows call everything drift; `monitoring.drift` does not use them.
    """
    data = generate_summaries_with_drift_score(_whole(current), _whole(reference), config=SummaryConfig())
    return _page(PageSpecEnum.SUMMARY_REPORT.value, data)


def constraints_page(reference: Profile, current: Profile) -> str:
    """Return whylogs' report on whether a profile keeps to what the reference shows, as a page like the other one.

    Of numbers: all within the reference's range, the median within its quartiles. Of texts: none that the reference
    does not know. Of both: at most 10 percentage points more missing values than there.
    """
    constraints = _constraints(_whole(reference), _whole(current))
    results = constraints.generate_constraints_report(with_summary=True)
    return _page(PageSpecEnum.CONSTRAINTS_REPORT.value, {"constraints_report": json.dumps(results)})


def _constraints(reference: Profile, current: Profile) -> Constraints:
    builder = ConstraintsBuilder(current)
    known = current.get_columns()
    for name, column in sorted(reference.get_columns().items()):
        if name not in known:
            continue
        counts, numbers = column.get_metric("counts"), column.get_metric("distribution")
        texts = column.get_metric("frequent_items")
        missing = counts.null.value / max(counts.n.value, 1)
        builder.add_constraint(null_percentage_below_number(name, min(missing + _ROOM, 1.0)))
        if numbers is not None and numbers.n > 0:
            builder.add_constraint(is_in_range(name, numbers.min, numbers.max))
            builder.add_constraint(quantile_between_range(name, 0.5, numbers.q_25, numbers.q_75))
        elif texts is not None and known[name].get_metric("frequent_items") is not None:
            builder.add_constraint(
                frequent_strings_in_reference_set(name, sorted(item.value for item in texts.strings))
            )
    return builder.build()


def _page(spec: PageSpec, data: dict[str, str]) -> str:
    # They become part of a script, which a text with </script> in it would end.
    safe = {name: text.replace("<", "\\u003c") for name, text in data.items()}
    return offline(str(get_compiled_template(spec.html)(safe)))


def _whole(view: Profile) -> Any:
    return renamed(view, {name: name for name in view.get_columns() if unbanded(name)[1] is None})
