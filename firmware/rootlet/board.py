"""What this board is like: the data file that `rootlet deploy` puts beside the configuration."""

import json

from . import trees
from .errors import RootletError


def load(path="board.json"):
    """The board file as a dict (fields: see boards/). Raises RootletError CONFIG."""
    try:
        with open(trees.path(path)) as f:
            return json.load(f)
    except (OSError, ValueError):
        raise RootletError("CONFIG", "%s is absent or damaged" % path, "deploy again: `rootlet deploy`") from None
