"""Results as a person reads them in a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from feature_repo.home import REPO_PATH, Home
from validation.runs import report_path

if TYPE_CHECKING:
    from feature_repo.portfolios.ingest import IngestReport
    from feature_repo.stores.push import Pushed
    from monitoring.drift import DriftReport
    from services.train import TrainOutcome
    from validation.results import GateResult


def ingested(report: IngestReport) -> str:
    """Return the row counts of an ingest."""
    tables = ", ".join(f"{table} {rows:,}" for table, rows in report.rows.items())
    clock = f"; the clock stands at {report.as_of:%Y-%m-%d}" if report.as_of else ""
    return f"  {tables}{clock}"


def ingested_json(report: IngestReport) -> dict[str, Any]:
    """Return an ingest's rows and clock."""
    return {"portfolio": report.portfolio, "rows": report.rows, "as_of": report.as_of, "oot_start": report.oot_start}


def trained(outcome: TrainOutcome) -> str:
    """Return what was trained on and how well it ranks and is calibrated out of time."""
    dataset, metrics = outcome.dataset, outcome.candidate.metrics
    steps = " -> ".join(f"{name} {count:,}" for name, count in dataset.waterfall.items())
    left_out = "; ".join(f"{count:,} {why}" for why, count in dataset.left_out.items())
    return (
        f"  {steps}\n"
        + (f"  of the decisions made here these are no loans to learn from: {left_out}\n" if left_out else "")
        + f"  out of time from {dataset.oot_start:%Y-%m-%d}: AUC {metrics['oot_auc']:.3f}, KS {metrics['oot_ks']:.3f}, "
        f"Gini {metrics['oot_gini']:.3f}, Brier {metrics['oot_brier']:.4f}, ECE {metrics['oot_ece']:.3f}\n"
        f"  run {outcome.run.run_id}, version {outcome.run.version}{'' if outcome.is_new else ' as before'}"
        + "".join(f"\n  {name} is vouched for: {vouch.told()}" for name, vouch in outcome.vouched.items())
        + "".join(
            f"\n  {name}: the leakage check does not accuse it, no word for it is recorded" for name in outcome.unneeded
        )
    )


def gates(home: Home, results: Sequence[GateResult]) -> str:
    """Return a table of one line a gate, what was found below it, and where the report is."""
    lines = [f"{'gate':<20} {'result':<7}{'rows':>12}{'checks':>8}{'critical':>10}{'warnings':>10}{'set aside':>11}"]
    for result in results:
        counts = f"{result.rows:>12,}{result.checked:>8}{len(result.failures):>10}{len(result.warnings):>10}"
        verdict = "passed" if result.passed else "FAILED"
        lines.append(f"{result.name:<20} {verdict:<7}{counts}{result.quarantined:>11,}  {result.note}".rstrip())
        lines += [f"    critical  {finding}" for finding in result.failures]
        lines += [f"    warning   {finding}" for finding in result.warnings]
    return "\n".join([*lines, f"Data Docs: {data_docs(home)}"])


def gates_json(home: Home, results: Sequence[GateResult]) -> dict[str, Any]:
    """Return the gates' findings and the path of the report."""
    return {
        "passed": all(result.passed for result in results),
        "data_docs": str(data_docs(home)),
        "tables": msgspec.to_builtins(results),
    }


def pushed(view: str, done: Pushed) -> str:
    """Return what a push did."""
    return f"{view}: events {done.events:,}, newly served {done.served:,}"


def data_docs(home: Home) -> Path:
    """Return the first page of the Data Docs."""
    return report_path(home)


def decision(answer: dict[str, Any]) -> str:
    """Return a decision with its terms, reasons and freshness."""
    terms = answer["recommended_terms"]
    low, high = answer["probability_interval"]
    lines = [
        f"{answer['approval_recommendation']}  applicant {answer['applicant_id']}, score {answer['credit_score']}, "
        f"PD {answer['default_probability']:.2%} ({low:.2%} to {high:.2%}, confidence {answer['confidence']})",
    ]
    if terms["approved"]:
        lines.append(f"  terms    {_terms(terms)}")
    if counter := answer["counter_offer"]:
        lines.append(f"  instead  {_terms(counter)}")
    lines += [
        f"  because  {one['feature']} = {_value(one['value'])} {one['direction']} risk by {abs(one['impact']):.3f} "
        f"({one['source']})"
        for one in answer["explanation"]
    ]
    lines += [f"  reason   {one['reason']}" for one in answer["adverse_action_reasons"]]
    lines += [f"  review   {doubt}" for doubt in answer["review_reasons"]]
    lines += [
        f"  data     {view}: {entry['status']}"
        + (f", {entry['age_seconds'] / 86400:.0f} days old" if entry.get("age_seconds") is not None else "")
        for view, entry in answer["freshness"].items()
    ]
    model = answer["model"]
    lines.append(f"  model    {model['name']} version {model['version']}, {model['bundle'][:19]}…")
    lines.append(f"  record   {answer['decision_id']}")
    return "\n".join(lines)


def _terms(terms: dict[str, Any]) -> str:
    fee = f", fee {terms['origination_fee']:,.2f}" if terms["origination_fee"] else ""
    return (
        f"{terms['amount']:,.2f} in {terms['term_months']} payments of {terms['monthly_payment']:,.2f} "
        f"(last {terms['last_payment']:,.2f}), APR {terms['apr']:.2f} %{fee}, total {terms['total_of_payments']:,.2f}"
    )


def drift(report: DriftReport) -> str:
    """Return one line a feature, the most drifted first: against the reference and, if asked, the period before."""
    before = {one.feature: one for one in report.since_previous}
    head = f"{'feature':34} {'PSI':>7} {'CSI':>7} {'KS':>7} {'missing':>9}  {'status':<16}"
    lines = [head + (f"{'PSI before':>10}  status" if before else "")]
    for one in report.features:
        line = f"{one.feature:34} {_number(one.psi)} {_number(one.csi)} {_number(one.ks)} {one.missing_change:+9.3f}"
        then = before.get(one.feature)
        lines.append(f"{line}  {one.status:<16}" + (f"{then.psi:10.3f}  {then.status}" if then else ""))
    return "\n".join(line.rstrip() for line in lines)


def environment(home: Home) -> dict[str, Any]:
    """Return the addresses in force."""
    return {
        "home": str(home.root),
        "redis": home.redis,
        "repo_path": str(REPO_PATH),
        "feature_store_yaml": str(home.feature_store_yaml),
        "mlflow_tracking_uri": home.mlflow_uri,
        "decision_log": home.decision_log_url,
        "as_of": home.now().isoformat() if home.has_clock else None,
    }


def exports(home: Home) -> str:
    """Return shell lines that let plain `feast` and `mlflow` work on this home."""
    variables = {
        "CANDOR_HOME": str(home.root),
        "FEAST_FS_YAML_FILE_PATH": str(home.feature_store_yaml),
        "MLFLOW_TRACKING_URI": home.mlflow_uri,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    clock = f"{home.now():%Y-%m-%dT%H:%M:%SZ}" if home.has_clock else "wall clock"
    return "\n".join([*lines, f"# redis {home.safe_redis}; decision log {home.safe_log}; clock {clock}"])


def _value(value: Any) -> str:
    return "not known" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return f"{value:7.3f}" if value is not None else f"{'-':>7}"
