// Fastify: raw bytes in and out; onnxruntime-node with one thread, which computes outside of the event loop.

const cluster = require("node:cluster");
const fastify = require("fastify");
const ort = require("onnxruntime-node");
const { PNG } = require("pngjs");

async function main() {
  const session = await ort.InferenceSession.create(process.env.MODEL, { intraOpNumThreads: 1, interOpNumThreads: 1 });
  const shape = session.inputMetadata[0].shape.slice(1);
  const size = shape.reduce((a, b) => a * b);

  async function probabilities(pixels) {
    const images = new ort.Tensor("uint8", pixels, [pixels.length / size, ...shape]);
    const answer = await session.run({ images }, ["probabilities"]);
    return answer.probabilities;
  }

  function rows(tensor) {
    const [images, classes] = tensor.dims;
    return Array.from({ length: images }, (_, n) => Array.from(tensor.data.subarray(n * classes, (n + 1) * classes)));
  }

  const app = fastify({ bodyLimit: 2 ** 25 });
  for (const type of ["application/octet-stream", "image/png"]) {
    app.addContentTypeParser(type, { parseAs: "buffer" }, (_, body, done) => done(null, body));
  }
  app.post("/tensor", async (request, reply) => {
    const found = await probabilities(new Uint8Array(request.body));
    reply.type("application/octet-stream");
    return Buffer.from(found.data.buffer, found.data.byteOffset, found.data.byteLength);
  });
  app.post("/json", async (request) => rows(await probabilities(Uint8Array.from(request.body.images.flat(4)))));
  app.post("/image", async (request) => {
    const rgba = PNG.sync.read(request.body).data;
    const [channels, height, width] = shape;
    const pixels = new Uint8Array(size);
    for (let c = 0; c < channels; c++) {
      for (let n = 0; n < height * width; n++) pixels[c * height * width + n] = rgba[4 * n + c];
    }
    return rows(await probabilities(pixels));
  });
  await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
}

const workers = Number(process.env.WORKERS);
if (cluster.isPrimary && workers > 1) {
  for (let n = 0; n < workers; n++) cluster.fork();
} else {
  main();
}
