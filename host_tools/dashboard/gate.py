"""The gate before all routes: who may come in, under which name, and from where; and the way from plain HTTP to it."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from host_tools.dashboard import auth, login
from host_tools.masking import harmless

if TYPE_CHECKING:
    from host_tools.dashboard.serve import Settings

MOST_BODY = 4096
_SAFE = ("GET", "HEAD")


def too_large() -> Response:
    """The answer to a body of more than MOST_BODY bytes."""
    return PlainTextResponse("that is too much\n", 413, {"connection": "close"})


# RFC 9110 section 15.5.2 wants a challenge; browsers leave a scheme that they do not know alone.
CHALLENGE = {"www-authenticate": 'Session realm="rootlet"'}


class Gate:
    """Lets nobody in without a session (with mtls: an allowed certificate), nor under a foreign name or origin.

    It stands before all routes, so that none can be forgotten.
    """

    def __init__(self, app: ASGIApp, settings: "Settings", sessions: auth.Sessions) -> None:
        self._app, self._settings, self._sessions = app, settings, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            return
        refusal = self._refusal(scope)
        app = refusal or self._app
        say = self._settings.say
        if say is None:
            await app(scope, receive, send)
            return
        path = harmless(scope["path"][:200])
        what = f"{scope['client'][0]} {scope.get('method', 'WebSocket')} {path}"

        async def noted(message: Any) -> None:
            # The query stays out: somebody may have put a token there.
            if "status" in message:
                say(f"{what} {message['status']}")
            elif message["type"] == "websocket.accept":
                say(f"{what} 101")
            await send(message)

        await app(scope, receive, noted)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        method, path = scope.get("method", "WEBSOCKET"), scope["path"]
        session = auth.cookie(headers.get("cookie", ""))
        scope.setdefault("state", {})["session"] = session
        origin = auth.origin(headers)
        if not auth.is_known(auth.host_name(headers.get("host", "")), self._settings.names):
            return PlainTextResponse("this server has another name\n", 421)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length[:20]) > MOST_BODY:
            return too_large()
        logs_in = self._settings.mtls is None and (method, path) == ("POST", "/login")
        stranger = None if logs_in else self._stranger(scope)
        if stranger:
            return stranger
        if origin == auth.FOREIGN or (origin == auth.ABSENT and method not in _SAFE and not logs_in):
            return PlainTextResponse("that came from another page\n", 403)
        return None

    def _stranger(self, scope: Scope) -> Response | None:
        """What to answer one who may not see the page, else None."""
        if self._settings.mtls is not None:
            if scope["state"].get("peer") in self._settings.mtls:
                return None
            return PlainTextResponse("the name in your certificate may not see this page\n", 403)
        if self._sessions.valid(scope["state"]["session"]):
            return None
        if scope["path"] == "/" and scope.get("method") in _SAFE:
            return HTMLResponse(login.page(), 401, CHALLENGE)
        return PlainTextResponse("log in first\n", 401, CHALLENGE)


def redirection(names: tuple[str, ...], port: int) -> ASGIApp:
    """An application for plain HTTP that sends every GET to the same path over HTTPS, under a known name only."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer: Response = PlainTextResponse("only https is served\n", 403)
        if scope.get("method") in _SAFE:  # a WebSocket has no method
            asked = auth.host_name(Headers(scope=scope).get("host", ""))
            name = asked if auth.is_known(asked, names) else names[0]
            place = f"[{name}]" if ":" in name else name
            path = quote(scope["path"], safe="/:@!$&'()*+,;=-._~") if scope["path"].startswith("/") else "/"
            query = quote(scope["query_string"].decode("latin-1"), safe="/:@!$&'()*+,;=-._~?%")
            answer = PlainTextResponse("", 308)
            answer.headers["location"] = f"https://{place}:{port}{path}{'?' + query if query else ''}"
        await answer(scope, receive, send)

    return app
