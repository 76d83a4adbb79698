// The strokes of the ten digits, as SVG paths in a square of 100.

const DIGITS = [
  ["M52 10 C24 10 22 90 50 90 C78 90 78 10 52 10"],
  ["M54 10 L48 90"],
  ["M27 30 C26 4 74 4 73 33 C72 55 36 70 25 89 L78 89"],
  ["M28 18 C42 4 74 8 72 28 C70 44 56 47 44 47 C60 47 78 53 76 69 C74 93 40 96 24 80"],
  ["M52 9 L24 60 L79 60", "M65 34 L62 92"],
  ["M73 12 L37 12 L33 46 C50 36 78 44 76 66 C74 93 40 95 24 81"],
  ["M64 9 C40 22 27 46 28 68 C30 97 75 95 73 68 C71 47 38 46 29 69"],
  ["M24 14 L76 14 C63 37 50 62 44 91"],
  ["M70 25 C62 4 30 8 32 28 C34 49 74 48 72 72 C70 96 28 96 28 72 C28 50 78 47 70 25"],
  ["M71 34 C68 7 28 7 30 34 C32 59 69 57 71 32 C73 58 69 77 61 91"],
];

const STEP = 2; // between two points along a path

/** Returns the strokes of a digit: lists of points [x, y], scaled to a pad of `size`. */
export function strokesOf(digit, size) {
  return DIGITS[digit].map((d) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", d);
    const steps = Math.ceil(path.getTotalLength() / STEP);
    return Array.from({ length: steps + 1 }, (_, i) => {
      const { x, y } = path.getPointAtLength((i / steps) * path.getTotalLength());
      return [(x * size) / 100, (y * size) / 100];
    });
  });
}
