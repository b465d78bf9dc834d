// What was typed is not lost when the session ended before it was sent: it waits in this tab, for the same person, until they
// are signed in again, and is then back in its form, unsent. Nothing secret is kept: no password, no secret, no confirmation
// that was typed, nothing hidden.

const KEY = "rounds.draft";
const LONGEST = 3600000;
const NEVER = ["csrf", "secret", "password", "current", "new", "again", "confirm"];

const onSignIn = () => location.pathname === "/login";
const user = () => document.documentElement.dataset.user || "";

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) || "null");
  } catch {
    return null;
  }
}

function write(draft) {
  try {
    if (draft) sessionStorage.setItem(KEY, JSON.stringify(draft));
    else sessionStorage.removeItem(KEY);
  } catch {
    // A browser that keeps nothing: the page works as without this.
  }
}

// A form that was refused leaves the browser at the form's address; the page has one of its own.
function here() {
  const path = document.querySelector("main")?.dataset.path;
  return !path || path === location.pathname ? location.pathname + location.search : path;
}

const isKept = (field) => field.name && !field.disabled && !NEVER.includes(field.name) && !("secret" in field.dataset)
  && (["TEXTAREA", "SELECT"].includes(field.nodeName) || (field.nodeName === "INPUT" && !["hidden", "password", "submit", "button", "file"].includes(field.type)));
const isBox = (field) => field.type === "checkbox" || field.type === "radio";

function keep(event) {
  if (onSignIn()) return;
  const form = event.target;
  if (event.defaultPrevented || form.getAttribute("method") !== "post") return;
  const fields = [...form.elements].filter(isKept).map((field) => ({ name: field.name, value: field.value, on: isBox(field) ? field.checked : null }));
  const typed = fields.some((field) => field.on === null && field.value);
  write(typed ? { user: user(), page: here(), action: form.getAttribute("action"), at: Date.now(), fields } : null);
}

function restore(draft) {
  const form = [...document.forms].find((one) => one.getAttribute("action") === draft.action);
  const left = [];
  for (const { name, value, on } of draft.fields) {
    const field = [...(form?.elements ?? [])].find((one) => one.name === name && isKept(one) && (on === null || one.value === value));
    if (!field) {
      if (on === null && value) left.push(`${name}: ${value}`);
      continue;
    }
    if (on !== null) {
      if (field.checked !== on) field.checked = on;
      continue;
    }
    if (field.value === value) continue;
    field.value = value;
    if (field.value !== value && field.nodeName === "SELECT") left.push(`${name}: ${value}`);
    const folded = field.closest("details");
    if (folded) folded.open = true;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
  const notice = document.createElement("div");
  notice.id = "draft";
  notice.className = "banner info";
  notice.setAttribute("role", "status");
  notice.setAttribute("data-keep", "");
  const said = document.createElement("p");
  said.textContent = "Your session had ended, so nothing was sent. What you typed is back; secrets and confirmations are typed again.";
  notice.append(said);
  if (left.length) {
    // Its place is gone, such as a step that was added: the text is not.
    const more = document.createElement("details");
    more.append(Object.assign(document.createElement("summary"), { textContent: "What has no place here any more" }));
    more.append(Object.assign(document.createElement("pre"), { className: "output", textContent: left.join("\n") }));
    notice.append(more);
  }
  document.querySelector("main").prepend(notice);
  // Fields that others depend on were set.
  document.dispatchEvent(new Event("rounds:swapped"));
}

export function start() {
  const draft = read();
  if (onSignIn()) {
    // Only a form that was just sent comes here with a draft: any other page drops it.
    if (draft && !new URLSearchParams(location.search).has("done")) {
      write({ ...draft, over: true });
      const next = document.querySelector("input[name='next']");
      if (next) next.value = draft.page;
    } else {
      write(null);
    }
    return;
  }
  write(null);
  if (draft?.over && draft.user === user() && draft.page === here() && Date.now() - draft.at < LONGEST) restore(draft);
  document.addEventListener("submit", keep);
}
