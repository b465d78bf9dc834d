// What a rule says while it is typed: the server looks, the page shows. Without this, the buttons of the form do it.

import { morph } from "./morph.js";
import { tellOver } from "./session.js";

const PAUSE = 500;
// What a datasource would answer otherwise.
const ASKS = ["query", "operator", "threshold", "forDurationSec", "evaluationIntervalSec", "datasourceId"];

export function start() {
  const form = document.querySelector("form[data-look]");
  const region = document.getElementById("look");
  if (!form || !region) return;
  let asking;
  let timer;
  // The last backtest that was asked for is kept up to date, too.
  let op = form.dataset.op || "preview";

  async function look() {
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    region.setAttribute("aria-busy", "true");
    try {
      const body = new URLSearchParams(new FormData(form));
      body.set("op", op);
      const headers = { "x-fragment": "1" };
      const response = await fetch(form.dataset.look, { method: "POST", body, headers, signal: mine.signal, credentials: "same-origin" });
      tellOver(response.redirected && new URL(response.url).pathname === "/login");
      if (response.redirected) return;
      const next = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("look");
      if (next && asking === mine) morph(region, next);
    } catch {
      // Another one is under way, or the server is away: what is shown is of before.
    } finally {
      if (asking === mine) region.removeAttribute("aria-busy");
    }
  }

  form.addEventListener("input", (event) => {
    if (!ASKS.includes(event.target.name)) return;
    clearTimeout(timer);
    if (!form.elements.query.value.trim()) return;
    timer = setTimeout(look, PAUSE);
  });
  form.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (button?.name !== "op" || button.value === "save") return;
    event.preventDefault();
    // It is no decision, so the guard against a second click is not asked.
    event.stopPropagation();
    clearTimeout(timer);
    op = button.value;
    look();
  });
  if (form.elements.query.value.trim() && !region.firstElementChild) look();
}
