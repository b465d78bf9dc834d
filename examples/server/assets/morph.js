// Changes a live tree into another one by touching only what differs, so that focus, scroll, text selection and
// whatever a person typed or opened stay as they are.

const isElement = (node) => node?.nodeType === Node.ELEMENT_NODE;
const isBlank = (node) => node?.nodeType === Node.TEXT_NODE && !node.nodeValue.trim();

// What was refused, or came back after signing in, is shown on this page alone: the page that is fetched knows none of it.
const unsent = () => document.getElementById("error") || document.getElementById("draft");

// The result of a form stays until the page is left, and so does what it says beside its fields.
const isKept = (node) => isElement(node) && (node.hasAttribute("data-keep") || (node.matches("form .wrong") && unsent()));

const key = (node) => (isElement(node) ? node.id : "");

// The first class says what something is, the others how it is. Another question is another thing, with none of what was
// typed, focused or pressed for the one before.
function alike(a, b) {
  if (a.nodeType !== b.nodeType || a.nodeName !== b.nodeName || key(a) !== key(b)) return false;
  if (isElement(a) && a.dataset.asks !== b.dataset.asks) return false;
  return !isElement(a) || key(a) !== "" || a.classList[0] === b.classList[0];
}

function typed(element) {
  // What a form that was refused shows again was typed too, though the page that is fetched does not know it.
  if (unsent() && element.type !== "hidden") return true;
  if (element.type === "checkbox" || element.type === "radio") return element.checked !== element.defaultChecked;
  if (element.nodeName === "SELECT") return [...element.options].some((o) => o.selected !== o.defaultSelected);
  return element.value !== element.defaultValue;
}

function attributes(from, to) {
  const refused = unsent();
  const isHeld = (name) => {
    // Whether a disclosure is open is the reader's choice once it is on the screen, and what was refused may be inside.
    if (name === "open") return from.dataset.touched || (refused && from.open);
    // What fields are described by includes what is wrong with them.
    return name === "data-touched" || (refused && from.nodeName === "FIELDSET" && name.startsWith("aria-"));
  };
  for (const { name, value } of [...to.attributes]) {
    if (!isHeld(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !isHeld(name)) from.removeAttribute(name);
  }
}

export function morph(from, to) {
  if (!isElement(from)) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  const field = ["INPUT", "TEXTAREA", "SELECT"].includes(from.nodeName);
  if (field && typed(from)) {
    // Whether it may be used is still the server's to say.
    from.disabled = to.disabled;
    return;
  }
  attributes(from, to);
  if (from.nodeName === "TEXTAREA") {
    if (from.defaultValue !== to.defaultValue) from.defaultValue = to.defaultValue;
    return;
  }
  // The clock keeps what a time says.
  if (from.nodeName === "TIME" && (from.hasAttribute("data-relative") || from.hasAttribute("data-elapsed"))) return;
  children(from, to);
}

function children(from, to) {
  const wants = [...to.childNodes];
  let at = from.firstChild;
  wants.forEach((wanted, place) => {
    while (isKept(at) || (isBlank(at) && isElement(wanted))) at = at.nextSibling;
    const found = match(at, wanted, wants.slice(place + 1));
    if (!found) {
      from.insertBefore(document.importNode(wanted, true), at);
      return;
    }
    while (at !== found) {
      const gone = at;
      at = at.nextSibling;
      if (!isKept(gone)) gone.remove();
    }
    at = found.nextSibling;
    morph(found, wanted);
  });
  while (at) {
    const gone = at;
    at = at.nextSibling;
    if (!isKept(gone)) gone.remove();
  }
}

// What is there of what is wanted. Something further on is taken only when nothing that would be dropped on the way
// is wanted later: otherwise one new paragraph would replace all that follow it.
function match(at, wanted, later) {
  let found = at;
  while (found && !alike(found, wanted)) found = found.nextSibling;
  if (!found || found === at || key(wanted)) return found;
  for (let node = at; node !== found; node = node.nextSibling) {
    if (!isBlank(node) && !isKept(node) && later.some((other) => alike(node, other))) return null;
  }
  return found;
}
