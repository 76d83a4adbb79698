"""LitServe with its batching, and with the queue that its documentation recommends above 100 requests a second."""

import os

import litserve
import numpy as np
from network import Network, pixels


class API(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.network = Network()

    def decode_request(self, request) -> np.ndarray:  # untyped: a JSON object or a form
        image = request["image"]
        return np.array(image, np.uint8) if isinstance(image, list) else pixels(image.file.read())[0]

    def predict(self, images: np.ndarray) -> np.ndarray:
        return self.network(images)

    def encode_response(self, output: np.ndarray) -> list[float]:
        return output.tolist()


if __name__ == "__main__":
    api = API(max_batch_size=64, batch_timeout=0.001)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=int(os.environ["WORKERS"]), fast_queue=True, timeout=False
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=int(os.environ["WORKERS"]),
        generate_client_file=False,
        log_level="warning",
    )
