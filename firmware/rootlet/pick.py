"""Chooses the root a server needs: a look at its certificates, which trusts nothing, and a memory of what it needed."""

import json
import os

from . import x509
from .errors import RootletError
from .judge import X509_FATAL, Judge
from .store import name_hash

_MOST_HOSTS = 16


class Peek(Judge):
    """Verify callback that only looks: who issued what the server sent. It always ends the handshake.

    Attributes: issuers: name_hash of the issuer of each certificate, leaf first; leaf_seen.
    """

    def __init__(self, host, trust, now):
        super().__init__(host, trust, now)
        self.issuers = []

    def __call__(self, der, depth):
        # As in Judge: nothing may be raised from here.
        try:
            cert = x509.parse(der)
            self.chain.append(x509.label(cert.subject))
            if self.top is None:
                self.top = cert
            self.issuers.insert(0, name_hash(cert.issuer))
        except x509.Malformed as e:
            self.fault = RootletError("CERT_MALFORMED", str(e))
        except MemoryError:
            self.fault = RootletError("TLS_MEMORY", "while a certificate was read")
        except Exception as e:  # such as a full stack
            self.fault = RootletError("TLS_FAILED", "a certificate could not be read: %s" % type(e).__name__)
        self.leaf_seen = depth == 0
        return 0 if depth and not self.fault else X509_FATAL


def choose(peek, trust):
    """The roots for a server whose certificates were looked at.

    The lowest issuer that is known wins: a certificate that is cross-signed, or a root the server sends along, adds
    nothing then. All roots of that name are given, since only Mbed TLS can tell which key signed.

    Returns (its name_hash, list of DER certificates). Raises RootletError CERT_*, TLS_STORE.
    """
    issuer, roots = known(peek.issuers, trust)
    if roots:
        return issuer, roots
    e = peek.untrusted()
    if e.code == "CERT_UNKNOWN_CA":
        e.fact += "; none of the %d roots in store '%s' has this name" % (trust.store.count, trust.store.version)
    raise e


def known(issuers, trust):
    """The first of these names that is known: (name_hash, roots): the embedded ones, and those of the root store."""
    for root in trust.roots:
        try:
            name = name_hash(x509.parse(root).subject)
        except x509.Malformed:
            continue  # Mbed TLS may know it all the same, but it is not what is looked for here
        if name in issuers:
            return name, list(trust.roots) + trust.store.find([name])[1]
    return trust.store.find(issuers)


class Choices:
    """Which root each host needed when it was last verified; at most 16, kept in a file.

    Nothing is believed because of it: a wrong entry costs one more look at the server.
    Args: path: the file, JSON.
    """

    def __init__(self, path="picked.json"):
        self._path = path
        self._hosts = self._load()

    def _load(self):
        try:
            with open(self._path) as f:
                rows = json.load(f)
            hosts = [[str(host), bytes.fromhex(issuer)] for host, issuer in rows[:_MOST_HOSTS]]
            return [row for row in hosts if len(row[1]) == 4]
        except (OSError, ValueError, TypeError, AttributeError):
            return []

    def get(self, host):
        """The name_hash kept for a host, or None."""
        for name, issuer in self._hosts:
            if name == host:
                return issuer
        return None

    def put(self, host, issuer):
        """Keep what a verified connection needed; the file is written only where that is new."""
        if self.get(host) == issuer:
            return
        self._hosts = [[host, issuer]] + [row for row in self._hosts if row[0] != host][: _MOST_HOSTS - 1]
        try:
            with open(self._path + ".new", "w") as f:
                json.dump([[name, kept.hex()] for name, kept in self._hosts], f)
            os.rename(self._path + ".new", self._path)
        except OSError:
            pass  # a full flash costs a look at the server after the next start, no more
