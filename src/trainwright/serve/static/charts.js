// Charts that can be read off and zoomed into, drawn by Plotly over those that the server drew, from the same numbers.
// Where the library cannot be had, the server's drawings stay. Screen readers are told the same either way, and the tables stay.

const COARSE = matchMedia("(pointer: coarse)");  // a finger on a chart scrolls the page
const DARK = matchMedia("(prefers-color-scheme: dark)");
const CONFIG = { displayModeBar: false, doubleClick: "autosize", responsive: true, showTips: false };

/* ── the library: its styles go into a sheet of ours, so that no style needs to be allowed in the page ─────────────── */
let loading = null;

function add(tag, properties) {
  return new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.onload = resolve;
    element.onerror = () => reject(new Error(`${properties.src ?? properties.href} cannot be had`));
    document.head.append(element);
  });
}

function load() {
  const { library, styleIds } = document.documentElement.dataset;
  if (!loading) for (const id of styleIds.split(" ").filter(Boolean)) document.head.append(Object.assign(document.createElement("meta"), { id }));
  loading ??= add("link", { rel: "stylesheet", id: "plotly.js-style-global", href: "/static/charts.css" })
    .then(() => add("script", { src: library }))
    .then(() => globalThis.Plotly);
  return loading;
}

/* ── colours and letters are those of the page, light or dark ──────────────────────────────────────────────────────── */
function read(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

function colorsOf(figure, count) {
  return Array.from({ length: count }, (_, index) => {
    const probe = figure.appendChild(Object.assign(document.createElement("i"), { className: `c${index % 6}`, hidden: true }));
    const color = read(probe, "--swatch");
    probe.remove();
    return color;
  });
}

function escape(text) {  // Plotly takes some tags in texts for markup, and these are other people's texts
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function cut(text, most) {
  return escape(text.length > most ? text.slice(0, most - 1) + "…" : text);
}

function say(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e7) ? value.toExponential(3) : String(Number(value.toPrecision(5)));
}

function layoutOf(figure) {
  const [ink, soft, line, card] = ["--ink", "--soft", "--line", "--card"].map((name) => read(figure, name));
  const axis = {
    color: soft, gridcolor: line, linecolor: line, zeroline: false, fixedrange: COARSE.matches, automargin: false,
    exponentformat: "e", tickfont: { size: 11.5 },
  };
  return {
    autosize: true, margin: { l: 54, r: 6, t: 6, b: 24 }, showlegend: false, uirevision: "stays", hovermode: "x unified", hoverdistance: -1,
    dragmode: COARSE.matches ? false : "zoom", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: soft },
    hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink, size: 12.5 }, namelength: -1 },
    xaxis: { ...axis, showgrid: false, showline: true, spikecolor: soft, spikethickness: 1, spikedash: "solid" }, yaxis: { ...axis },
  };
}

function scaleOf(series) {  // powers of ten alone, where there are enough of them
  const values = series.points.flat().map((point) => Math.log10(point[1]));
  const decades = Math.max(...values) - Math.min(...values);
  return { type: "log", dtick: decades > 2 ? Math.ceil(decades / 5) : "D2", tickformat: ".3~g" };
}

/* ── what is drawn, by kind ────────────────────────────────────────────────────────────────────────────────────────── */
const DRAW = {
  lines(series, figure) {
    const colors = colorsOf(figure, series.names.length);
    const layout = layoutOf(figure);
    Object.assign(layout.xaxis, { hoverformat: ",d", tickformat: ",d", nticks: 7, unifiedhovertitle: { text: "step %{x}" } });
    const isLog = series.log || figure.querySelector(".scale")?.getAttribute("aria-pressed") === "true";
    Object.assign(layout.yaxis, isLog ? scaleOf(series) : { nticks: 6, tickformat: ",.6~g" }, { hoverformat: ".5~g" });
    layout.yaxis.uirevision = isLog;
    // Curves that lie on each other are told apart: the one below shows at both sides. Not where one is the noise of the other.
    const widen = figure.dataset.chart === "loss" || series.names.length > 3 ? 0 : 1.4;
    const data = series.names.map((name, index) => {
      const points = series.points[index];
      const width = 1.8 + widen * (series.names.length - 1 - index);
      return {
        type: "scatter", name: escape(name), x: points.map((point) => point[0]), y: points.map((point) => point[1]),
        mode: points.length <= 40 ? "lines+markers" : "lines", line: { color: colors[index], width },
        marker: { color: colors[index], size: 5 },
      };
    });
    return { data, layout };
  },

  bars(series, figure) {
    const layout = layoutOf(figure);
    const middles = series.counts.map((_, index) => (series.edges[index] + series.edges[index + 1]) / 2);
    const ranges = middles.map((_, index) => `${say(series.edges[index])} to ${say(series.edges[index + 1])}`);
    Object.assign(layout, { bargap: 0.06, hovermode: "closest", hoverdistance: 20 });
    layout.yaxis.hoverformat = ",d";
    const data = [{
      type: "bar", x: middles, y: series.counts, customdata: ranges, hovertemplate: "%{customdata}: %{y}<extra></extra>",
      marker: { color: colorsOf(figure, 1)[0] },
    }];
    return { data, layout };
  },

  intervals(series, figure) {
    const colors = colorsOf(figure, series.rows.length);
    const layout = layoutOf(figure);
    const soft = read(figure, "--soft"), fail = read(figure, "--fail");
    const places = series.rows.map((_, index) => index);
    Object.assign(layout, { hovermode: "closest", hoverdistance: 20, margin: { l: 10, r: 12, t: 6, b: 26 } });
    const ends = series.rows.flatMap((row) => [row.low, row.value, row.high]).concat(series.limit ?? []);
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    const room = 0.06 * (high - low || Math.abs(high) || 1);
    Object.assign(layout.xaxis, { showgrid: true, nticks: 7, range: [low - room, high + room] });
    Object.assign(layout.yaxis, {
      autorange: "reversed", tickvals: places, automargin: true, showgrid: false, fixedrange: true, ticks: "",
      ticktext: series.rows.map((row) => cut(row.name, figure.clientWidth < 560 ? 18 : 44) + "  "),
    });
    if (series.limit !== null) {
      layout.shapes = [{
        type: "line", x0: series.limit, x1: series.limit, y0: 0, y1: 1, yref: "paper", line: { color: fail, width: 1.5, dash: "dash" },
      }];
    }
    const data = series.rows.map((row, index) => ({
      type: "scatter", mode: "markers", x: [row.value], y: [index], marker: { color: colors[index], size: 9 },
      error_x: {
        type: "data", symmetric: false, array: [row.high - row.value], arrayminus: [row.value - row.low],
        color: colors[index] || soft, thickness: 2.5, width: 5,
      },
      hovertemplate: `${escape(row.name)}<br>${say(row.value)}, from ${say(row.low)} to ${say(row.high)}<extra></extra>`,
    }));
    return { data, layout };
  },
};

const ROW_HEIGHT = 30;

async function draw(figure) {
  const plotly = await load();
  const whole = JSON.parse(figure.dataset.series);
  const series = { ...whole, ...await readDetail(figure), log: whole.log };
  const plot = figure.querySelector(".plot");
  const drawn = plot.querySelector("[role=img]");
  let canvas = plot.querySelector(":scope > .canvas");
  if (!canvas) {
    canvas = plot.appendChild(Object.assign(document.createElement("div"), { className: "canvas" }));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", drawn.getAttribute("aria-label"));
    if (series.kind === "intervals") plot.style.height = `${series.rows.length * ROW_HEIGHT + 44}px`;
  }
  const { data, layout } = DRAW[series.kind](series, figure);
  const { first, last } = figure.closest(".charts")?.dataset ?? {};
  if (first !== undefined) layout.xaxis.range = [Number(first), Number(last)];
  const scale = figure.querySelector(".scale");
  if (scale && !series.log) scale.hidden = !series.points.flat().every((point) => point[1] > 0);
  const isNew = !plot.classList.contains("drawn");
  await plotly.react(canvas, data, layout, CONFIG);
  plot.classList.add("drawn");
  if (isNew && series.kind === "lines") canvas.on("plotly_relayout", (change) => zoomTogether(plotly, canvas, change));
}

/* ── where a page is zoomed in, its curves are asked for again, in the detail of what is seen ─────────────────────── */
async function readDetail(figure) {
  const group = figure.closest(".charts");
  const { curves, first, last } = group?.dataset ?? {};
  if (first === undefined) return null;
  const address = new URL(curves, location.href);
  address.searchParams.set("first", first);
  address.searchParams.set("last", last);
  if (group.detailOf !== address.href) {  // asked once for all charts of the page
    group.detailOf = address.href;
    group.detail = fetch(address).then((answer) => answer.ok ? answer.json() : {}, () => ({}));
  }
  return (await group.detail)[figure.dataset.chart] ?? null;
}

/* ── charts of one page share their steps: what is zoomed into in one is zoomed into in all ────────────────────────── */
let isZooming = false;

async function zoomTogether(plotly, canvas, change) {
  const range = change["xaxis.range"] ?? [change["xaxis.range[0]"], change["xaxis.range[1]"]];
  const isWhole = change["xaxis.autorange"] === true;
  if (isZooming || !(isWhole || range[0] !== undefined)) return;
  isZooming = true;
  const group = canvas.closest(".charts") ?? canvas.closest("figure").parentElement;
  const others = [...group.querySelectorAll(".plot.drawn > .canvas")];
  const wanted = isWhole ? { "xaxis.autorange": true, "yaxis.autorange": true } : { "xaxis.range": range };
  try {
    await Promise.all(others.filter((one) => one !== canvas || isWhole).map((one) => plotly.relayout(one, wanted)));
  } finally {
    isZooming = false;
  }
  for (const one of others) one.closest("figure").querySelector(".whole").hidden = isWhole;
  if (!group.dataset.curves) return;
  if (isWhole) {
    delete group.dataset.first;
  } else {
    Object.assign(group.dataset, { first: Math.max(0, Math.floor(range[0])), last: Math.max(0, Math.ceil(range[1])) });
  }
  for (const one of others) draw(one.closest("figure"));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.(".whole");
  const canvas = button?.closest("figure").querySelector(".canvas");
  if (canvas) {
    globalThis.Plotly.relayout(canvas, { "xaxis.autorange": true, "yaxis.autorange": true });
    canvas.closest("figure").querySelector("summary")?.focus();
  }
  const scale = event.target.closest?.(".scale");
  if (scale) {
    scale.setAttribute("aria-pressed", String(scale.getAttribute("aria-pressed") !== "true"));
    draw(scale.closest("figure"));
  }
});

/* ── when to draw ──────────────────────────────────────────────────────────────────────────────────────────────────── */
const inView = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      inView.unobserve(entry.target);
      draw(entry.target).catch((error) => console.warn(String(error)));
    }
  }
}, { rootMargin: "300px" });

export function watch(root) {
  for (const figure of root.querySelectorAll("figure[data-series]")) inView.observe(figure);
}

/** Take the charts that are drawn over into the newer part of a page, so that they are changed rather than made anew. */
export function keep(part, fresh) {
  const group = part.querySelector(".charts[data-first]");
  if (group) Object.assign(fresh.querySelector(".charts").dataset, { first: group.dataset.first, last: group.dataset.last });
  for (const plot of part.querySelectorAll(".plot.drawn")) {
    const before = plot.closest("figure");
    const after = fresh.querySelector(`figure[data-series][data-chart="${CSS.escape(before.dataset.chart)}"]`);
    if (!after) continue;
    plot.querySelector(".canvas").setAttribute("aria-label", after.querySelector("[role=img]").getAttribute("aria-label"));
    for (const button of before.querySelectorAll("figcaption button")) after.querySelector(`.${button.className}`).replaceWith(button);
    after.querySelector(".plot").replaceWith(plot);
  }
}

for (const query of [DARK, COARSE]) {
  query.addEventListener("change", () => {
    for (const plot of document.querySelectorAll(".plot.drawn")) draw(plot.closest("figure"));
  });
}
