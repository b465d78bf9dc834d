// Adds life to pages that work without it: nothing here is needed to read or to decide.

import { start as clock } from "./clock.js";
import { start as drafts } from "./drafts.js";
import { start as evidence } from "./evidence.js";
import { start as keys } from "./keys.js";
import { start as live } from "./live.js";
import { start as session } from "./session.js";
import { start as settle } from "./settle.js";
import { start as sparks } from "./sparks.js";
import { start as tryout } from "./tryout.js";
import { start as variants } from "./variants.js";

document.documentElement.dataset.script = "on";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select and copy";
  }
  setTimeout(() => (button.textContent = "Copy"), 2000);
});

// A disclosure that a person opened or closed stays so when the page is refreshed beneath it.
document.addEventListener("click", (event) => {
  const summary = event.target.closest("summary");
  if (summary) summary.parentElement.dataset.touched = "1";
});

// One press is one decision: the second click of a double click sends nothing.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "1";
  // What takes longer than a second says that it is under way.
  if (event.submitter?.dataset.wait) {
    event.submitter.textContent = event.submitter.dataset.wait;
    document.getElementById("live").textContent = event.submitter.dataset.wait;
  }
  setTimeout(() => delete form.dataset.sent, 4000);
});

// A field whose change is another page of the same form: choosing a kind of connector.
document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-go]")) event.target.form.requestSubmit();
});

// The result of a form was said once: reloading the page should not say it again.
const url = new URL(location.href);
if (url.searchParams.has("done")) {
  url.searchParams.delete("done");
  history.replaceState(null, "", url);
}

clock();
keys();
session();
live();
settle();
sparks();
tryout();
evidence();
variants();
drafts();
