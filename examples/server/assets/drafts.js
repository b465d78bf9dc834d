// What was typed is not lost when the session ended before it was sent: it waits in this tab, for the same person, until they
// are signed in again, and is then back in its form, unsent. Nothing secret is kept: no password, no secret, no confirmation
// that was typed. What a form says unseen (the digest of what was looked at, the kind of each step) is kept only to tell
// whether the form is still about the same: otherwise what was typed is shown, and put nowhere.

const KEY = "rounds.draft";
const LONGEST = 3600000;
const NEVER = ["csrf", "secret", "password", "current", "new", "again", "confirm"];

// A provider that refused leaves the browser below it.
const onSignIn = () => location.pathname === "/login" || location.pathname.startsWith("/login/");
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
const isGround = (field) => field.name && field.type === "hidden" && !NEVER.includes(field.name) && !("secret" in field.dataset);
const isBox = (field) => field.type === "checkbox" || field.type === "radio";

function keep(event) {
  if (onSignIn()) return;
  const form = event.target;
  // The menu's are about no page: signing out, the theme.
  if (event.defaultPrevented || form.getAttribute("method") !== "post" || form.closest("#menu")) return;
  const fields = [...form.elements].filter(isKept).map((field) => ({ name: field.name, value: field.value, on: isBox(field) ? field.checked : null }));
  const ground = [...form.elements].filter(isGround).map((field) => ({ name: field.name, value: field.value }));
  // Without anything typed, too: the page is where signing in leads back to.
  write({ user: user(), page: here(), action: form.getAttribute("action"), at: Date.now(), fields, ground });
}

// Whether the form still says unseen what it said. The draft may say more: a step was added and not saved.
function isAboutTheSame(form, ground) {
  return [...form.elements].filter(isGround).every((field) => ground.some((one) => one.name === field.name && one.value === field.value));
}

function restore(draft) {
  const form = [...document.forms].find((one) => one.getAttribute("action") === draft.action);
  const isOther = form && !isAboutTheSame(form, draft.ground ?? []);
  const left = [];
  for (const { name, value, on } of draft.fields) {
    const places = isOther ? [] : [...(form?.elements ?? [])];
    const field = places.find((one) => one.name === name && isKept(one) && (on === null || one.value === value));
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
    if (folded) {
      folded.open = true;
      folded.dataset.touched = "1";
    }
    field.dispatchEvent(new Event("input", { bubbles: true }));
    // What follows may be a field of the shape that is chosen here.
    if (field.nodeName === "SELECT") field.dispatchEvent(new Event("change", { bubbles: true }));
  }
  const notice = document.createElement("div");
  notice.id = "draft";
  notice.className = isOther ? "banner warn" : "banner info";
  notice.setAttribute("role", "status");
  notice.setAttribute("data-keep", "");
  const said = document.createElement("p");
  said.textContent = isOther
    ? "Your session had ended, so nothing was sent. This form is not what it was when you typed: it was changed meanwhile, or steps that you removed or moved are back. So what you typed was not put into it: look at what it is now, and take over what still holds."
    : "Your session had ended, so nothing was sent. What you typed is back; secrets and confirmations are typed again.";
  notice.append(said);
  if (left.length) {
    // Its place is gone, such as a step that was added: the text is not.
    const more = document.createElement("details");
    more.open = Boolean(isOther);
    more.append(Object.assign(document.createElement("summary"), { textContent: isOther ? "What you typed" : "What has no place here any more" }));
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
    if (draft && !document.getElementById("done")) {
      write({ ...draft, over: true });
      const next = document.querySelector("input[name='next']");
      if (next) next.value = draft.page;
      const provider = document.querySelector("a[href^='/login/oidc']");
      if (provider) provider.href = `/login/oidc?next=${encodeURIComponent(draft.page)}`;
    } else {
      write(null);
    }
    return;
  }
  write(null);
  const typed = draft?.fields.some((field) => field.on === null && field.value);
  if (typed && draft.over && draft.user === user() && draft.page === here() && Date.now() - draft.at < LONGEST) restore(draft);
  document.addEventListener("submit", keep);
}
