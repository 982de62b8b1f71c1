"""The login page and the headers of every answer. The page is whole in one file: its script and style are allowed by
their hashes."""

import base64
import hashlib
import re
from functools import cache
from importlib import resources

FILE = "login.html"


@cache
def page() -> bytes:
    """The login page."""
    return resources.files("host_tools.dashboard").joinpath("static", FILE).read_bytes()


def _hashes(element: str) -> list[str]:
    """The hashes of the page's own scripts or styles, as a policy names them (CSP level 3, section 2.3.1)."""
    found = re.findall(rf"<{element}>(.*?)</{element}>", page().decode(), re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in found]


@cache
def policy() -> str:
    """The one policy of all answers. The hashes allow nothing more elsewhere: nothing else has these texts."""
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(["script-src 'self'", *_hashes("script")]),
            " ".join(["style-src 'self'", *_hashes("style")]),
            "connect-src 'self'",
            "img-src 'self' data:",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        )
    )


def headers(loopback: bool) -> list[tuple[str, str]]:
    """The headers of every answer. loopback: no HSTS, which would bind every server of this machine's `localhost`."""
    found = [
        ("content-security-policy", policy()),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-store"),
    ]
    return found if loopback else [*found, ("strict-transport-security", "max-age=31536000")]
