"""The guard's suite in a bundle: written, hashed, loaded; and bundles from before it had one."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil

import msgspec
import pytest

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home
from services.scoring.champion import load_model
from tests.unit.services import small_bundle
from training.bundle import MANIFEST, bundle_path, digest_of, install, load_bundle
from validation.rules import Expectation, Suite, request_suite

OWN = Expectation(type="expect_column_values_to_be_between", kwargs={"column": "inflow_90d", "max_value": 99.0})
BROKEN = {"credit_utilization": 7.0, "num_inquiries": 500, "home_ownership": "YURT", "of_legal_age": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(root=tmp_path_factory.mktemp("home"))


def as_format_2(folder, target):
    """The bundle as it was written before bundles held a suite."""
    target.mkdir(parents=True)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes())
    del manifest["files"]["guard.json"]
    raw = msgspec.json.encode(manifest | {"format": 2})
    for name in manifest["files"]:
        (target / name).write_bytes((folder / name).read_bytes())
    (target / MANIFEST).write_bytes(raw)
    return digest_of(raw)


def test_a_bundle_holds_the_suite_of_its_contract_by_its_hash(home):
    bundle = load_bundle(bundle_path(home, small_bundle.make(home)))
    written = (bundle.path / "guard.json").read_bytes()
    assert msgspec.json.decode(written, type=Suite) == request_suite(bundle.contract.features)
    assert bundle.manifest.files["guard.json"] == hashlib.sha256(written).hexdigest()
    assert {violation.feature for violation in bundle.guard.check(BROKEN)} == BROKEN.keys()


def test_a_bundle_without_a_suite_is_guarded_by_what_its_contract_says(home, tmp_path):
    newer = bundle_path(home, small_bundle.make(home))
    digest = as_format_2(newer, tmp_path / "older")
    (tmp_path / "older").rename(bundle_path(home, digest))
    older = load_model(home, digest, "7")
    assert older.name.bundle == digest
    assert older.guard.check(BROKEN) == load_bundle(newer).guard.check(BROKEN)
    assert len(older.guard.check(BROKEN)) == len(BROKEN)


def test_a_suite_of_ones_own_guards_decisions_and_another_suite_is_another_bundle(home):
    suite = request_suite(())
    own = msgspec.json.encode(msgspec.structs.replace(suite, expectations=(OWN,)))
    digest = small_bundle.make(home, guard=own)
    model = load_model(home, digest, "7")
    assert [violation.feature for violation in model.guard.check({**BROKEN, "inflow_90d": 100.0})] == ["inflow_90d"]
    assert digest != small_bundle.make(home)


def test_a_suite_that_cannot_guard_one_request_is_refused_before_anything_is_written(home, tmp_path):
    elsewhere = Home(root=tmp_path / "elsewhere")
    softened = msgspec.structs.replace(OWN, kwargs=OWN.kwargs | {"mostly": 0.9})
    with pytest.raises(InputError, match="mostly"):
        small_bundle.make(elsewhere, guard=msgspec.json.encode(Suite(name="request", expectations=(softened,))))
    assert not elsewhere.root.exists()


def test_a_suite_that_was_changed_or_a_format_to_come_is_not_loaded(home, tmp_path):
    folder = bundle_path(home, small_bundle.make(home, seed=3))
    manifest = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(manifest.replace(b'"format":3', b'"format":4'))
    with pytest.raises(UnavailableError, match="format 4, this program reads 2 and 3"):
        load_bundle(folder)
    (folder / MANIFEST).write_bytes(manifest)
    (folder / "guard.json").write_bytes(b"{}")
    with pytest.raises(UnavailableError, match=r"guard\.json does not match its checksum"):
        load_bundle(folder)


def test_a_full_disk_leaves_no_half_of_a_bundle(tmp_path, monkeypatch):
    home = Home(root=tmp_path)
    digest = small_bundle.make(home)
    shutil.rmtree(home.bundles)
    whole = shutil.copyfile

    def full(source, target, **options):
        if os.fspath(source).endswith("policy.toml"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(source, target, **options)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space left"):
            install(home, home.root / "candidate")
    assert not home.bundles.exists() or list(home.bundles.iterdir()) == []
    assert load_bundle(install(home, home.root / "candidate")).digest == digest
