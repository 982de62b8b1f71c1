"""How many files and connections a process may have open, and raising that as far as it goes."""

import resource
from collections.abc import Sequence

from host_tools.failure import Failure

_SPARE = 64  # interpreter, libraries, logs
_MANY = 65536


def raise_files() -> int:
    """Raise the soft limit of open files to the hard one. Returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls its hard limit infinite, but refuses more than OPEN_MAX.
    for wish in (hard, 1048576, 10240):
        if wish != resource.RLIM_INFINITY and wish > soft:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wish, hard))
                return wish
            except (OSError, ValueError):
                continue
    return soft


def need_files(connections: int, what: str) -> None:
    """Check that a process (and those it starts) can hold so many connections. Raises Failure."""
    limit = raise_files()
    needed = connections + _SPARE
    if limit < needed:
        raise Failure(
            f"{what} do not fit",
            f"a process may open {limit} files here, and {needed} are needed",
            f"sudo prlimit --pid $$ --nofile={needed}:{needed}   (or, as root: ulimit -n {needed})",
        )


def told(engine: Sequence[str], most: int | None = None) -> list[str]:
    """How many connections a broker can hold here, for a person, and how to raise that.

    Args: engine: what the engine says of itself (engines.table.Engine.LIMITS). most: connections by its own bound.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    now = raise_files()
    soft, hard = ("none" if n == resource.RLIM_INFINITY else f"{n}" for n in before)
    fit = max(0, now - _SPARE)
    about = f"about {fit if most is None else min(fit, most)} connections"
    lines = [f"files: limit {now} (soft {soft}, hard {hard}): {about}; {engine[0]}"]
    lines += [f"  {line}" for line in engine[1:]]
    wanted = _MANY if most is None else most + _SPARE
    if now < wanted:
        lines.append(f"  more: ulimit -Hn {wanted} as root before the start, or LimitNOFILE={wanted} in a systemd unit")
    return lines
