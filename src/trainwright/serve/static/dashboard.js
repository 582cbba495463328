// Everything works without this file. With it, a run's page follows the run, and charts can be read off and zoomed into.
"use strict";

/* ── charts: the module comes only where there is something to draw, and the library only with the first chart in view ─ */
let charts = null;

async function drawCharts(root) {
  if (!document.documentElement.dataset.library || !root.querySelector("figure[data-series]")) return;
  charts ??= await import("/static/charts.js");
  charts.watch(root);
}

drawCharts(document);

/* ── following what is live: `data-follow` is the stream, `data-part` the part of the page to fetch again ──────────── */
function replace(part, text) {
  const open = new Set([...part.querySelectorAll("details[open] > summary")].map((summary) => summary.textContent));
  const fresh = document.createElement("template");
  fresh.innerHTML = text;  // rendered and escaped by the server, like the page itself
  for (const summary of fresh.content.querySelectorAll("details > summary")) {
    if (open.has(summary.textContent)) summary.parentElement.open = true;
  }
  charts?.keep(part, fresh.content);
  const log = part.querySelector(".log"), place = log && readPlace(log);
  part.replaceChildren(fresh.content);
  const after = part.querySelector(".log");
  if (after) putPlace(after, place);
  drawCharts(part);
}

/* ── a log is seen from its end, and stays where somebody has pushed it ────────────────────────────────────────────── */
function readPlace(log) {
  const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  return { top: isAtEnd ? null : log.scrollTop, hasFocus: log === document.activeElement };
}

function putPlace(log, place) {
  log.scrollTop = place?.top ?? log.scrollHeight;
  if (place?.hasFocus) log.focus({ preventScroll: true });
}

document.querySelectorAll(".log").forEach((log) => putPlace(log, null));

function follow(part) {
  let isFetching = false, isStale = false;

  async function refresh() {
    if (isFetching) { isStale = true; return; }
    isFetching = true;
    const began = performance.now();
    try {
      const answer = await fetch(part.dataset.part, { headers: { "X-Part": "1" } });
      if (answer.ok && !part.contains(document.activeElement?.closest("details"))) replace(part, await answer.text());
    } catch { /* the stream connects again by itself, and then comes the next look */ }
    // A page never takes more than a tenth of the server's time.
    setTimeout(() => { isFetching = false; if (isStale) { isStale = false; refresh(); } }, Math.max(1000, 9 * (performance.now() - began)));
  }

  const stream = new EventSource(part.dataset.follow);
  const state = document.getElementById("live-state");
  stream.addEventListener("change", refresh);
  stream.addEventListener("end", () => { stream.close(); if ("reload" in part.dataset) location.reload(); else refresh(); if (state) state.textContent = "ended"; });
  stream.onopen = () => { if (state) state.textContent = "live"; };
  stream.onerror = () => { if (state) state.textContent = "connecting again …"; };
}

document.querySelectorAll("[data-follow]").forEach(follow);

/* ── on a narrow screen the areas are a row to be pushed: the one that is open is in sight ─────────────────────────── */
const here = document.querySelector(".top nav [aria-current]");
const areas = here?.closest("nav");
if (areas) areas.scrollLeft = here.offsetLeft - (areas.clientWidth - here.offsetWidth) / 2;
