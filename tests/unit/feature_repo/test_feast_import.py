"""What of Feast is checked when Candor imported it; in processes of their own, for an import is for good."""

import subprocess
import sys

START = "import sys, feature_repo\nassert 'typeguard' not in sys.modules\n"


def told(tmp_path, program):
    script = tmp_path / "program.py"  # typeguard reads the source
    script.write_text(START + program)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


def test_what_is_handed_to_feast_is_still_checked(tmp_path):
    program = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource
source = FileSource(path="a.parquet", timestamp_field="at")
FeatureView(name="a", source=source, ttl=timedelta(days=1))
for make in (
    lambda: FeatureView(name="a", source=source, ttl=5),
    lambda: Field(name="a", dtype="float"),
    lambda: Entity(name=1),
    lambda: FileSource(path=1),
    lambda: PushSource(name="a", batch_source=2),
    lambda: FeatureService(name="a", features="b"),
    lambda: FeatureView(name="a", source=source).with_join_key_map(["b"]),
):
    try:
        make()
    except Exception as error:
        print(type(error).__name__, str(error).partition(" (")[0])
"""
    wrong = ["ttl", "dtype", "name", "path", "batch_source", "features", "join_key_map"]
    assert told(tmp_path, program) == [f'TypeCheckError argument "{name}"' for name in wrong]


def test_the_methods_of_feast_are_as_they_were_written_and_other_packages_are_checked_whole(tmp_path):
    program = """
from feast import FeatureView
import inspect, typeguard

@typeguard.typechecked
class Own:
    def twice(self, number: int) -> int:
        return 2 * number

@typeguard.typechecked
def twice(number: int) -> int:
    return 2 * number

for call in (Own().twice, twice):
    try:
        call("1")
    except typeguard.TypeCheckError as error:
        print("checked")
functions = {name: one.__code__ for name, one in vars(FeatureView).items() if inspect.isfunction(one)}
print([name for name, code in functions.items() if any("typeguard" in one for one in code.co_names)])
"""
    assert told(tmp_path, program) == ["checked", "checked", "['__init__', 'with_join_key_map']"]


def test_the_import_of_feast_passes_by_those_who_find_modules_too(tmp_path):
    program = """
import importlib.util
from importlib.abc import MetaPathFinder

class Other(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "feast":
            print("asked")

sys.meta_path.insert(1, Other())
importlib.reload(feature_repo)
print(sum(type(finder).__name__ == "_BeforeFeast" for finder in sys.meta_path))
sys.modules["typeguard"] = None
print(importlib.util.find_spec("feast") is not None)
"""
    assert told(tmp_path, program) == ["1", "asked", "True"]
