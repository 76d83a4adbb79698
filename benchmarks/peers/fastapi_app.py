"""FastAPI: raw bytes in and out; each call runs the network on one of Starlette's threads."""

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from network import Network, pixels
from pydantic import BaseModel

app = FastAPI()
network = Network(threads=1)


class Images(BaseModel):
    images: list[list[list[list[int]]]]


@app.post("/tensor")
async def tensor(request: Request) -> Response:
    images = np.frombuffer(await request.body(), np.uint8).reshape(-1, *network.shape)
    probabilities = await run_in_threadpool(network, images)
    return Response(probabilities.tobytes(), media_type="application/octet-stream")


@app.post("/json")
def json(body: Images) -> list[list[float]]:
    return network(np.array(body.images, np.uint8)).tolist()


@app.post("/image")
async def image(request: Request) -> list[list[float]]:
    body = await request.body()
    probabilities = await run_in_threadpool(lambda: network(pixels(body)))
    return probabilities.tolist()
