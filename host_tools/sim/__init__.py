"""The virtual board: the MicroPython unix port behind a pseudo-terminal, dressed as a board."""
