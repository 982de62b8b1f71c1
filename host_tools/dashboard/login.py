"""The login page, whole in one file: its script and style are allowed by their hashes."""

import base64
import hashlib

_SCRIPT = """
const form = document.querySelector("form");
const say = document.querySelector("#say");
async function enter(token) {
  say.textContent = "…";
  let answer;
  try {
    answer = await fetch("/login", {method: "POST", body: new URLSearchParams({token}), redirect: "manual"});
  } catch {
    say.textContent = "The server cannot be reached.";
    return;
  }
  // The redirect after the right token is not shown to a script.
  if (answer.type === "opaqueredirect" || answer.ok) location.replace("/");
  else if (answer.status === 429) say.textContent = "Too many wrong tokens. Wait a minute.";
  else say.textContent = "That token is wrong, or an old one: each start of rootlet dashboard prints a new one.";
}
form.addEventListener("submit", (event) => { event.preventDefault(); enter(form.token.value.trim()); });
function from_address() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  // The token must not stay in the address bar or the history.
  history.replaceState(null, "", location.pathname);
  enter(token);
}
addEventListener("hashchange", from_address);
from_address();
"""

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 30rem; margin: 15vh auto 0; padding: 0 1rem; }
input, button { font: inherit; padding: .5rem; box-sizing: border-box; }
input { width: 100%; margin-bottom: .5rem; }
"""

_PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Rootlet: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>
<body><main><h1>Rootlet</h1>
<p>Open the address that <code>rootlet dashboard</code> printed, or paste its token here.</p>
<form method="post" action="/login"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="off" required autofocus>
<button>Log in</button></form>
<p id="say" role="status"></p></main><script>{_SCRIPT}</script></body></html>
"""
PAGE = _PAGE.encode()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# The hashes stand in the one policy of all answers: nothing else has these texts, so they allow nothing more.
POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'self' {_hash(_SCRIPT)}",
        f"style-src 'self' {_hash(_STYLE)}",
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
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-store"),
    ]
    return found if loopback else [*found, ("strict-transport-security", "max-age=31536000")]
