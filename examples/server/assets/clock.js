// Keeps relative times and countdowns true while a page is open. Says what `when.rs` says: change both.

function span(seconds) {
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.floor((seconds + 30) / 60)} min`;
  if (seconds < 129600) return `${Math.floor((seconds + 1800) / 3600)} h`;
  return `${Math.floor((seconds + 43200) / 86400)} d`;
}

function relative(at, now) {
  const seconds = Math.trunc((at - now) / 1000);
  if (Math.abs(seconds) < 5) return "just now";
  return seconds > 0 ? `in ${span(seconds)}` : `${span(-seconds)} ago`;
}

// The page's times are the server's: a phone whose clock is wrong must not say that a plan has expired.
let skew = 0;

export function setServerTime(text) {
  const at = Date.parse(text);
  if (Number.isFinite(at)) skew = at - Date.now();
}

export function tick() {
  const now = Date.now() + skew;
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const at = Date.parse(time.dateTime);
    const text = Number.isFinite(at) ? relative(at, now) : time.textContent;
    if (time.textContent !== text) time.textContent = text;
    const expiry = time.closest(".expiry");
    if (expiry) expiry.classList.toggle("soon", at - now < 15 * 60 * 1000);
  }
  for (const time of document.querySelectorAll("time[data-elapsed]")) {
    const since = Date.parse(time.dateTime);
    if (!Number.isFinite(since)) continue;
    const text = span(Math.max(0, Math.trunc((now - since) / 1000)));
    if (time.textContent !== text) time.textContent = text;
  }
}

export function start() {
  setServerTime(document.documentElement.dataset.now);
  tick();
  setInterval(tick, 1000);
}
