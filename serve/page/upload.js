// Images as files that the service accepts.

const ACCEPTED = ["image/png", "image/jpeg"];
const MAX_PIXELS = 25_000_000; // limit of the service, unless its settings say otherwise
const MAX_BYTES = 32 * 2 ** 20; // likewise
const SIDE = 2048; // pixels of the longer side of an image that is scaled down
const QUALITY = 0.95; // of a JPEG

/** Returns a photo as PNG or JPEG. One of these stays as it is, if it is not too large for the service. The browser
 * converts any other photo, and gives it a name of its own. */
export async function toAccepted(file) {
  const accepted = ACCEPTED.includes(file.type);
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap && accepted) return file; // the service says what is wrong with it
  if (!bitmap)
    throw new Error(`${file.name ?? "This file"} is not an image that this browser can read. Try a PNG or a JPEG.`);
  const fits = bitmap.width * bitmap.height <= MAX_PIXELS && file.size <= MAX_BYTES;
  try {
    return accepted && fits ? file : await convert(bitmap, file.name);
  } finally {
    bitmap.close();
  }
}

/** Returns a PNG, or a JPEG if the bitmap has to be scaled down and is opaque. */
async function convert(bitmap, name) {
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(scale * side)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  const lossy = scale < 1 && isOpaque(context.getImageData(0, 0, width, height).data);
  const blob = await encode(canvas, lossy ? "image/jpeg" : "image/png");
  return new File([blob], `${name}.${lossy ? "jpeg" : "png"}`, { type: blob.type });
}

function isOpaque(pixels) {
  for (let alpha = 3; alpha < pixels.length; alpha += 4) if (pixels[alpha] < 255) return false;
  return true;
}

/** Returns a canvas as a Blob. */
export function encode(canvas, type) {
  return new Promise((resolve, reject) => {
    const finish = (blob) =>
      blob ? resolve(blob) : reject(new Error("The browser has no memory for this image. Try a smaller one."));
    canvas.toBlob(finish, type, QUALITY);
  });
}
