// Small charts of the last hour, asked for after the list is there, and only for the rows that are seen.

const MANY = 20;
const FRESH = 60000;
const asked = new Map();
const waiting = new Set();
let timer;

async function fetchSome() {
  const ids = [...waiting].slice(0, MANY);
  if (!ids.length) return;
  for (const id of ids) {
    waiting.delete(id);
    asked.set(id, Date.now());
  }
  try {
    const query = new URLSearchParams(ids.map((id) => ["id", id]));
    const response = await fetch(`/alerts/sparks?${query}`, { headers: { "x-fragment": "1" }, credentials: "same-origin" });
    if (response.redirected || !response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const spark of page.querySelectorAll("[data-for]")) {
      const cell = document.querySelector(`[data-spark="${CSS.escape(spark.dataset.for)}"]`);
      if (!cell) continue;
      // The list is refreshed without it: it stays.
      spark.setAttribute("data-keep", "");
      cell.replaceChildren(document.importNode(spark, true));
    }
  } catch {
    // Without a picture the row says what it says.
  }
  if (waiting.size) await fetchSome();
}

function want(cell) {
  const id = cell.dataset.spark;
  if (Date.now() - (asked.get(id) ?? 0) < FRESH && cell.firstElementChild) return;
  waiting.add(id);
  clearTimeout(timer);
  timer = setTimeout(fetchSome, 60);
}

export function start() {
  if (!document.querySelector("[data-spark]")) return;
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) want(entry.target.querySelector("[data-spark]"));
  }, { rootMargin: "200px" });
  // Observed anew, every row says again whether it is seen. The row, because an empty cell of a card is not there.
  const look = () => {
    seen.disconnect();
    for (const cell of document.querySelectorAll("[data-spark]")) seen.observe(cell.closest("tr"));
  };
  document.addEventListener("rounds:swapped", look);
  look();
}
