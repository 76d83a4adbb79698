// The filters of the first convolution, each beside its map, those that answer most first.

import { drawMaps, extremes, layout } from "./maps.js";
import { fill } from "./template.js";

const SIZE = 48; // CSS pixels of a filter

/** Fills `list` with the filters of a layer. `show` draws their maps for the current image. */
export function createFilters(list, layer) {
  const [, height, width] = layer.volume;
  const place = layout([1, height, width], 1e4);
  const items = layer.filters.map((kernel, number) => {
    const element = fill("#filter", {});
    const [canvas, map] = element.querySelectorAll("canvas");
    drawKernel(canvas, kernel);
    drawMaps(map, new Float32Array(height * width), place); // until there is an image
    Object.assign(canvas, { role: "img", ariaLabel: `Filter ${number}` });
    Object.assign(map, { role: "img", ariaLabel: `Map ${number}` });
    list.append(element);
    return { element, number };
  });

  function show(values) {
    const area = height * width;
    for (const item of items) {
      const map = values.subarray(item.number * area, (item.number + 1) * area);
      drawMaps(item.element.querySelector(".one"), map, place);
      [, item.highest] = extremes(map);
      const at = map.indexOf(item.highest);
      const where = `row ${Math.floor(at / width)}, column ${at % width}`;
      item.element.querySelector(".most").textContent = `${item.number}: ${item.highest.toFixed(2)} at ${where}`;
    }
    list.append(...items.toSorted((a, b) => b.highest - a.highest).map((item) => item.element));
  }

  return { show };
}

/** Draws a filter [depth, height, width]: in color if it sees three channels, else the mean of its channels. */
function drawKernel(canvas, kernel) {
  const [height, width] = [kernel[0].length, kernel[0][0].length];
  Object.assign(canvas, { width, height });
  canvas.style.width = `${SIZE}px`;
  canvas.style.height = `${SIZE}px`;
  const [low, high] = extremes(kernel.flat(2));
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let color = 0; color < 3; color++) {
        const value =
          kernel.length === 3 ? kernel[color][y][x] : kernel.reduce((sum, part) => sum + part[y][x], 0) / kernel.length;
        picture.data[4 * (y * width + x) + color] = (255 * (value - low)) / (high - low || 1);
        picture.data[4 * (y * width + x) + 3] = 255;
      }
  context.putImageData(picture, 0, 0);
}
