// Maps of a layer on a canvas, side by side on one scale.

const GAP = 1; // pixels of the canvas between two maps
const SIDE = 56; // wanted width of a map on the screen
const LINE = 64; // numbers in a row, for layers without height and width

/** Returns where each map of a volume [depth, height, width] is on the canvas. */
export function layout([depth, height, width], room) {
  const isVector = height === 1 && width === 1;
  const gap = isVector ? 0 : GAP;
  const zoom = isVector ? (depth > 32 ? 8 : 24) : Math.max(1, Math.round(SIDE / width));
  const fits = Math.max(1, Math.floor(room / (zoom * (width + gap))));
  const columns = Math.min(depth, isVector ? Math.min(LINE, fits) : fits);
  const rows = Math.ceil(depth / columns);
  return {
    depth,
    height,
    width,
    zoom,
    columns,
    step: [height + gap, width + gap],
    size: [rows * (height + gap) - gap, columns * (width + gap) - gap],
  };
}

/** Draws values on a canvas: `low` and what is below is black, `high` and what is above white. */
export function drawMaps(canvas, values, place, [low, high] = extremes(values)) {
  const [tall, wide] = place.size;
  if (canvas.width !== wide || canvas.height !== tall) {
    Object.assign(canvas, { width: wide, height: tall });
    canvas.style.width = `${wide * place.zoom}px`;
    canvas.style.height = `${tall * place.zoom}px`;
  }
  const scale = high > low ? 255 / (high - low) : 0;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(wide, tall);
  const area = place.height * place.width;
  for (let index = 0; index < values.length; index++) {
    const map = Math.floor(index / area);
    const row = Math.floor(map / place.columns) * place.step[0] + Math.floor((index % area) / place.width);
    const column = (map % place.columns) * place.step[1] + (index % place.width);
    const at = 4 * (row * wide + column);
    const grey = (values[index] - low) * scale;
    picture.data[at] = grey;
    picture.data[at + 1] = grey;
    picture.data[at + 2] = grey;
    picture.data[at + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

/** Returns map, row and column of a point on the canvas, in CSS pixels; null between two maps. */
export function positionAt(place, x, y) {
  const [row, column] = [Math.floor(y / place.zoom), Math.floor(x / place.zoom)];
  const [down, across] = [Math.floor(row / place.step[0]), Math.floor(column / place.step[1])];
  const map = down * place.columns + across;
  const inside = row % place.step[0] < place.height && column % place.step[1] < place.width;
  return inside && across < place.columns && map < place.depth
    ? [map, row % place.step[0], column % place.step[1]]
    : null;
}

/** Returns left and top of a value on the canvas, in CSS pixels. */
export function placeOf(place, [map, row, column]) {
  const top = Math.floor(map / place.columns) * place.step[0] + row;
  const left = (map % place.columns) * place.step[1] + column;
  return [left * place.zoom, top * place.zoom];
}

export function extremes(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
