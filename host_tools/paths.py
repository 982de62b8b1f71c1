"""Where things are in a checkout: sources, data, and the build folder that holds everything generated."""

import os
from pathlib import Path


def _build(root: Path) -> Path:
    """build/ of a checkout; of an installed package the user's cache, since beside it are other packages."""
    if (root / "pyproject.toml").is_file():
        return root / "build"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rootlet"


ROOT = Path(__file__).resolve().parent.parent
FIRMWARE = ROOT / "firmware"
BOARDS = ROOT / "boards"
BUILD = _build(ROOT)
