// The WebSocket to the server: comes back by itself, ever more slowly, and says so.

const FIRST_S = 0.5;
const SLOWEST_S = 30;

/**
 * Connects, and stays connected.
 * on.message(object), on.phase("connecting" | "open" | "waiting", until: ms of the page's clock), on.locked() without a session.
 */
export function connect(on) {
  const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
  let socket = null;
  let wait = FIRST_S;
  let timer = 0;
  let opened = null;
  let asking = false;

  function open() {
    clearTimeout(timer);
    on.phase("connecting");
    socket = new WebSocket(address);
    socket.onopen = () => {
      on.phase("open");
      if (opened !== null) tell();
    };
    socket.onmessage = ({ data }) => {
      wait = FIRST_S;
      let message;
      try {
        message = JSON.parse(data);
      } catch {
        return;
      }
      if (message !== null && typeof message === "object") on.message(message);
    };
    socket.onclose = later;
  }

  function later() {
    socket = null;
    const pause = wait * (0.75 + Math.random() / 2);
    wait = Math.min(wait * 2, SLOWEST_S);
    timer = setTimeout(again, pause * 1000);
    on.phase("waiting", performance.now() + pause * 1000);
  }

  // A refused WebSocket does not say why: a plain request does, and makes no noise where the server is away.
  async function again() {
    clearTimeout(timer);
    if (socket || asking) return;
    on.phase("connecting");
    asking = true;
    try {
      const answer = await fetch("/static/icon.svg", { method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (answer.status === 401) {
        on.locked();
        return;
      }
    } catch {
      later();
      return;
    } finally {
      asking = false;
    }
    open();
  }

  function tell() {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "open", device: opened }));
  }

  const now = () => {
    if (!socket) again();
  };
  window.addEventListener("online", now);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && now());
  open();
  return {
    now,
    /** Asks for one device's detail, or with null for none's. */
    device(id) {
      if (id === opened) return;
      opened = id;
      tell();
    },
  };
}
