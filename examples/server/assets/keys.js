// Keyboard: `/` search, `g p` plans, `g a` alerts, `g i` investigations, `j` `k` move, Enter opens, `?` lists.
// Nothing here decides anything: a decision always takes a focused button.

const places = { p: "/actions", a: "/alerts", i: "/investigations" };
let gone = 0;

function rows() {
  return [...document.querySelectorAll("[data-row]")];
}

function move(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.classList.contains("at"));
  const next = all[Math.min(all.length - 1, Math.max(0, at + by))];
  all.forEach((row) => row.classList.toggle("at", row === next));
  const link = next.querySelector("a");
  link?.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

export function start() {
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    const typing = target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.nodeName);
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (Date.now() - gone < 1200 && places[event.key]) {
      location.assign(places[event.key]);
      return;
    }
    if (event.key === "g") gone = Date.now();
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "/") {
      const search = document.querySelector("[data-search]");
      if (!search) return;
      event.preventDefault();
      const folded = search.closest("details");
      if (folded) folded.open = true;
      search.focus();
    } else if (event.key === "?") {
      document.getElementById("keys")?.showModal();
    }
  });
}
