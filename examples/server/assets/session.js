// Says that the session is over before something is typed for nothing, on every page, also one that follows no events.

const EVERY = 60000;

// Whether the session is over, as some answer said. Signed in again, in another tab, the page goes on.
export function tellOver(isOver) {
  const notice = document.getElementById("over");
  if (!notice || notice.hidden !== isOver) return;
  notice.hidden = !isOver;
  if (!isOver) document.dispatchEvent(new Event("rounds:back"));
}

export const isOver = () => document.getElementById("over")?.hidden === false;

async function look() {
  if (document.visibilityState !== "visible") return;
  try {
    const response = await fetch("/api/user", { headers: { "x-unattended": "1" }, credentials: "same-origin", cache: "no-store" });
    if (response.ok || response.status === 401) tellOver(response.status === 401);
  } catch {
    // The server is away, which says nothing about the session.
  }
}

export function start() {
  if (!document.getElementById("over")) return;
  document.addEventListener("visibilitychange", look);
  window.addEventListener("focus", look);
  setInterval(look, EVERY);
}
