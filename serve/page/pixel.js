// Where one value of a convolution or a pooling comes from: its field, patch, kernel, products and sum.

import { fill } from "./template.js";

/** Creates the panel. `show` fills it with an answer of `inspectPixel`. */
export function createPixel() {
  const element = fill("#pixel", {});
  const find = (selector) => element.querySelector(selector);
  const select = find("select");
  let shown = null;

  select.addEventListener("change", () => fillNumbers(shown, Number(select.value)));

  /** Shows an answer in the layer's `row`. `input` is the source and size of the image that the network is given. */
  function show(answer, row, input) {
    if (element.parentElement !== row) {
      const before = row.getBoundingClientRect().top;
      row.append(element);
      scrollBy(0, row.getBoundingClientRect().top - before); // the row stays under the pointer
    }
    const { layer, pixel, kernel, patch, bias, value } = answer;
    shown = answer;
    find(".title").textContent = `${layer}, map ${pixel[0]}, row ${pixel[1]}, column ${pixel[2]}`;
    element.ariaLabel = `Where a value of ${layer} comes from`;
    fillField(answer.field, input);
    const products = kernel ? patch.map((part, channel) => multiply(part, kernel[channel])) : patch;
    const strength = products.map((part) => Math.max(...part.flat().map(Math.abs)));
    const chosen = strength.indexOf(Math.max(...strength));
    find(".channel").hidden = patch.length === 1;
    if (select.length !== patch.length)
      select.replaceChildren(...patch.map((_, channel) => new Option(`${channel} (${patch.length} from 0)`, channel)));
    select.value = chosen;
    fillNumbers(answer, chosen);
    const total = products.flat(2).reduce((sum, product) => sum + product, 0);
    find(".sum").textContent = kernel
      ? `sum of all products ${total.toFixed(4)} + bias ${bias.toFixed(4)} = ${value.toFixed(4)}`
      : `the largest of these wins: ${value.toFixed(4)}`;
  }

  function fillNumbers({ kernel, patch, value }, channel) {
    const matrices = [["patch", patch[channel]]];
    if (kernel) matrices.push(["kernel", kernel[channel]], ["products", multiply(patch[channel], kernel[channel])]);
    find(".numbers").replaceChildren(
      ...matrices.map(([title, numbers]) => createMatrix(title, numbers, kernel ? null : value)),
    );
  }

  function fillField([top, left, bottom, right], { source, height, width }) {
    Object.assign(find(".seen"), {
      src: source,
      alt: `The network's input. The field is rows ${top} to ${bottom - 1}, columns ${left} to ${right - 1}.`,
    });
    Object.assign(find(".marker").style, {
      left: `${(100 * left) / width}%`,
      top: `${(100 * top) / height}%`,
      width: `${(100 * (right - left)) / width}%`,
      height: `${(100 * (bottom - top)) / height}%`,
    });
  }

  /** Shows another input, whose answer comes later. */
  function showInput(source) {
    if (shown && source) find(".seen").src = source;
  }

  return { show, showInput };
}

function multiply(a, b) {
  return a.map((row, y) => row.map((value, x) => value * b[y][x]));
}

/** Returns a table of numbers in grey. `winner` is the value to mark. */
function createMatrix(title, numbers, winner) {
  const table = fill("#numbers", {});
  table.caption.textContent = title;
  const all = numbers.flat().filter((value) => value !== null);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  for (const row of numbers) {
    const line = table.tBodies[0].insertRow();
    for (const value of row) {
      const cell = line.insertCell();
      if (value === null) continue; // past the border
      cell.textContent = (Math.abs(value) < 0.005 ? 0 : value).toFixed(2);
      const share = high > low ? (value - low) / (high - low) : 0;
      cell.style.setProperty("--grey", `${Math.round(100 * share)}%`);
      cell.classList.toggle("light", share > 0.46); // both texts have a contrast of 4.5 there
      cell.classList.toggle("winner", value === winner);
    }
  }
  return table;
}
