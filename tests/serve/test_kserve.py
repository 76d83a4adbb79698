"""Test the service with KServe's Python client, unmodified, in a virtual environment of its own."""

import json
import subprocess
import venv
from pathlib import Path

import httpx
import numpy as np
import pytest

SCRIPT = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def main(url, file):
    pixels = np.load(file)
    answers = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        answers["live"] = await client.is_server_live(url)
        answers["ready"] = await client.is_server_ready(url)
        answers["model"] = await client.is_model_ready(url, "digits_cnn")
        for binary_in in (False, True):
            for binary_out in (False, True):
                tensor = InferInput("images", list(pixels.shape), "UINT8")
                tensor.set_data_from_numpy(pixels, binary_data=binary_in)
                request = InferRequest("digits_cnn", [tensor], "q", parameters={"binary_data_output": binary_out})
                answer = await client.infer(url, request, model_name="digits_cnn")
                outputs = {output.name: output.as_numpy().tolist() for output in answer.outputs}
                answers[f"{binary_in}-{binary_out}"] = {"id": answer.id, **outputs}
    print(json.dumps(answers))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
def test_kserves_client_is_answered(served: httpx.Client, digits, tmp_path: Path):
    venv.create(tmp_path / "venv", with_pip=True)
    pip: list[str | Path] = [
        tmp_path / "venv/bin/python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "kserve",
    ]
    subprocess.run(pip, check=True, timeout=500)
    pixels = digits[0][:5].numpy()
    np.save(tmp_path / "pixels.npy", pixels)
    (tmp_path / "ask.py").write_text(SCRIPT)
    done = subprocess.run(
        [tmp_path / "venv/bin/python", tmp_path / "ask.py", str(served.base_url).rstrip("/"), tmp_path / "pixels.npy"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers.pop("live") and answers.pop("ready") and answers.pop("model")  # noqa: PT018
    call = {"name": "images", "datatype": "UINT8", "shape": [5, 1, 8, 8], "data": pixels.ravel().tolist()}
    outputs = served.post("/v2/models/digits_cnn/infer", json={"inputs": [call]}).json()["outputs"]
    expected = {o["name"]: np.reshape(o["data"], o["shape"]) for o in outputs}
    assert len(answers) == 4
    for answer in answers.values():
        assert answer["id"] == "q"
        for name, values in expected.items():
            np.testing.assert_allclose(answer[name], values, atol=1e-5)
