// The layers of a network, one row each: what it is, and its maps for the current image.

import { count } from "./format.js";
import { drawMaps, extremes, layout, placeOf, positionAt } from "./maps.js";
import { fill } from "./template.js";

const ROWS = 2; // of maps that are shown at first

/** Fills `list` with a row for each layer. Calls `chosen` with a layer, a position that is pointed at, and whether a
 * mouse hovers there. `stop` ends the fitting to the window. */
export function createJourney(list, layers, classes, chosen) {
  const last = layers.findLast((layer) => layer.name.startsWith("dense"));
  const rows = layers.map((layer) => {
    const labels = layer === last || layer.name === "softmax" ? classes : null; // its numbers are those of the classes
    return createRow(list, layer, labels, chosen);
  });
  const fit = () => {
    const room = list.querySelector(".maps").clientWidth; // alike in all rows
    for (const row of rows) row.fit(room);
  };
  fit();
  const observer = new ResizeObserver(fit);
  observer.observe(list);
  return {
    stop: () => observer.disconnect(),
    show: (values) => {
      for (const row of rows) row.show(values.get(row.layer.name));
    },
    /** Marks a value of a layer, and no other. Returns the row's element. */
    mark: (layer, position) => {
      for (const row of rows) row.mark(row.layer === layer ? position : null);
      return rows.find((row) => row.layer === layer).element;
    },
  };
}

function createRow(list, layer, labels, chosen) {
  const [depth, height, width] = layer.volume;
  const costs = [
    layer.parameters ? `${count(layer.parameters)} parameters` : "",
    layer.multiply_adds ? `${count(layer.multiply_adds)} multiply-adds` : "",
  ];
  const element = fill("#layer", {
    name: layer.name,
    volume: `${width} × ${height} × ${depth}`,
    arithmetic: layer.arithmetic,
    cost: costs.filter(Boolean).join(", "),
  });
  const find = (selector) => element.querySelector(selector);
  const canvas = find("canvas");
  const marker = find(".marker");
  list.append(element);
  const more = find(".more");
  let room = 0; // CSS pixels for the maps
  let place = null;
  let all = height * width === 1; // are all maps shown?
  let shown = 0; // number of them
  let marked = null; // position
  let newest = null;

  find("summary").append(fill("#of", { whose: layer.name }));
  const selectable = layer.operator === "Conv" || layer.operator === "MaxPool";
  if (selectable) makeSelectable(canvas, layer, () => place, choose);
  else Object.assign(canvas, { role: "img", ariaLabel: `${layer.name}: ${depth} maps of ${width} by ${height}` });
  find("details").addEventListener("toggle", fillTable);
  more.addEventListener("click", () => {
    showAll();
    (selectable ? canvas : find("summary")).focus(); // the button is gone
  });

  /** Lays the maps out in so many CSS pixels. */
  function fit(now) {
    if (now === room) return;
    room = now;
    resize();
  }

  function showAll() {
    all = true;
    resize();
  }

  function resize() {
    shown = all ? depth : Math.min(depth, layout(layer.volume, room).columns * ROWS);
    place = layout([shown, height, width], room);
    more.hidden = shown === depth;
    more.textContent = `Show all ${depth} maps of ${layer.name}`;
    if (newest) show(newest);
    mark(marked);
  }

  function choose(position, hovering) {
    if (position[0] >= shown) showAll();
    chosen(layer, position, hovering);
  }

  function show(values) {
    newest = values;
    const scale = extremes(values);
    drawMaps(canvas, values.subarray(0, shown * height * width), place, scale);
    const best = labels ? `; highest: ${labels[values.indexOf(scale[1])]}` : "";
    find(".scale").textContent = `black ${scale[0].toFixed(2)}, white ${scale[1].toFixed(2)}${best}`;
    fillTable();
  }

  /** Writes the extremes and the mean of each map, while the table is open. */
  function fillTable() {
    if (!find("details").open || !newest) return;
    const area = height * width;
    const rows = Array.from({ length: depth }, (_, map) => {
      const part = newest.subarray(map * area, (map + 1) * area);
      const [low, high] = extremes(part);
      const mean = part.reduce((sum, value) => sum + value, 0) / area;
      const row = document.createElement("tr");
      for (const text of [labels?.[map] ?? map, low.toFixed(3), mean.toFixed(3), high.toFixed(3)])
        row.insertCell().textContent = text;
      return row;
    });
    find("tbody").replaceChildren(...rows);
  }

  function mark(position) {
    marked = position;
    marker.hidden = !position;
    if (!position) return;
    const [left, top] = placeOf(place, position);
    const side = Math.max(place.zoom, 5);
    Object.assign(marker.style, { left: `${left}px`, top: `${top}px`, width: `${side}px`, height: `${side}px` });
  }

  return { layer, element, show, mark, fit };
}

/** Lets a canvas be pointed at with mouse, finger and keyboard. */
function makeSelectable(canvas, layer, place, chosen) {
  const [depth, height, width] = layer.volume;
  const position = [0, Math.floor(height / 2), Math.floor(width / 2)];
  Object.assign(canvas, { tabIndex: 0, role: "application" });
  canvas.ariaLabel = `${layer.name}: ${depth} maps of ${width} by ${height}. Arrow keys choose a value, Page Up and Page Down a map.`;

  function choose(next, hovering = false) {
    for (const [axis, size] of layer.volume.entries()) position[axis] = Math.min(size - 1, Math.max(0, next[axis]));
    chosen([...position], hovering);
  }
  const point = (event) => {
    const found = positionAt(place(), event.offsetX, event.offsetY);
    if (found) choose(found, event.type === "pointermove");
  };
  canvas.addEventListener("click", point); // a pointerdown could begin to scroll
  canvas.addEventListener("pointermove", (event) => event.pointerType === "mouse" && point(event));
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [map, row, column] = position;
    const next = {
      ArrowLeft: [map, row, column - 1],
      ArrowRight: [map, row, column + 1],
      ArrowUp: [map, row - 1, column],
      ArrowDown: [map, row + 1, column],
      PageUp: [map - 1, row, column],
      PageDown: [map + 1, row, column],
      Enter: position,
    }[event.key];
    if (!next) return;
    event.preventDefault();
    choose(next);
  });
}
