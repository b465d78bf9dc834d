// Changes a live tree into another one by touching only what differs, so that focus, scroll, text selection and
// whatever a person typed or opened stay as they are.

function key(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || "" : "";
}

function alike(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && key(a) === key(b);
}

function typed(element) {
  if (element.type === "checkbox" || element.type === "radio") return element.checked !== element.defaultChecked;
  if (element.nodeName === "SELECT") return [...element.options].some((o) => o.selected !== o.defaultSelected);
  return "defaultValue" in element && element.value !== element.defaultValue;
}

function attributes(from, to) {
  for (const { name, value } of [...to.attributes]) {
    // Whether a disclosure is open is the reader's choice once it is on the screen.
    if (name === "open" && from.dataset.touched) continue;
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (to.hasAttribute(name) || name === "data-touched" || (name === "open" && from.dataset.touched)) continue;
    if (name === "class" && from.className === "changed") continue;
    from.removeAttribute(name);
  }
}

export function morph(from, to) {
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  const keep = ["INPUT", "TEXTAREA", "SELECT"].includes(from.nodeName) && typed(from);
  attributes(from, to);
  if (keep) return;
  if (from.nodeName === "TEXTAREA") {
    if (from.defaultValue !== to.defaultValue) from.value = from.defaultValue = to.defaultValue;
    return;
  }
  if (from.nodeName === "TIME" && from.hasAttribute("data-relative")) return;
  children(from, to);
}

// The result of a form stays until the page is left, though the page alone does not have it.
function kept(node) {
  return node?.nodeType === Node.ELEMENT_NODE && node.hasAttribute("data-keep");
}

function children(from, to) {
  let at = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    while (kept(at)) at = at.nextSibling;
    let found = at;
    while (found && !alike(found, wanted)) found = found.nextSibling;
    // A match further on is taken only by its key: otherwise one inserted paragraph would drop all before it.
    if (found && (found === at || key(wanted))) {
      while (at !== found) {
        const gone = at;
        at = at.nextSibling;
        if (!kept(gone)) gone.remove();
      }
      at = found.nextSibling;
      morph(found, wanted);
    } else {
      from.insertBefore(document.importNode(wanted, true), at);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    if (!kept(gone)) gone.remove();
  }
}
