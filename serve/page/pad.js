// The drawing pad: strokes by mouse, finger, pen or arrow keys, as points in a square of SIZE.

import { rested } from "./latest.js";
import { strokesOf } from "./strokes.js";
import { encode } from "./upload.js";

const SIZE = 280;
const PEN = 20;
const STEP = 8; // of the arrow keys
const REPLAY = 700; // milliseconds for a digit
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** Turns a canvas into a drawing pad. Calls `changed` after each change of the drawing. `announce` tells a screen reader
 * where the pen is. */
export function createPad(canvas, changed, announce) {
  const context = canvas.getContext("2d");
  const held = new Set(); // arrow keys
  let strokes = [];
  let pointer = null; // id of the drawing pointer: a second finger is ignored
  let cursor = null; // position of the arrow keys, after their first use
  let penDown = false;
  let replays = 0; // so that an older replay ends when a new one starts
  let replayed = false; // the next stroke clears a replayed digit
  let blob = null; // promise of the PNG of this drawing

  function update() {
    blob = null;
    paint();
    changed();
  }

  function paint() {
    const scale = canvas.width / SIZE;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, SIZE, SIZE);
    drawStrokes(context, strokes, getComputedStyle(canvas).color);
    if (cursor && document.activeElement === canvas) drawCursor(context, cursor, penDown);
  }

  /** Ends the current stroke or replay. */
  function stop() {
    replays += 1;
    pointer = null;
    penDown = false;
  }

  function begin(point) {
    replays += 1;
    if (replayed) strokes = [];
    replayed = false;
    strokes.push([point]);
    update();
  }

  function extend(points) {
    strokes.at(-1).push(...points);
    update();
  }

  function clear() {
    stop();
    strokes = [];
    update();
  }

  function undo() {
    stop();
    strokes.pop();
    update();
  }

  /** Draws a digit stroke by stroke, or at once if the user prefers reduced motion. */
  async function replay(digit) {
    stop();
    const mine = replays;
    const whole = strokesOf(digit, SIZE);
    const count = whole.flat().length;
    const start = performance.now();
    replayed = true;
    for (let done = 0; done < count; ) {
      const now = await new Promise(requestAnimationFrame);
      if (mine !== replays) return;
      const reached = Math.ceil((count * (now - start + 16)) / REPLAY); // 0 or less in a frame that began before
      done = reducedMotion.matches ? count : Math.min(count, Math.max(1, reached));
      strokes = firstPoints(whole, done);
      update();
    }
  }

  /** Returns the drawing as a PNG, black on white whatever the page's colors are. */
  function toBlob() {
    blob ??= encode(drawPaper(strokes), "image/png");
    return blob;
  }

  const announcePen = rested(() => {
    if (!cursor) return; // the mouse draws
    const [x, y] = cursor.map((v) => Math.round((100 * v) / SIZE));
    announce(`Pen ${penDown ? "down" : "up"}, ${x}% from the left, ${y}% from the top`);
  });

  function toPoint(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * SIZE) / box.width, ((event.clientY - box.top) * SIZE) / box.height];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    cursor = null;
    penDown = false;
    begin(toPoint(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    extend((events.length ? events : [event]).map(toPoint));
  });
  const release = (event) => {
    if (event.pointerId === pointer) pointer = null;
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);

  function togglePen() {
    cursor ??= [SIZE / 2, SIZE / 2];
    penDown = !penDown;
    if (penDown) begin(cursor);
    else paint();
  }

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) {
      held.add(event.key);
      const [x, y] = cursor ?? [SIZE / 2, SIZE / 2];
      const moves = [...held].map((key) => ARROWS[key]); // two keys at once move diagonally
      cursor = [x + STEP * sum(moves, 0), y + STEP * sum(moves, 1)].map((v) => Math.max(0, Math.min(SIZE, v)));
      if (penDown) extend([cursor]);
      else paint();
    } else if (event.key === " ") {
      if (!event.repeat) togglePen();
    } else return;
    announcePen();
    event.preventDefault(); // keep the page from scrolling
  });
  canvas.addEventListener("keyup", (event) => held.delete(event.key));
  canvas.addEventListener("blur", () => {
    held.clear();
    penDown = false;
    paint();
  });
  canvas.addEventListener("focus", paint);

  new ResizeObserver(() => {
    canvas.width = canvas.height = Math.round(canvas.clientWidth * devicePixelRatio);
    paint();
  }).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

  return { clear, undo, replay, toBlob, isEmpty: () => strokes.length === 0 };
}

/** Returns a canvas with the strokes in black on white. */
function drawPaper(strokes) {
  const paper = Object.assign(document.createElement("canvas"), { width: SIZE, height: SIZE });
  const context = paper.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, SIZE, SIZE);
  drawStrokes(context, strokes, "black");
  return paper;
}

function drawStrokes(context, strokes, color) {
  Object.assign(context, { strokeStyle: color, lineWidth: PEN, lineCap: "round", lineJoin: "round" });
  for (const points of strokes) {
    context.beginPath();
    context.moveTo(...points[0]);
    for (let i = 1; i < points.length - 1; i++) {
      const [x, y] = points[i];
      const [nextX, nextY] = points[i + 1];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    const [x, y] = points.at(-1);
    context.lineTo(x + 0.01, y); // not a line of length 0: a tap draws a dot
    context.stroke();
  }
}

function drawCursor(context, [x, y], penDown) {
  Object.assign(context, { strokeStyle: "gray", lineWidth: 2 });
  context.beginPath();
  context.arc(x, y, penDown ? PEN / 2 + 2 : PEN / 2 - 3, 0, 2 * Math.PI);
  context.stroke();
}

function firstPoints(strokes, count) {
  const first = [];
  for (const points of strokes) {
    if (count > 0) first.push(points.slice(0, count));
    count -= points.length;
  }
  return first;
}

const sum = (moves, axis) => moves.reduce((total, move) => total + move[axis], 0);
