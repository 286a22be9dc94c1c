"""``python -m labrun`` and the command ``labrun``."""

from __future__ import annotations

from labrun.runner.main import main

if __name__ == "__main__":
    main()
