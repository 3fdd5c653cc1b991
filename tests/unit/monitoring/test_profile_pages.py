"""whylogs' own reports, opened without a network."""

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from monitoring.banding import profile_scored
from monitoring.profiles import profile_frame
from monitoring.profiles.offline import offline
from monitoring.profiles.visual import comparison_page, constraints_page
from monitoring.segments import PD

LICENCE = re.compile(r"/\*.*?\*/", re.DOTALL)
SPITE = "</script><script>document.title='caught'</script>"


def frame(seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "annual_income": np.exp(10 + 0.5 * rng.normal(shift, 1, 500)),
            "purpose": rng.choice(["car", "wedding", SPITE], 500),
            PD: rng.beta(2, 10, 500),
        }
    )


@pytest.fixture(scope="module", params=[comparison_page, constraints_page], ids=["comparison", "constraints"])
def page(request):
    return request.param(profile_scored(frame(1)), profile_scored(frame(2, 3.0)))


def test_no_address_is_left_but_the_names_of_namespaces_and_those_in_licences(page):
    bare = LICENCE.sub("", page)
    assert "www.w3.org" in bare
    assert "://" not in re.sub(r"http://www\.w3\.org/[\w/]+", "", bare)
    assert not re.search(r"<link\b[^>]*href|<(?:script|img|iframe)\b[^>]*\bsrc=\"(?!data:)|@import|integrity=", bare)
    assert "Content-Security-Policy" in page[:1000]


def test_licences_stay_with_what_is_put_in(page):
    for owner in ("OpenJS Foundation", "Mike Bostock", "The Bootstrap Authors", "Yehuda Katz"):
        assert owner in page


def test_score_bands_are_not_shown_as_features(page):
    assert "[PD " not in page


def test_a_text_cannot_end_the_script_that_it_is_part_of(page):
    assert SPITE not in page


def test_constraints_come_from_the_reference():
    page = constraints_page(profile_frame(frame(1)), profile_frame(frame(2, 3.0)))
    assert "annual_income is in range" in page
    assert "null percentage of purpose lower than 0.1" in page


def test_a_script_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="which is not known here"):
        offline('<head></head><script src="https://example.invalid/lodash.js"></script>')


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_the_page_draws_itself_without_a_network(page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page)
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom",
         "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'browser'}", path.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    drawn = re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)
    assert "annual_income" in drawn
    assert "<title>Profile Visualizer | whylogs</title>" in drawn
