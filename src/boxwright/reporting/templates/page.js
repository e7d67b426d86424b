"use strict";
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const svg = (name, attributes, text) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};

function values() { // of charts: shown at once; the browser's tooltips come late
  const tip = document.body.appendChild(Object.assign(document.createElement("div"), { id: "tip", hidden: true }));
  tip.setAttribute("role", "status");
  for (const plot of all(".plot")) {
    const stops = all(".stop", plot);
    const texts = stops.map((stop) => stop.querySelector("title").textContent);
    stops.forEach((stop) => stop.querySelector("title").remove());
    const [, , , height] = plot.getAttribute("viewBox").split(" ");
    const cross = plot.appendChild(svg("line", { class: "cross off", y1: 28, y2: height - 50 }));
    let now = -1;
    const hide = () => { now = -1; tip.hidden = true; cross.classList.add("off"); };
    const show = (at) => {
      now = Math.min(Math.max(at, 0), stops.length - 1);
      cross.setAttribute("x1", stops[now].dataset.at);
      cross.setAttribute("x2", stops[now].dataset.at);
      cross.classList.remove("off");
      tip.textContent = texts[now];
      tip.hidden = false;
      const box = plot.getBoundingClientRect();
      const x = box.left + box.width * stops[now].dataset.at / plot.viewBox.baseVal.width;
      tip.style.left = `${Math.max(4, x + 12 + tip.offsetWidth < innerWidth ? x + 12 : x - 12 - tip.offsetWidth)}px`;
      tip.style.top = `${Math.max(4, box.top + box.height * .08)}px`;
    };
    stops.forEach((stop, at) => stop.addEventListener("pointerenter", () => show(at)));
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("blur", hide);
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step && stops.length) { event.preventDefault(); show(now < 0 ? 0 : now + step); }
      if (event.key === "Escape") hide();
    });
  }
}

function legends() {
  for (const key of all(".keys button")) key.addEventListener("click", () => {
    const shown = key.getAttribute("aria-pressed") === "false";
    key.setAttribute("aria-pressed", shown);
    for (const part of all(`[data-series="${key.dataset.key}"]`, key.closest("figure"))) part.classList.toggle("off", !shown);
  });
}

function sorting() {
  for (const button of all("th button")) button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0];
    const turned = { ascending: -1, descending: 1 }[head.getAttribute("aria-sort")];
    const direction = turned || (head.classList.contains("n") ? -1 : 1); // figures: the greatest first
    const value = (row) => row.cells[head.cellIndex].dataset.value;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === ""); // without a figure: always last
      return direction * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
    };
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    body.append(...[...body.rows].sort(compare));
  });
}

function judge(picture, shown) { // the rule of the confusion matrix, as in gallery.py, which sorts the pictures by it
  const fate = picture.found.map((one) => !shown(one) || one[6] === -2 ? "" : one[6] >= 0 ? "found" : "alarm");
  const takes = picture.found.map((one, at) => fate[at] === "found" ? one[6] : -1);
  const free = picture.boxes.map((box, at) => !box[5] && !takes.includes(at));
  for (const [at, box] of picture.mistakable) {
    if (fate[at] === "alarm" && free[box]) { fate[at] = "wrong"; takes[at] = box; free[box] = false; }
  }
  return { fate, takes, free };
}

function place([left, top, right, bottom], wide, high, room, taken) { // the rule of runtime/drawing.py
  const inside = (at, most) => Math.min(Math.max(at, 0), Math.max(most, 0));
  const first = inside(left, room.width - wide), last = inside(right - wide, room.width - wide);
  const rows = [top - high, top, bottom, bottom - high].map((y) => inside(y, room.height - high));
  for (const y of rows) {
    const beside = taken.filter((one) => y + .001 < one.y + one.high && one.y + .001 < y + high);
    const free = [first, last, ...beside.flatMap((one) => [one.x + one.wide, one.x - wide])]
      .filter((x) => x >= Math.min(first, last) && x <= Math.max(first, last))
      .filter((x) => !beside.some((one) => x + .001 < one.x + one.wide && one.x + .001 < x + wide))
      .sort((a, b) => Math.abs(a - first) - Math.abs(b - first));
    if (free.length) return { x: free[0], y, wide, high };
  }
  const shared = (from, length, other, otherLength) => Math.max(0, Math.min(from + length, other + otherLength) - Math.max(from, other));
  const covered = (y) => taken.reduce((sum, one) => sum + shared(first, wide, one.x, one.wide) * shared(y, high, one.y, one.high), 0);
  return { x: first, y: rows.reduce((best, y) => covered(y) < covered(best) ? y : best), wide, high };
}

const ruler = document.createElement("canvas").getContext("2d"); // measures words
function words(labels, size, room) { // the first ones get the best places, and lie on top
  const high = size * 1.25, edge = size * .15; // the edge around letters
  ruler.font = `600 100px ${getComputedStyle(document.body).fontFamily}`;
  const taken = [], made = [];
  for (const { box, text, ...attributes } of labels) {
    const wide = ruler.measureText(text).width * size / 100 + 2 * edge;
    const squeezed = wide > room.width ? { textLength: room.width - 2 * edge, lengthAdjust: "spacingAndGlyphs" } : {};
    const at = place(box, Math.min(wide, room.width), high, room, taken);
    taken.push(at);
    made.unshift(svg("text", { x: at.x + edge, y: at.y + size * .95, ...squeezed, ...attributes }, text));
  }
  return made;
}

function draw(figure, picture, page, shown) {
  const layer = figure.querySelector(".frame svg"), room = layer.viewBox.baseVal;
  const { fate, takes, free } = judge(picture, shown);
  const large = figure.classList.contains("large");
  const crowded = !large && fate.filter(Boolean).length > 12; // names of right detections are then only shown when enlarged
  const size = room.width / (large ? 47 : 28);
  layer.style.setProperty("--size", size);
  const parts = [], mistakes = [], right = [];
  const frame = ([left, top, right, bottom], attributes) =>
    svg("rect", { x: left, y: top, width: Math.max(right - left, 0), height: Math.max(bottom - top, 0), ...attributes });
  picture.boxes.forEach((box, at) => {
    const kind = box[5] ? "truth crowd" : free[at] ? "truth missed" : "truth";
    parts.push(frame(box, { class: "under" }), frame(box, { class: kind }));
    if (free[at]) mistakes.push({ box, text: page.names[box[4]], class: "missed" });
  });
  picture.found.forEach((one, at) => {
    if (!shown(one)) return;
    const colour = page.palette[one[4] % page.palette.length];
    const text = `${page.names[one[4]]} ${one[5].toFixed(2)}`;
    const remark = { wrong: () => ` (is ${page.names[picture.boxes[takes[at]][4]]})`, alarm: () => " ✗" }[fate[at]];
    parts.push(frame(one, { class: "under" }), frame(one, { class: "box", stroke: colour }));
    const label = { box: one, text: text + (remark ? remark() : ""), class: fate[at], style: `--class: ${colour}` };
    if (fate[at] !== "found") mistakes.push(label);
    else if (!crowded) right.push(label);
  });
  parts.push(...words([...mistakes, ...right], size, room));
  layer.replaceChildren(...parts);
  const count = (kind) => fate.filter((one) => one === kind).length;
  const boxes = picture.boxes.filter((box) => !box[5]).length;
  figure.querySelector(".counts").textContent =
    `${boxes} ${boxes === 1 ? "box" : "boxes"}: ${count("found")} found, ${count("wrong")} taken for another class, ` +
    `${free.filter(Boolean).length} missed; ${count("alarm")} false`;
}

function gallery() {
  const source = document.getElementById("gallery-data");
  if (!source) return;
  const page = JSON.parse(source.textContent);
  const [slider, value, back] = ["threshold", "threshold-value", "threshold-back"].map((id) => document.getElementById(id));
  const figures = all(".gallery figure");
  let last;
  const redraw = (shown) => { last = shown; figures.forEach((figure, at) => draw(figure, page.pictures[at], page, shown)); };
  const restore = () => {
    slider.value = page.threshold;
    value.textContent = page.shown;
    back.disabled = true;
    redraw((one) => one[5] >= page.thresholds[one[4]]);
  };
  slider.addEventListener("input", () => {
    value.textContent = Number(slider.value).toFixed(2);
    back.disabled = false;
    redraw((one) => one[5] >= slider.value);
  });
  back.addEventListener("click", () => { restore(); slider.focus(); });
  for (const button of all(".frame")) button.addEventListener("click", () => {
    const figure = button.closest("figure");
    button.setAttribute("aria-pressed", figure.classList.toggle("large"));
    draw(figure, page.pictures[figures.indexOf(figure)], page, last);
  });
  restore();
}

values();
legends();
sorting();
gallery();
