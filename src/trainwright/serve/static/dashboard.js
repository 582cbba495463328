// Everything works without this file. With it, a run's page follows the run, and a chart says the numbers under the pointer.
"use strict";

/* ── charts: the step and the values under the pointer ─────────────────────────────────────────────────────────────── */
function nearest(points, step) {
  let low = 0, high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < step) low = middle; else high = middle;
  }
  return Math.abs(points[low][0] - step) <= Math.abs(points[high][0] - step) ? points[low] : points[high];
}

function say(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e7) ? value.toExponential(3) : String(Number(value.toPrecision(5)));
}

function clearReadout(area) {
  area.querySelectorAll(".cursor, .readout").forEach((part) => part.remove());
}

function showReadout(event) {
  const area = event.target.closest(".area");
  if (!area) return;
  const figure = area.closest("figure");
  const series = figure.series ??= JSON.parse(figure.dataset.series);
  if (!series.points) return;
  const box = area.getBoundingClientRect();
  const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  const [first, last] = series.range;
  const found = series.points.map((points) => nearest(points, first + share * (last - first)));
  clearReadout(area);
  const place = (found[0][0] - first) / (last - first) * 100;
  const cursor = document.createElement("div"), readout = document.createElement("div");
  cursor.className = "cursor";
  cursor.style.left = place + "%";
  readout.className = "readout";
  readout.style[place < 60 ? "left" : "right"] = (place < 60 ? place + 1 : 101 - place) + "%";
  readout.textContent = "step " + found[0][0].toLocaleString() + " · " +
    found.map((point, index) => series.names[index] + " " + say(point[1])).join(" · ");
  area.append(cursor, readout);
}

document.addEventListener("pointermove", showReadout);
document.addEventListener("pointerout", (event) => {
  const area = event.target.closest?.(".area");
  if (area && !area.contains(event.relatedTarget)) clearReadout(area);
});

/* ── following what is live: `data-follow` is the stream, `data-part` the part of the page to fetch again ──────────── */
function follow(part) {
  let isFetching = false, isStale = false;

  async function refresh() {
    if (isFetching) { isStale = true; return; }
    isFetching = true;
    const open = [...part.querySelectorAll("details")].map((details) => details.open);
    const began = performance.now();
    try {
      const answer = await fetch(part.dataset.part, { headers: { "X-Part": "1" } });
      if (answer.ok && !part.contains(document.activeElement?.closest("details"))) {
        part.innerHTML = await answer.text();  // rendered and escaped by the server, like the page itself
        [...part.querySelectorAll("details")].forEach((details, index) => { details.open = Boolean(open[index]); });
      }
    } catch { /* the stream connects again by itself, and then comes the next look */ }
    // A page never takes more than a tenth of the server's time.
    setTimeout(() => { isFetching = false; if (isStale) { isStale = false; refresh(); } }, Math.max(1000, 9 * (performance.now() - began)));
  }

  const stream = new EventSource(part.dataset.follow);
  const state = document.getElementById("live-state");
  stream.addEventListener("change", refresh);
  stream.addEventListener("end", () => { stream.close(); refresh(); if (state) state.textContent = "ended"; });
  stream.onopen = () => { if (state) state.textContent = "live"; };
  stream.onerror = () => { if (state) state.textContent = "connecting again …"; };
}

document.querySelectorAll("[data-follow]").forEach(follow);
