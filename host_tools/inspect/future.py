"""What will break a chain, and when: expiry, a root that leaves the store, a cross-sign; and what comes after."""

from datetime import UTC, datetime
from typing import Any

from host_tools import certinfo
from host_tools.inspect.chain import Built, Link, issuer_url
from rootlet import x509
from rootlet.dates import date

# Mozilla Root Store Policy section 7.4 (wiki.mozilla.org/CA/Root_CA_Lifecycles): roots whose key was made before
# the first date lose the websites trust bit on the second; later ones 15 years after the key was made.
_LEAVES = (
    (datetime(2006, 1, 1, tzinfo=UTC), datetime(2025, 4, 15, tzinfo=UTC)),
    (datetime(2008, 1, 1, tzinfo=UTC), datetime(2026, 4, 15, tzinfo=UTC)),
    (datetime(2010, 1, 1, tzinfo=UTC), datetime(2027, 4, 15, tzinfo=UTC)),
    (datetime(2012, 1, 1, tzinfo=UTC), datetime(2028, 4, 15, tzinfo=UTC)),
    (datetime(2014, 4, 15, tzinfo=UTC), datetime(2029, 4, 15, tzinfo=UTC)),
)
_YEARS = 15
_MOST = 5


def leaves_store(root: Link) -> int:
    """When Mozilla's store is to drop a root, Unix seconds; its start date stands for the making of its key."""
    start = datetime.fromtimestamp(root.cert.not_before, UTC)
    for before, end in _LEAVES:
        if start < before:
            return int(end.timestamp())
    # The day after, where the year has no 29 February.
    day = min(start.day, 28) if start.month == 2 else start.day
    return int(start.replace(year=start.year + _YEARS, day=day).timestamp())


def _owner(root: Link) -> bytes:
    """The organisation without case and punctuation: "DigiCert, Inc." and "DigiCert Inc" are one."""
    owner = x509.organisation(root.cert.subject) or b""
    return bytes(c for c in bytes(owner).lower() if chr(c).isalnum())


def _end(root: Link, public: bool) -> int:
    end: int = root.cert.not_after
    return min(end, leaves_store(root)) if public else end


def successors(root: Link, roots: list[Link], now: int, public: bool) -> list[Link]:
    """Roots of the same organisation that are good now and serve longer, the longest first.

    Args: public: whether the roots are a browser's store, which roots leave before they expire.
    """
    owner, end = _owner(root), _end(root, public)
    if not owner:
        return []
    kin = [
        other
        for other in roots
        if other.cert and other.der != root.der and _owner(other) == owner
        if other.cert.not_before <= now and _end(other, public) > end
    ]
    return sorted(kin, key=lambda other: (-_end(other, public), other.label))[:_MOST]


def _same_key(one: Link, other: Link) -> bool:
    try:
        return (
            one.cert.subject == other.cert.subject
            and one.full is not None
            and other.full is not None
            and one.full.public_key() == other.full.public_key()
        )
    except Exception:
        return False


def cross_signs(built: Built, roots: list[Link]) -> list[dict[str, Any]]:
    """Roots that came as intermediates. `needed` says that the chain hangs on it: the store lacks that root itself."""
    found = []
    sent = [item for item in [*built.path, *built.extra] if item.place > 0 and item.cert and item.cert.is_ca]
    for item in sent:
        if item.cert.issuer == item.cert.subject:
            continue
        known = any(r.cert and _same_key(item, r) for r in roots)
        deep = item in built.path[2:]
        if known or (deep and "root" in item.label.lower()):
            found.append(
                {
                    "subject": certinfo.printable(item.label),
                    "signed_by": certinfo.printable(x509.label(item.cert.issuer)),
                    "until": date(item.cert.not_after),
                    "needed": not known,
                }
            )
    return found


def breaks(built: Built, roots: list[Link], public: bool) -> list[dict[str, Any]]:
    """What ends, the soonest first: `at` (Unix seconds), `date`, `what`, `role`.

    Args: public: whether the roots are a browser's store, which roots leave before they expire.
    """
    rows: list[tuple[int, str, str]] = []
    for i, item in enumerate(built.path):
        if item.cert is None:
            continue
        top = item is built.root or (i > 0 and item.cert.issuer == item.cert.subject)
        role = "leaf" if i == 0 else "root" if top else "intermediate"
        todo = {
            "leaf": "the server must have renewed it",
            "intermediate": "the server must send another; nothing to do on the board",
            "root": "the board needs another root",
        }[role]
        rows.append((item.cert.not_after, role, f"{role} '{item.label}' ends: {todo}"))
    if public and built.root:
        when = leaves_store(built.root)
        if when < built.root.cert.not_after:
            label = built.root.label
            rows.append((when, "store", f"root '{label}' is to leave Mozilla's store: expect a chain under another"))
    for cross in cross_signs(built, roots):
        if cross["needed"]:
            what = f"'{cross['subject']}' is trusted only through its cross-sign by '{cross['signed_by']}'"
            at = next(
                i.cert.not_after for i in built.path if i.cert and certinfo.printable(i.label) == cross["subject"]
            )
            rows.append((at, "cross-sign", f"{what}: embed it too as soon as the store has it"))
    return [
        {"at": at, "date": date(at), "role": role, "what": certinfo.printable(what)} for at, role, what in sorted(rows)
    ]


def missing(built: Built) -> dict[str, str | None] | None:
    """The certificate that the server ought to send and where it is published, or None where nothing is missing."""
    if built.root or not built.path or built.path[-1].cert is None:
        return None
    top = built.path[-1]
    if top.cert.issuer == top.cert.subject:
        return None
    return {"issuer": certinfo.printable(x509.label(top.cert.issuer)), "url": issuer_url(top)}
