"""``python -m services`` is ``candor``."""

from services.cli import main

main()
