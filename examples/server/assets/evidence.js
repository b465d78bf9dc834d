// Charts of the readings of a report. The server asks the datasource what the investigation asked; the window is the
// reader's choice.

const MANY = 5;
const WINDOWS = [["1 h around it", 1], ["6 h", 6], ["24 h", 24]];
const base = new URL(".", import.meta.url);
const mounted = new WeakSet();

let loading;
function library() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("vendor/uPlot.iife.min.js", base);
    script.onload = () => resolve(globalThis.uPlot);
    script.onerror = () => reject(new Error("the chart library could not be loaded"));
    document.head.append(script);
  });
  return loading;
}

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const short = (value) => (value === null || value === undefined ? "none" : Number(value.toPrecision(4)).toString());

// As everywhere on these pages: UTC, and the day once there are several.
function clock(seconds, step) {
  const text = new Date(seconds * 1000).toISOString();
  return step >= 86400 ? text.slice(5, 10) : text.slice(11, 16);
}

function named(labels) {
  const parts = Object.entries(labels).map(([name, value]) => `${name}=${value}`);
  return parts.length ? parts.join(", ") : "value";
}

// One column of times for all series; a series without a point there has a hole.
function columns(series) {
  const times = [...new Set(series.flatMap((one) => one.points.map((point) => Date.parse(point.at) / 1000)))].sort((a, b) => a - b);
  const place = new Map(times.map((time, index) => [time, index]));
  const values = series.map((one) => {
    const column = new Array(times.length).fill(null);
    for (const point of one.points) column[place.get(Date.parse(point.at) / 1000)] = point.value;
    return column;
  });
  return [times, ...values];
}

function lines(found, fired) {
  return (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.lineWidth = 1.5 * devicePixelRatio;
    const line = (tone, dash, from, to) => {
      ctx.strokeStyle = colour(tone);
      ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
      ctx.beginPath();
      ctx.moveTo(...from);
      ctx.lineTo(...to);
      ctx.stroke();
    };
    if (found.threshold !== null) {
      const y = plot.valToPos(found.threshold, "y", true);
      line("--danger", [6, 4], [bbox.left, y], [bbox.left + bbox.width, y]);
    }
    const x = fired && plot.valToPos(fired / 1000, "x", true);
    if (x >= bbox.left && x <= bbox.left + bbox.width) line("--warn", [], [x, bbox.top], [x, bbox.top + bbox.height]);
    ctx.restore();
  };
}

function draw(Plot, target, found, series, fired) {
  const data = columns(series);
  const tones = ["--accent", "--ok", "--warn", "--muted", "--info"];
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const around = found.threshold === null ? [] : [found.threshold];
  return new Plot({
    width: Math.max(target.clientWidth, 200),
    height: 176,
    legend: { show: false },
    cursor: { y: false, points: { show: false } },
    scales: {
      x: { min: Date.parse(found.from) / 1000, max: Date.parse(found.to) / 1000, time: true },
      y: {
        range: (_, low, high) => {
          const from = Math.min(low ?? 0, 0, ...around);
          const to = Math.max(high ?? 1, ...around);
          return [from, to > from ? to + (to - from) * 0.1 : from + 1];
        },
      },
    },
    tzDate: (seconds) => Plot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    axes: [{ ...axis, values: (_, times, __, ___, step) => times.map((time) => clock(time, step)) }, { ...axis, size: 56 }],
    series: [{}, ...series.map((one, at) => ({ label: named(one.labels), stroke: colour(tones[at]), width: 2, points: { show: one.points.length === 1 } }))],
    hooks: { draw: [lines(found, fired)] },
  }, data, target);
}

function mount(place) {
  if (mounted.has(place)) return;
  mounted.add(place);
  const fired = place.dataset.fired ? Date.parse(place.dataset.fired) : null;
  const middle = fired ?? Date.parse(place.dataset.at);
  const said = make("p", { className: "muted small" });
  said.setAttribute("role", "status");
  const target = make("div", { className: "draw" });
  const legend = make("figcaption", { className: "legend" });
  const buttons = WINDOWS.map(([label]) => make("button", { type: "button", className: "small", textContent: label }));
  const row = make("div", { className: "row" }, ...buttons);
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", `Window of ${place.dataset.reading}`);
  const figure = make("figure", {}, row, target, legend, said);
  // The page is refreshed without it: it stays.
  figure.setAttribute("data-keep", "");
  place.append(figure);
  let plot;

  async function show(at) {
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === at)));
    said.textContent = "asking the datasource …";
    const half = WINDOWS[at][1] * 1800000;
    const to = Math.min(middle + half, Date.now());
    const query = new URLSearchParams({ from: new Date(to - 2 * half).toISOString(), to: new Date(to).toISOString() });
    try {
      const [Plot, response] = await Promise.all([library(), fetch(`${place.dataset.series}?${query}`, { credentials: "same-origin" })]);
      const found = await response.json();
      if (!response.ok) throw new Error(found.message);
      const series = found.series.slice(0, MANY);
      plot?.destroy();
      plot = draw(Plot, target, found, series, fired);
      legend.replaceChildren(...series.map((one, index) => {
        const last = one.points.at(-1)?.value;
        return make("span", {}, make("span", { className: `key s${index}` }), `${named(one.labels)}: last ${short(last)}`);
      }));
      if (found.threshold !== null) legend.append(make("span", {}, make("span", { className: "key threshold" }), `threshold ${short(found.threshold)}`));
      if (fired) legend.append(make("span", {}, make("span", { className: "key moment" }), `fired ${new Date(fired).toISOString().slice(11, 19)} UTC`));
      // A canvas says nothing by itself.
      target.setAttribute("role", "img");
      target.setAttribute("aria-label", `values of ${place.dataset.reading} from ${found.from} to ${found.to}: ${[...legend.children].map((key) => key.textContent).join("; ")}`);
      const notes = found.warnings.slice();
      if (!series.length) notes.unshift("the query answers no series for this window");
      if (found.series.length > MANY) notes.unshift(`${found.series.length} series, of which the first ${MANY} are drawn`);
      said.textContent = notes.join("; ");
    } catch (error) {
      said.textContent = `The values could not be read: ${error.message}`;
    }
  }

  buttons.forEach((button, at) => button.addEventListener("click", () => show(at)));
  new ResizeObserver(() => plot?.setSize({ width: Math.max(target.clientWidth, 200), height: 176 })).observe(target);
  show(0);
}

export function start() {
  // On a page of an investigation that runs, readings come later.
  if (!location.pathname.startsWith("/investigations/")) return;
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) mount(entry.target);
  }, { rootMargin: "200px" });
  const look = () => {
    for (const place of document.querySelectorAll("[data-series]")) if (!mounted.has(place)) seen.observe(place);
  };
  document.addEventListener("rounds:swapped", look);
  look();
}
