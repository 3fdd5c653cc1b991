"""The same way on real loans: 42,535 of LendingClub, 682 of a Czech bank with dated transactions."""

import json
import shutil

import pytest

from feature_repo import registry
from feature_repo.home import Home
from feature_repo.portfolios.ingest import ingest
from services import embedded, pipeline
from training.dataset import build_dataset

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize(
    ("portfolio", "low", "high", "trained_before"),
    [("lendingclub", 0.67, 0.73, "2011-07-01"), ("berka", 0.85, 0.97, "1997-01-01")],
)
def test_the_demo_on_real_loans(portfolio, low, high, trained_before, real_data, candor, tmp_path):
    words = ("demo", "--portfolio", portfolio, "--from", str(real_data / portfolio), "--no-serve", "--json")
    try:
        answer = json.loads(candor(*words, "--oot-start", trained_before, home=tmp_path).stdout)
    finally:
        candor("stop", home=tmp_path)
    assert low < answer["train"]["metrics"]["oot_auc"] < high
    decision = answer["decision"]
    assert "PRESENT" in {view["status"] for view in decision["freshness"].values()}
    assert any(one["value"] is not None and one["event_timestamp"] for one in decision["explanation"])


def test_transactions_after_a_loan_change_no_training_feature(real_data, tmp_path):
    frames = []
    for name in ("as it is", "with what came later"):
        raw = tmp_path / name / "raw"
        shutil.copytree(real_data / "berka", raw)
        if name != "as it is":
            raw.chmod(0o755)
            loans = [line.split(";") for line in (raw / "loan.asc").read_text().splitlines()[1:]]
            # every loan's account books a fortune on the day of the loan
            later = [
                f"{90_000_000 + i},{account},19{day[:2]}-{day[2:4]}-{day[4:]},PRIJEM,VKLAD,9000000,9000000,,,"
                for i, (_, account, day, *_) in enumerate(loans)
            ]
            (raw / "trans_preloan_3.csv").write_text(
                (raw / "trans_preloan_1.csv").read_text().splitlines()[0] + "\n" + "\n".join(later) + "\n"
            )
        home = Home(root=tmp_path / name / "home")
        try:
            ingest(home, "berka", raw)
            embedded.ensure(home)
            store = registry.apply(home)
            contract = registry.read_contract(store, pipeline.SERVICE)
            frames.append(
                build_dataset(
                    store, contract, home.source_glob("loans"),
                    as_of=home.outcomes_now(), oot_start=home.state().oot_start,
                )
            )  # fmt: skip
        finally:
            embedded.stop(home)
    assert frames[0].frame["balance_mean_90d"].notna().all()
    assert frames[0].digest == frames[1].digest
