"""Run both notebooks on the home in force and save them in place: ``python -m training.notebooks``."""

import sys

from feature_repo.errors import CandorError
from feature_repo.home import Home
from training.notebooks.execution import NOTEBOOKS, execute, save


def main() -> int:
    """Run and save; return 0, or 1 with one line on stderr."""
    for path in NOTEBOOKS:
        try:
            save(execute(path, Home.resolve()), path)
        except CandorError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            return 1
        print(path.relative_to(path.parents[2]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
