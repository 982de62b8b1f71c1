"""The one error type of the firmware; its words are in catalogue.py."""

import sys

import rootlet


def unload(name):
    """Give back the memory of a module of this package that is not needed any more. name: without "rootlet."."""
    sys.modules.pop("rootlet." + name, None)
    if hasattr(rootlet, name):
        delattr(rootlet, name)


def words(code):
    """(what happened, what to do) of a code; empty where the table cannot be read."""
    try:
        from .catalogue import CATALOGUE

        what, _, fix = CATALOGUE[code].partition("|")
        return what, fix
    except (MemoryError, OSError, ImportError):
        return "", ""
    finally:
        unload("catalogue")  # some KB, seldom needed


class RootletError(Exception):
    """Anything that goes wrong in the firmware.

    Args:
        code: a key of catalogue.CATALOGUE.
        fact: what was observed, one line, without secrets.
        fix: what to do, where it can be said better than in the table.
    """

    def __init__(self, code, fact="", fix=""):
        super().__init__(code)
        self.code = code
        self.fact = fact
        self._fix = fix

    @property
    def fix(self):
        """What to do."""
        return self._fix or words(self.code)[1]

    def __str__(self):
        what, fix = words(self.code)
        return "%s: %s%s; try: %s" % (self.code, what, "; " + self.fact if self.fact else "", self._fix or fix)
