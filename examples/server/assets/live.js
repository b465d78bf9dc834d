// Follows the server's events and swaps what changed into the page.

import { morph } from "./morph.js";
import { setServerTime, tick } from "./clock.js";
import { isOver, tellOver } from "./session.js";

const say = (text) => {
  const region = document.getElementById("live");
  if (region) region.textContent = text;
};

// What this page shows: "plan:<id>" or "plan" for any.
function concerns(event) {
  const topics = (document.querySelector("main")?.dataset.topics || "").split(" ").filter(Boolean);
  return topics.some((topic) => topic === event.subject || topic === `${event.subject}:${event.subjectId}`);
}

let running = false;
let again = false;

// The page as it is now, or nothing when it cannot be had: the stream's own reconnecting says that then.
async function fetched(path) {
  try {
    const response = await fetch(path, { headers: { "x-fragment": "1", "x-unattended": "1" }, credentials: "same-origin" });
    tellOver(response.redirected && new URL(response.url).pathname === "/login");
    if (response.redirected || !response.ok) return null;
    return new DOMParser().parseFromString(await response.text(), "text/html");
  } catch {
    return null;
  }
}

function swap(page) {
  const next = page.querySelector("main");
  const main = document.querySelector("main");
  if (!next || !main) return;
  setServerTime(page.documentElement.dataset.now);
  if (main.dataset.digest && next.dataset.digest && main.dataset.digest !== next.dataset.digest) {
    // What is being decided about is another thing now: it must not change under the finger.
    const notice = document.getElementById("replaced");
    if (notice && notice.hidden) {
      notice.hidden = false;
      say(notice.textContent.trim());
    }
    return;
  }
  const before = main.dataset.state;
  const steps = new Map([...main.querySelectorAll("[data-step]")].map((step) => [step.id, step.dataset.step]));
  morph(main, next);
  const told = [];
  if (main.dataset.state !== before && main.dataset.state) told.push(main.dataset.state);
  for (const step of main.querySelectorAll("[data-step]")) {
    if (steps.get(step.id) === step.dataset.step) continue;
    told.push(step.dataset.step);
    step.classList.remove("changed");
    requestAnimationFrame(() => step.classList.add("changed"));
  }
  if (told.length) say(told.join(". "));
  tick();
  document.dispatchEvent(new Event("rounds:swapped"));
}

async function refresh() {
  if (running) {
    again = true;
    return;
  }
  running = true;
  try {
    // A form that was refused leaves the browser at the form's address; the page has one of its own.
    const path = document.querySelector("main")?.dataset.path;
    const page = await fetched(!path || path === location.pathname ? location.href : path);
    if (page) swap(page);
  } finally {
    running = false;
    if (again) {
      again = false;
      later();
    }
  }
}

let timer;
function later() {
  clearTimeout(timer);
  timer = setTimeout(refresh, 120);
}

const SOONEST = 1000;
const LATEST = 30000;

let stream;
let lost = false;
let retry;
let wait = SOONEST;

// A stream that was answered with anything but a stream, as by a proxy whose server restarts, is given up by the browser.
function listenLater() {
  clearTimeout(retry);
  retry = setTimeout(() => (isOver() ? listenLater() : listen()), wait);
  wait = Math.min(wait * 2, LATEST);
}

function listen() {
  const banner = document.getElementById("stream");
  clearTimeout(retry);
  stream?.close();
  stream = new EventSource("/api/events");
  const hear = (message) => {
    let event;
    try {
      event = JSON.parse(message.data);
    } catch {
      return;
    }
    if (concerns(event)) later();
  };
  stream.onmessage = hear;
  for (const name of ["plan", "alert", "investigation", "connector", "dead_letter", "change"]) {
    stream.addEventListener(name, hear);
  }
  // The server could not keep up, or this page could not: look at everything.
  stream.addEventListener("lagged", later);
  stream.onopen = () => {
    if (banner) banner.hidden = true;
    if (lost) say("connected again");
    lost = false;
    wait = SOONEST;
    // Whatever happened between the page and the stream, or while it was away, was told to nobody.
    later();
  };
  stream.onerror = () => {
    if (!lost) say("reconnecting");
    lost = true;
    if (banner) banner.hidden = false;
    if (stream.readyState !== EventSource.CLOSED) return;
    // The page says whether it is the session that is over.
    later();
    listenLater();
  };
}

export function start() {
  const main = document.querySelector("main");
  if (!main?.dataset.topics || !window.EventSource) return;
  listen();
  document.addEventListener("rounds:back", listen);
  // What changes without an event: values, expiry. And whatever a sleeping phone missed.
  setInterval(() => document.visibilityState === "visible" && later(), 20000);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && later());
}
