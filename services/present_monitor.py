"""What monitoring found, as a person reads it in a terminal."""

from __future__ import annotations

from itertools import groupby

from monitoring.alerts import Alert
from monitoring.performance_report import Matured, PerformanceReport
from services.monitor_cycle import Cycle

_SHOWN = 5


def cycle(done: Cycle) -> str:
    """Return what a cycle did and found, in a few lines."""
    lines = [
        f"monitored  {done.period.name}: {done.decisions:,} decisions, {done.profiled:,} profiled anew",
    ]
    if done.drift:
        drifted = [one.feature for one in done.drift.features if one.status == "alert"]
        lines.append(f"drift      {len(drifted)} of {len(done.drift.features)} features alert{_listed(drifted)}")
    elif "drift" not in done.failed:
        lines.append("drift      no decisions to compare")
    if done.performance:
        lines.append(f"matured    {_matured(done.performance.matured)}")
    for _, together in groupby(done.firing, key=lambda alert: alert.rule):
        lines += _alerts(list(together))
    if not done.firing:
        lines.append("alerts     none")
    lines += [
        f"not now    {alert.rule} {alert.subject}".rstrip() + f", last met {alert.met:%Y-%m-%d %H:%M} UTC"
        for alert in done.alerts
        if alert not in done.firing
    ]
    lines += [f"failed     {step}: {message}" for step, message in done.failed.items()]
    lines += [f"not told   {sink}: {message}" for sink, message in done.undelivered.items()]
    if done.retrained:
        lines.append(f"retrained  {done.retrained}")
    lines += [f"page       {path}" for name, path in done.pages.items() if name.endswith(".html")]
    return "\n".join(lines)


def performance(report: PerformanceReport) -> str:
    """Return how decisions turned out: matured loans in all, by model, band and vintage, and what was answered."""
    names = ("loans", "bads", "bad rate", "expected"), ("AUC", "by PD", "KS", "ECE")
    head = f"{'matured':<18}" + "".join(f"{name:>10}" for name in names[0]) + "".join(f"{name:>7}" for name in names[1])
    rows = [
        report.matured,
        *report.models,
        *report.bands,
        *(vintage.matured for vintage in report.vintages if vintage.matured.loans),
    ]
    lines = [head, *(_row(one) for one in rows)]
    lines.append(
        f"{report.without_outcome:,} of {report.ripe:,} approved loans that have matured have no outcome by "
        f"{report.as_of:%Y-%m-%d}"
    )
    for mix in (report.previous, report.current):
        n = max(mix.decisions, 1)
        apr = f", mean APR {mix.mean_apr:.2f} %" if mix.mean_apr is not None else ""
        lines.append(
            f"{mix.name}: {mix.decisions:,} decisions, approved {mix.approved / n:.1%}, review {mix.reviewed / n:.1%}, "
            f"declined {mix.declined / n:.1%}{apr}"
        )
    return "\n".join(lines)


def _alerts(of_rule: list[Alert]) -> list[str]:
    first, more = of_rule[0], len(of_rule) - _SHOWN
    since = min(alert.since for alert in of_rule)
    return [
        f"{first.severity:<10} {first.rule}, since {since:%Y-%m-%d %H:%M} UTC",
        *(f"{'':<10}   {alert.words}" for alert in of_rule[:_SHOWN]),
        *([f"{'':<10}   and {more} more"] if more > 0 else []),
        f"{'':<10} What to do: {first.runbook}",
    ]


def _row(one: Matured) -> str:
    rates = f"{one.bad_rate:10.2%}{one.expected_rate:10.2%}" if one.loans else f"{'-':>10}{'-':>10}"
    found = one.measures
    measures = f"{found.auc:7.3f}{found.expected_auc:7.3f}{found.ks:7.3f}{found.ece:7.3f}" if found else f"{'-':>7}" * 4
    return f"{one.name:<18}{one.loans:>10,}{one.bads:>10,}{rates}{measures}"


def _matured(one: Matured) -> str:
    if one.bad_rate is None or one.expected_rate is None:
        return "no loan has matured yet"
    found = f"{one.loans:,} loans, bad rate {one.bad_rate:.2%}, expected {one.expected_rate:.2%}"
    return found + (f", AUC {one.measures.auc:.3f}, KS {one.measures.ks:.3f}" if one.measures else "")


def _listed(names: list[str]) -> str:
    return f": {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else ""
