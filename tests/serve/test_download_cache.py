"""Test the cache headers of downloads: a cache must ask before it serves a copy."""

import shutil
from pathlib import Path

import pytest
from helpers import in_process


@pytest.mark.parametrize("path", ["/models/digits_cnn.onnx", "/models/digits_cnn/versions/2.onnx"])
@pytest.mark.parametrize(("key", "expected"), [(None, "no-cache"), ("open-sesame", "private, no-cache")])
def test_a_cache_asks_each_time(trained: Path, tmp_path: Path, path: str, key: str | None, expected: str):
    shutil.copytree(trained / "zoo", tmp_path / "zoo")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with in_process(tmp_path / "zoo", api_key=key) as client:
        response = client.get(path, headers=headers)
        assert response.headers["cache-control"] == expected
        again = client.get(path, headers={**headers, "If-None-Match": response.headers["etag"]})
        assert again.status_code == 304
        assert again.headers["cache-control"] == expected
        assert client.get(path, headers={**headers, "If-None-Match": '"other"'}).content == response.content
