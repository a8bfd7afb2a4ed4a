"""``python -m medkit``."""

from medkit.cli import main

main()
