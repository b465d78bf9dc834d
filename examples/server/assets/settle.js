// A question must be seen before it can be answered: the buttons that answer it, in the bar and beside the step, rest for a
// moment when it is a new one, so that a finger on its way to one step's Approve does not land on the next one's.

const PAUSE = 1500;
// How long after an answer a press may still be one of that answer.
const LATE = 10000;
const KEY = "rounds.answered";

const bar = () => document.getElementById("decide");

let asked;
let until = 0;

function rest() {
  for (const button of document.querySelectorAll("#decide button:not([disabled]), .ask button:not([disabled])")) {
    button.disabled = true;
    button.dataset.rests = "";
  }
}

function release() {
  if (performance.now() < until) return;
  for (const button of document.querySelectorAll("button[data-rests]")) {
    button.disabled = false;
    delete button.dataset.rests;
  }
}

function begin() {
  until = performance.now() + PAUSE;
  // A timer may be early by less than a millisecond.
  setTimeout(release, PAUSE + 5);
}

// What was answered on the page before this one, in this tab and just now.
function answered() {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEY) || "null");
    sessionStorage.removeItem(KEY);
    return found && Date.now() - found.at < LATE ? found.asks : null;
  } catch {
    return null;
  }
}

export function start() {
  const first = bar();
  if (!first) return;
  asked = first.dataset.asks;
  const before = answered();
  if (before !== null && before !== asked) {
    begin();
    rest();
  }
  document.addEventListener("rounds:swapped", () => {
    if (!bar()) return;
    if (bar().dataset.asks !== asked) {
      asked = bar().dataset.asks;
      begin();
    }
    // What was swapped in knows nothing of the rest.
    if (performance.now() < until) rest();
  });
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.getAttribute("method") !== "post") return;
    try {
      sessionStorage.setItem(KEY, JSON.stringify({ asks: asked, at: Date.now() }));
    } catch {
      // A browser that keeps nothing: the page works as without this.
    }
  });
}
