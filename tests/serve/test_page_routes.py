"""Test the files of the web page over HTTP, and the network inputs that it shows."""

import base64
import http.client
import io
import re

import httpx
import numpy as np
import pytest
from helpers import error, png
from PIL import Image

from cnnzoo.contract.facts import facts
from cnnzoo.contract.images import decode, to_input
from cnnzoo.contract.model_file import read_card
from cnnzoo.contract.zoo_folder import SHIPPED, find_file
from cnnzoo.serve.drawing import data_url, to_image
from cnnzoo.serve.routes.page import FOLDER

PREDICT = "/v1/models/digits_cnn/predict"
FILES = sorted(p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*") if p.is_file())

KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "jpg": "image/jpeg"}


def test_the_page_is_html_under_strict_rules(client: httpx.Client):
    response = client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text.startswith("<!doctype html>")
    policy = dict(rule.split(" ", 1) for rule in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["form-action"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data: blob:"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["trusted-types"] == "'none'"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_served_as_it_is(client: httpx.Client, name: str):
    content = (FOLDER / name).read_bytes()
    response = client.get(f"/page/{name}")
    assert response.content == content
    assert response.headers["content-type"].split(";")[0] == KINDS[name.rsplit(".", 1)[1]]
    assert response.headers["cache-control"] == "no-cache"
    head = client.head(f"/page/{name}")
    assert (head.content, int(head.headers["content-length"])) == (b"", len(content))
    again = client.get(f"/page/{name}", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", response.headers["etag"])
    assert client.get(f"/page/{name}", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/nothing.js", "/page/../service.py", "/page/..%2fservice.py", "/page/%2e%2e/service.py",
     "/page//etc/passwd", "/page/%2fetc%2fpasswd", "/page/examples/../../zoo.py", "/page/style.css%00"],
)  # fmt: skip
def test_no_path_leads_anywhere_else(served: httpx.Client, path: str):
    """Send each path unchanged: HTTP clients normalize it."""
    connection = http.client.HTTPConnection(served.base_url.host, served.base_url.port or 80)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 404
    assert body.startswith(b"{")
    assert b"import" not in body
    connection.close()


def test_the_page_refers_to_its_own_files_only():
    for path in (FOLDER / name for name in FILES if not name.endswith(".jpg")):
        text = path.read_text()
        for reference in re.findall(r'(?:src|href)="(/page/[^"]+)"', text):
            assert (FOLDER / reference.removeprefix("/page/")).is_file(), reference
        for reference in re.findall(r'(?:from |import\()"\./([^"]+)"', text):
            assert (FOLDER / reference).is_file(), reference
        assert set(re.findall(r"https?://[\w./]+", text)) <= {"http://www.w3.org/2000/svg"}, path


def imported(module: str) -> set[str]:
    """Return a module and those that are loaded together with it."""
    found = {module}
    for name in re.findall(r'from "\./([^"]+)"', (FOLDER / module).read_text()):
        found |= imported(name)
    return found


def test_the_page_stays_small():
    loaded = [name for name in FILES if not name.endswith(".js") or name in imported("page.js") | {"docs.js"}]
    later = set(FILES) - set(loaded)  # when a network is opened
    assert "journey.js" in later
    assert sum((FOLDER / name).stat().st_size for name in loaded) < 80_000
    assert sum((FOLDER / name).stat().st_size for name in later) < 20_000


def pixels_of(data_url: str) -> np.ndarray:
    head, _, body = data_url.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


def test_the_input_shown_is_what_the_network_got(client: httpx.Client, digits):
    framed = digits[0][0, 0].numpy()
    page = np.full((100, 120), 255, np.uint8)
    page[20:80, 40:50] = 30
    files = [("file", ("framed.png", png(framed))), ("file", ("page.png", png(page)))]
    predictions = client.post(f"{PREDICT}?show_input=true", files=files).json()["predictions"]
    shown = [pixels_of(prediction["input"]) for prediction in predictions]
    np.testing.assert_array_equal(shown[0], framed)
    np.testing.assert_array_equal(shown[1], to_input(decode(png(page)), (1, 8, 8), "digits")[0])


def test_the_input_is_shown_to_those_who_ask(client: httpx.Client, digits):
    body, headers = png(digits[0][0, 0].numpy()), {"Content-Type": "image/png"}
    for query in ("", "?show_input=false"):
        assert "input" not in client.post(f"{PREDICT}{query}", content=body, headers=headers).json()["predictions"][0]
    assert "show_input" in error(client.post(f"{PREDICT}?show_input=1", content=body, headers=headers), 400)


def test_an_rgb_input_keeps_its_colors():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4), dtype=np.uint8)
    np.testing.assert_array_equal(pixels_of(data_url(to_image(pixels))), pixels.transpose(1, 2, 0))


@pytest.mark.parametrize("path", ["/models", "/models/none", "/v2", "/livez", "/metrics", "/models/digits_cnn.onnx"])
def test_no_answer_is_taken_for_another_type(client: httpx.Client, path: str):
    assert client.get(path).headers.get_list("x-content-type-options") == ["nosniff"]


def test_the_example_photos_are_those_that_the_page_offers():
    names = re.findall(r'"(\w+)"', (FOLDER / "photo.js").read_text().partition("EXAMPLES = [")[2].partition("]")[0])
    assert {f"examples/{name}.jpg" for name in names} == {name for name in FILES if name.startswith("examples/")}
    for name in names:
        with Image.open(FOLDER / f"examples/{name}.jpg") as image:
            assert image.size == (32, 32)


def test_a_closed_card_shows_facts_that_a_model_card_has():
    brief = re.findall(r'"([\w-]+)"', (FOLDER / "cards.js").read_text().partition("BRIEF = [")[2].partition("]")[0])
    assert len(brief) == 7
    assert facts(read_card(find_file("digits_cnn", SHIPPED)), 1).keys() >= set(brief)
