"""Test the web page in a real browser."""

import contextlib
import hashlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers import copy_of_export, listening, png, write
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from cnnzoo.contract.card import ModelCard

pytestmark = pytest.mark.browser

DIGITS = tuple("0123456789")
PHOTOS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
AT_ONCE: dict[str, Any] = {"reduced_motion": "reduce"}  # the first digit is drawn at once, so that no answer changes
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "has_touch": True, "is_mobile": True
}  # fmt: skip

# A hand's digits, as corners in percent of the pad. They are not those that the page writes itself.
HAND = {
    "0": [[(50, 10), (34, 18), (26, 36), (25, 62), (33, 82), (50, 90), (67, 82), (75, 62), (74, 36), (50, 10)]],
    "2": [[(28, 28), (36, 14), (52, 10), (68, 18), (70, 34), (60, 52), (40, 72), (26, 88), (76, 88)]],
    "3": [[(28, 16), (48, 10), (68, 20), (68, 36), (48, 47), (70, 58), (74, 74), (56, 90), (26, 84)]],
    "4": [[(52, 10), (24, 58), (78, 58)], [(64, 36), (60, 90)]],
    "5": [[(72, 12), (36, 12), (32, 46), (56, 42), (72, 54), (74, 72), (60, 88), (42, 90), (26, 84)]],
    "6": [[(64, 10), (42, 28), (29, 54), (31, 78), (48, 91), (68, 84), (72, 66), (58, 54), (40, 60), (31, 74)]],
    "7": [[(24, 14), (76, 14), (54, 90)], [(38, 52), (72, 52)]],
}  # fmt: skip


@pytest.fixture(scope="module")
def service(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Serve a trained digits network in two versions, and untrained networks for MNIST and CIFAR-10."""
    zoo = tmp_path_factory.mktemp("page") / "zoo"
    shutil.copytree(trained / "zoo", zoo)
    write(copy_of_export("mnist_cnn"), ModelCard("mnist_cnn", 1, DIGITS, (1, 28, 28), "mnist"), zoo)
    cifar10 = {"name": "CIFAR-10", "variant": "JPEG q75"}
    card = ModelCard("cifar10_cnn", 1, PHOTOS, (3, 32, 32), dataset=cifar10, metrics={"accuracy": 0.8, "n": 10_000})
    write(copy_of_export("cifar10_cnn"), card, zoo)
    with listening(zoo) as client:
        yield client


Visit = Callable[..., contextlib.AbstractContextManager[Page]]


@pytest.fixture
def visit(browser: Browser, service: httpx.Client) -> Visit:
    """Open the page. At the end, check that it sent no request elsewhere and that the console has no error."""

    @contextlib.contextmanager
    def visit(
        at: httpx.Client = service, errors: str = "", script: str = "", listing: str = "", **options: Any
    ) -> Iterator[Page]:
        """`errors`: pattern of the console errors to expect. `script`: runs before the page's own scripts.
        `listing`: replaces the answer of `/models`."""
        context = browser.new_context(**{**DESKTOP, **options})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.set_default_timeout(15_000)
        said: list[str] = []
        asked: set[str] = set()
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        context.on("request", lambda request: asked.add(request.url))
        if script:
            page.add_init_script(script)
        if listing:
            page.route("**/models", lambda route: route.fulfill(body=listing))
        with contextlib.closing(context):
            page.goto(str(at.base_url))
            yield page
            assert [text for text in said if not (errors and re.search(errors, text))] == []
            own = str(at.base_url).rstrip("/") + "/"
            assert [url for url in asked if not url.startswith((own, "data:", f"blob:{own}"))] == []

    return visit


def prediction(page: Page, model: str) -> Any:
    return page.locator(".prediction", has=page.get_by_role("heading", name=model, exact=True))


def draw(page: Page, strokes: list[list[tuple[int, int]]], steps: int = 2) -> None:
    """Draw with the mouse. `steps` is the number of moves between two corners."""
    pad = page.locator(".pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box
    for corners in strokes:
        points = [(box["x"] + x * box["width"] / 100, box["y"] + y * box["height"] / 100) for x, y in corners]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=steps)
        page.mouse.up()


@pytest.mark.parametrize("digit", [pytest.param(d, marks=[pytest.mark.slow] if d > "1" else []) for d in HAND])
def test_a_drawn_digit_is_read(visit: Visit, digit: str):
    with visit() as page:
        draw(page, HAND[digit])
        # What is read out comes once the answers have come to rest.
        expect(page.get_by_role("status")).to_contain_text(re.compile(rf"digits_cnn: {digit}, \d+\.\d%.*; mnist_cnn: "))
        digits = prediction(page, "digits_cnn")
        assert digits.locator(".answer").text_content() == digit
        assert digits.locator(".best .label").text_content() == digit
        values = [float(text.rstrip("%")) for text in digits.locator(".value").all_text_contents()]
        assert len(values) == 10
        assert sum(values) == pytest.approx(100, abs=0.6)
        assert values.index(max(values)) == int(digit)
        for model, side in (("digits_cnn", 8), ("mnist_cnn", 28)):
            seen = prediction(page, model).locator(".input")
            assert seen.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [side, side]
            assert f"{side} by {side} pixels" in str(seen.get_attribute("alt"))
            assert re.fullmatch(r"[\d.]+ ms .*", str(prediction(page, model).locator(".time").text_content()))


@pytest.mark.slow
def test_a_scribble_is_said_to_be_unfamiliar(visit: Visit):
    with visit() as page:
        draw(page, HAND["0"])
        shown = prediction(page, "digits_cnn")
        expect(shown).to_have_class("prediction answered")
        expect(shown.locator(".note")).to_be_empty()
        page.get_by_role("button", name="Clear").click()
        draw(page, [[(5, 5), (95, 5), (95, 95), (5, 95), (5, 5), (95, 95)], [(95, 5), (5, 95)]])
        expect(shown.locator(".note")).to_have_text("This looks like nothing the network was trained on.")
        expect(shown).to_have_class("prediction answered unfamiliar")
        expect(page.get_by_role("status")).to_contain_text("nothing the network was trained on")


def test_answers_come_while_the_pen_is_still_down(visit: Visit):
    with visit() as page:
        expect(prediction(page, "digits_cnn").locator(".answer")).not_to_be_empty()  # of the digit that the page writes
        page.keyboard.press("Escape")
        expect(prediction(page, "digits_cnn").locator(".answer")).to_be_empty()
        page.locator(".pad").hover()
        page.mouse.down()
        page.mouse.move(640, 400, steps=5)
        expect(prediction(page, "digits_cnn").locator(".answer")).not_to_be_empty()
        expect(prediction(page, "mnist_cnn").locator(".answer")).not_to_be_empty()
        page.mouse.up()


@pytest.mark.slow
def test_undo_clear_and_escape(visit: Visit):
    def ink(page: Page) -> int:
        return page.locator(".pad").evaluate(
            "pad => pad.getContext('2d').getImageData(0, 0, pad.width, pad.height).data.filter(v => v).length"
        )

    with visit(errors="willReadFrequently") as page:  # of ink()'s own reading
        answer = prediction(page, "digits_cnn").locator(".answer")
        for clear in (lambda: page.keyboard.press("Escape"), page.get_by_role("button", name="Clear").click):
            draw(page, HAND["7"])
            expect(answer).to_have_text("7")
            clear()
            expect(answer).to_be_empty()
            assert ink(page) == 0
        draw(page, HAND["4"])
        both = ink(page)
        page.get_by_role("button", name="Undo").click()
        assert 0 < ink(page) < both
        page.keyboard.press("Control+z")
        assert ink(page) == 0
        expect(answer).to_be_empty()


@pytest.mark.slow
def test_a_held_space_bar_moves_the_pen_once(visit: Visit):
    with visit() as page:
        page.get_by_role("button", name="Clear").click()
        page.locator(".pad").focus()
        page.evaluate(
            """() => {
              window.said = [];
              const status = document.querySelector("#status");
              new MutationObserver(() => said.push(status.textContent)).observe(status, {childList: true});
            }"""
        )
        for _ in range(4):  # the second and later ones are repeats
            page.keyboard.down(" ")
        page.keyboard.up(" ")
        page.wait_for_function("() => said.includes('Pen down, 50% from the left, 50% from the top')")
        page.keyboard.press("ArrowDown")
        page.keyboard.press(" ")
        page.wait_for_function("() => said.includes('Pen up, 50% from the left, 53% from the top')")
        expect(prediction(page, "digits_cnn").locator(".answer")).not_to_be_empty()


# Makes the service slow, as the page sees it, and counts.
SLOW = """
window.flights = {now: {}, most: 0, sent: 0, last: {}};
const fetch = window.fetch;
window.fetch = async (path, options) => {
  if (!String(path).includes("/predict")) return fetch(path, options);
  const f = window.flights;
  f.now[path] = (f.now[path] ?? 0) + 1;
  f.most = Math.max(f.most, f.now[path]);
  f.sent += 1;
  f.last[path] = await options.body.arrayBuffer();
  try {
    const answer = await fetch(path, options);
    await new Promise((resolve) => setTimeout(resolve, 400));
    return answer;
  } finally {
    f.now[path] -= 1; // also of an aborted request
  }
};
"""


@pytest.mark.slow
def test_a_slow_service_is_asked_one_thing_at_a_time_and_the_newest_last(visit: Visit, tmp_path: Path):
    with visit(script=SLOW) as page:
        draw(page, [*HAND["4"], *HAND["7"], *HAND["0"]], steps=8)  # more than a hundred moves
        page.keyboard.press("Escape")
        draw(page, HAND["7"])
        expect(page.get_by_role("status")).to_contain_text("digits_cnn: 7")
        flights = page.evaluate("({...flights, last: Object.values(flights.last).map((b) => [...new Uint8Array(b)])})")
        assert flights["most"] == 1
        assert flights["sent"] < 40
        with page.expect_download() as download:
            page.locator("#draw").get_by_role("button", name="Save image").click()
        drawing = list(download.value.path().read_bytes())
        assert flights["last"].count(drawing) == 2  # the two grey networks'


@pytest.mark.slow
def test_what_was_cleared_gets_no_late_answer(visit: Visit):
    with visit(script=SLOW) as page:
        draw(page, HAND["7"])
        page.keyboard.press("Escape")
        page.wait_for_timeout(700)
        expect(prediction(page, "digits_cnn").locator(".answer")).to_be_empty()


def test_a_photo_is_classified(visit: Visit, service: httpx.Client, tmp_path: Path):
    """Choose a PNG, drop a JPEG and paste a WebP, which the browser has to convert."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    contents = [png(pixels[0]), png(pixels[1], "JPEG"), png(pixels[2], "WEBP")]
    give = """([bytes, type, kind]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], "given", {type}));
      const event = kind === "drop" ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
                                    : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
      document.querySelector("footer").dispatchEvent(event);
    }"""
    with visit() as page:
        photo = page.locator("#photo")
        expect(photo.locator(".answered")).to_be_visible()
        for content, kind in zip(contents, ("choose", "drop", "paste"), strict=True):
            before = photo.locator(".input").get_attribute("src")
            suffix = {"choose": "png", "drop": "jpeg", "paste": "webp"}[kind]
            if kind == "choose":
                path = tmp_path / "it's mine.png"
                path.write_bytes(content)
                photo.locator("input").set_input_files(path)
            else:
                page.evaluate(give, [list(content), f"image/{suffix}", kind])
            expect(photo.locator(".input")).not_to_have_attribute("src", str(before))
            expect(photo.locator(".preview")).to_be_visible()
            sent = content if suffix != "webp" else png(np.asarray(Image.open(io.BytesIO(content))))
            asked: dict[str, Any] = {
                "content": sent,
                "headers": {"Content-Type": "image/jpeg" if suffix == "jpeg" else "image/png"},
            }
            answer = service.post("/v1/models/cifar10_cnn/predict", **asked).json()["predictions"][0]["classes"][0]
            assert photo.locator(".answer").text_content() == answer["label"]
            assert photo.locator(".sure").text_content() == f"{answer['probability']:.1%}"
        assert "@given.png" in str(photo.locator("code").text_content())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "format", "mode", "size", "sent"),
    [
        ("many.png", "PNG", "RGB", (5200, 5000), "many.png.jpeg"),  # more than 25 megapixels
        ("large.webp", "WEBP", "RGB", (3000, 1500), "large.webp.jpeg"),
        ("clear.webp", "WEBP", "RGBA", (3000, 1500), "clear.webp.png"),
        ("usual.png", "PNG", "RGB", (3000, 1500), "usual.png"),
    ],
)
def test_a_photo_that_the_service_would_refuse_is_scaled_down(
    visit: Visit, tmp_path: Path, name: str, format: str, mode: str, size: tuple[int, int], sent: str
):
    Image.new(mode, size).save(tmp_path / name, format)
    with visit() as page:
        photo = page.locator("#photo")
        expect(photo.locator(".answered")).to_be_visible()
        photo.locator("input").set_input_files(tmp_path / name)
        expect(photo.locator(".line")).to_contain_text(f"@{sent} ")
        expect(photo.locator(".answered:not(.stale)")).to_be_visible()
        with page.expect_download() as download:
            photo.get_by_role("button", name="Save image").click()
        content = download.value.path().read_bytes()
        if sent == name:
            assert content == (tmp_path / name).read_bytes()
        else:
            image = Image.open(io.BytesIO(content))
            assert image.format == ("JPEG" if sent.endswith("jpeg") else "PNG")
            assert image.size == (2048, round(2048 * size[1] / size[0]))


@pytest.mark.slow
def test_a_new_photo_does_not_wait_until_the_old_one_is_decoded(visit: Visit, tmp_path: Path):
    Image.new("RGB", (40, 40)).save(tmp_path / "large.webp")
    first_never_ends = """() => {
      const decode = createImageBitmap;
      let calls = 0;
      window.createImageBitmap = (file) => (calls++ ? decode(file) : new Promise(() => {}));
    }"""
    with visit() as page:
        photo = page.locator("#photo")
        expect(photo.locator(".answered")).to_be_visible()
        page.evaluate(first_never_ends)
        photo.locator("input").set_input_files(tmp_path / "large.webp")
        expect(photo.locator(".stale")).to_be_visible()
        page.get_by_role("group", name="Example photos").get_by_role("button", name="cat").click()
        expect(photo.locator(".answered:not(.stale)")).to_be_visible()


@pytest.mark.slow
def test_a_new_photo_does_not_wait_for_the_old_one(visit: Visit, tmp_path: Path):
    fake = tmp_path / "holiday.png"
    fake.write_text("hello")
    with visit(errors="status of 422") as page:
        photo = page.locator("#photo")
        expect(photo.locator(".answered")).to_be_visible()
        photo.locator("input").set_input_files(fake)
        expect(photo.locator(".error")).not_to_be_empty()
        held: list[Route] = []  # the first request, which gets no answer
        page.route("**/cifar10_cnn/**/predict*", lambda route: route.continue_() if held else held.append(route))
        examples = page.get_by_role("group", name="Example photos")
        with page.expect_request(re.compile("cifar10_cnn/.*predict")):
            examples.get_by_role("button", name="cat").click()
        expect(photo.locator(".error")).to_be_empty()
        page.wait_for_timeout(1000)
        expect(page.get_by_role("status")).not_to_contain_text("cifar10_cnn")  # nothing about the file before
        examples.get_by_role("button", name="ship").click()
        expect(photo.locator(".answered:not(.stale)")).to_be_visible()


@pytest.mark.slow
def test_every_example_can_be_clicked(visit: Visit):
    with visit() as page:
        photos = page.get_by_role("group", name="Example photos").get_by_role("button")
        for name in photos.all():
            before = page.locator("#photo .input").get_attribute("src")
            if name.get_attribute("aria-pressed") == "true":
                continue
            name.click()
            expect(name).to_have_attribute("aria-pressed", "true")
            expect(page.locator("#photo .input")).not_to_have_attribute("src", str(before))
        assert photos.count() == 8
        for digit in "052":
            page.get_by_role("group", name="Digits to draw").get_by_role("button", name=digit).click()
            expect(page.get_by_role("status")).to_contain_text(f"digits_cnn: {digit}")


@pytest.mark.slow
def test_the_models_that_come_along_know_a_drawn_digit_and_a_photo(visit: Visit, shipped: Path):
    with listening(shipped) as own, visit(at=own) as page:
        for digit in "37":
            draw(page, HAND[digit])
            for model in ("digits_cnn", "mnist_cnn", "mnist_speednet"):
                expect(prediction(page, model).locator(".answer")).to_have_text(digit)
            page.keyboard.press("Escape")
        page.get_by_role("group", name="Example photos").get_by_role("button", name="frog").click()
        for model in ("cifar10_cnn", "cifar10_speednet"):
            expect(prediction(page, model).locator(".answer")).to_have_text("frog")


def test_cards_say_what_each_model_is(visit: Visit):
    with visit() as page:
        card = page.locator(".card", has=page.get_by_role("heading", name="cifar10_cnn"))
        for fact in ("80.00%", "of 10,000 test images", "CIFAR-10 (JPEG q75)", "32 × 32 RGB", "airplane, auto", "MB"):
            expect(card).to_contain_text(fact)
        expect(prediction(page, "cifar10_cnn")).to_contain_text("CIFAR-10 (JPEG q75)")
        expect(prediction(page, "digits_cnn")).to_have_count(1)  # the newest version alone
        expect(page.locator(".card")).to_have_count(3)


@pytest.mark.slow
def test_a_card_opens_to_all_that_it_says(visit: Visit, service: httpx.Client):
    said = service.get("/models/digits_cnn").json()
    counts = said["confusion_matrix"]
    times = max(n for i, row in enumerate(counts) for j, n in enumerate(row) if i != j)
    with visit() as page:
        card = page.locator(".card", has=page.get_by_role("heading", name="digits_cnn"))
        card.get_by_text("Details", exact=True).click()
        expect(card.locator(".robustness tbody tr")).to_have_count(len(said["robustness"]["accuracy"]))
        for fact in (
            "13 people",
            f"seed {said['seed']}",
            "CC-BY-4.0",
            f"error {said['metrics']['calibration_error']:.4f}",
        ):
            expect(card).to_contain_text(fact)
        worst = str(int(100 * said["robustness"]["accuracy"]["noise"][4] + 1e-9))
        expect(card.locator(".robustness tr", has_text="noise").locator("td").last).to_have_text(worst)
        expect(card.locator(".bars li")).to_have_count(10)
        expect(card.locator(".bars li").nth(3)).to_contain_text(f"{counts[3][3] / sum(counts[3]):.1%}")
        expect(card.locator(".confusions")).to_contain_text(f"{times} image")
        assert serious(page) == []


@pytest.mark.slow
def test_percentages_on_corrupted_images_are_whole_and_100_means_all(visit: Visit, service: httpx.Client):
    said = service.get("/models/digits_cnn").json()
    said["robustness"] = {"images": 10_000, "accuracy": {"noise": [0.57, 0.58, 0.29, 0.9999, 1]}}
    with visit() as page:
        page.route("**/models/digits_cnn/versions/2", lambda route: route.fulfill(json=said))
        card = page.locator(".card", has=page.get_by_role("heading", name="digits_cnn"))
        card.get_by_text("Details", exact=True).click()
        expect(card.locator(".robustness td")).to_have_text(["57", "58", "29", "99", "100"])


@pytest.mark.slow
def test_a_card_that_says_little_opens_too(visit: Visit):
    with visit() as page:
        card = page.locator(".card", has=page.get_by_role("heading", name="cifar10_cnn"))
        card.get_by_text("Details", exact=True).click()
        expect(card.locator(".details h4").first).to_be_hidden()
        expect(card.locator(".robustness")).to_be_hidden()


def test_a_downloads_hash_is_the_one_shown(visit: Visit, service: httpx.Client):
    listed = {(m["name"], m["version"]): m["sha256"] for m in service.get("/models").json()["models"]}
    with visit() as page:
        card = page.locator(".card", has=page.get_by_role("heading", name="digits_cnn"))
        card.get_by_text("Older versions").click()
        for version in (2, 1):
            with page.expect_download() as download:
                card.get_by_role("link", name=f"digits_cnn-{version}.onnx").click()
            assert download.value.suggested_filename == f"digits_cnn-{version}.onnx"
            digest = hashlib.sha256(download.value.path().read_bytes()).hexdigest()
            assert digest == listed["digits_cnn", version]
            assert version == 1 or digest in str(card.text_content())


@pytest.mark.slow
def test_the_curl_line_does_what_the_page_did(visit: Visit, tmp_path: Path):
    """The file's name has characters that a shell needs quoted."""
    photo = tmp_path / "it's $HOME.png"
    photo.write_bytes(png(np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)))
    with visit() as page:
        draw(page, HAND["2"])
        expect(page.get_by_role("status")).to_contain_text("digits_cnn: 2")
        before = page.locator("#photo .input").get_attribute("src")
        page.locator("#photo input").set_input_files(photo)
        expect(page.locator("#photo .input")).not_to_have_attribute("src", str(before))
        for panel in (page.locator("#draw"), page.locator("#photo")):
            with page.expect_download() as download:
                panel.get_by_role("button", name="Save image").click()
            download.value.save_as(tmp_path / download.value.suggested_filename)
            panel.get_by_role("button", name="Copy").click()
            expect(panel.get_by_role("button", name="Copied")).to_be_visible()
            line = page.evaluate("navigator.clipboard.readText()")
            printed = subprocess.check_output(["sh", "-c", line], cwd=tmp_path, text=True, timeout=30)
            answers = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
            shown = panel.locator(".prediction").all()
            assert len(answers) == len(shown)
            for answer, element in zip(answers, shown, strict=True):
                assert element.locator(".name").text_content() == answer["model"]
                best = answer["predictions"][0]["classes"][0]
                assert element.locator(".answer").text_content() == best["label"]
                assert element.locator(".sure").text_content() == f"{best['probability']:.1%}"
        assert download.value.suggested_filename.startswith("it")


@pytest.mark.slow
def test_errors_are_shown_as_words(visit: Visit, tmp_path: Path):
    fake = tmp_path / "holiday.png"
    fake.write_text("hello")
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with visit(errors="status of (422|415)|ERR_INTERNET_DISCONNECTED") as page:
        photo = page.locator("#photo")
        photo.locator("input").set_input_files(fake)
        expect(photo.locator(".error")).to_contain_text("not a PNG or JPEG image")
        expect(page.get_by_role("status")).to_contain_text("not a PNG or JPEG image")
        photo.get_by_role("button", name="cat").click()
        expect(photo.locator("[aria-pressed=true]")).to_have_count(1)
        photo.locator("input").set_input_files(text)
        expect(photo.locator(".error")).to_contain_text("notes.txt is not an image that this browser can read")
        expect(photo.locator("[aria-pressed=true]")).to_have_count(0)  # the file is not the example
        expect(photo.locator(".line")).to_be_hidden()  # nothing that could only fail
        page.context.set_offline(True)
        draw(page, HAND["7"])
        expect(prediction(page, "digits_cnn").locator(".error")).to_contain_text("The service does not answer")
        page.context.set_offline(False)
        draw(page, HAND["7"])
        expect(prediction(page, "digits_cnn").locator(".answer")).not_to_be_empty()
        expect(prediction(page, "digits_cnn").locator(".error")).to_be_empty()


@pytest.mark.slow
def test_an_answer_that_cannot_be_read_is_an_error_in_words(visit: Visit):
    with visit(listing="no JSON") as page:
        expect(page.get_by_role("alert")).to_contain_text("not what this page expects")


@pytest.mark.slow
def test_a_busy_service_is_asked_again_twice(visit: Visit):
    busy = {"error": "4,096 images wait already: try again in a second", "code": "busy"}
    sent: list[str] = []
    with visit(errors="status of 429") as page:
        answer = prediction(page, "digits_cnn")
        expect(answer.locator(".answer")).not_to_be_empty()
        page.get_by_role("button", name="Clear").click()

        def refuse(route: Route) -> None:
            sent.append(route.request.url)
            route.fulfill(status=429, headers={"Retry-After": "1"}, json=busy)

        page.route("**/digits_cnn/**/predict*", refuse)
        page.locator(".pad").click()
        expect(answer.locator(".error")).to_have_text(f"The service answered: {busy['error']}.")
        assert len(sent) == 3


@pytest.mark.slow
def test_without_storage_the_key_is_kept_until_a_reload(visit: Visit, trained: Path, tmp_path: Path):
    blocked = "Object.defineProperty(window, 'sessionStorage', {get() { throw new DOMException('denied'); }})"
    shutil.copytree(trained / "zoo", tmp_path / "zoo")
    key = "a-very-secret-key"
    with listening(tmp_path / "zoo", api_key=key) as locked, visit(locked, "status of 401", blocked) as page:
        page.get_by_role("dialog").get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(prediction(page, "digits_cnn").locator(".answer")).not_to_be_empty()
        expect(page.get_by_role("dialog")).to_be_hidden()


@pytest.mark.slow
def test_the_key_is_asked_for_and_sent_from_then_on(visit: Visit, trained: Path, tmp_path: Path):
    shutil.copytree(trained / "zoo", tmp_path / "zoo")
    key = "a-very-secret-key"
    with listening(tmp_path / "zoo", api_key=key) as locked:
        assert locked.get("/models").status_code == 401
        with visit(locked, errors="status of (401|500)") as page:
            dialog = page.get_by_role("dialog", name="API key needed")
            expect(dialog).to_be_visible()
            expect(page.locator("#draw")).to_be_hidden()
            assert serious(page) == []
            dialog.get_by_label("API key").fill("wrong")
            page.keyboard.press("Enter")
            expect(dialog).to_contain_text("did not accept this key")
            dialog.get_by_label("API key").fill(key)
            dialog.get_by_role("button", name="Continue").click()
            draw(page, HAND["7"])
            expect(page.get_by_role("status")).to_contain_text("digits_cnn: 7")
            expect(page.locator("#draw code")).to_contain_text('-H "Authorization: Bearer $KEY"')
            link, failure = page.get_by_role("link", name="digits_cnn-2.onnx"), page.locator(".download + .error")
            page.route("**/*.onnx", lambda route: route.fulfill(status=500, json={"error": "broken"}))
            link.click()
            expect(failure).to_have_text("The service answered: broken.")
            expect(link).to_have_text("Download")
            page.unroute("**/*.onnx")
            with page.expect_download() as download:
                link.click()
            expect(failure).to_be_empty()
            assert download.value.path().read_bytes() == (tmp_path / "zoo/digits_cnn/2/model.onnx").read_bytes()
            assert key not in page.content() + page.url
            page.reload()
            expect(page.locator("#draw")).to_be_visible()
            expect(dialog).to_be_hidden()
        with visit(locked, errors="status of 401") as page:
            expect(dialog := page.get_by_role("dialog")).to_be_visible()
            page.keyboard.press("Escape")
            expect(dialog).to_be_hidden()
            expect(page.get_by_role("alert")).to_contain_text("needs an API key")


def serious(page: Page) -> list[str]:
    """Return the serious and critical accessibility violations that axe-core finds."""
    found = Axe().run(page).response
    assert found["passes"] or found["violations"]
    return [
        f"{v['id']}: {node['target']} {node['failureSummary']}"
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"]
    ]


@pytest.mark.parametrize(
    ("device", "scheme"),
    [
        pytest.param(DESKTOP, "light", id="desktop-light"),
        pytest.param(PHONE, "dark", id="phone-dark", marks=pytest.mark.slow),
        pytest.param(DESKTOP, "dark", id="desktop-dark", marks=pytest.mark.slow),
        pytest.param(PHONE, "light", id="phone-light", marks=pytest.mark.slow),
    ],
)
def test_nothing_keeps_people_out(visit: Visit, scheme: str, device: dict, tmp_path: Path):
    fake = tmp_path / "holiday.png"
    fake.write_text("hello")
    with visit(errors="status of 422", color_scheme=scheme, reduced_motion="reduce", **device) as page:
        expect(page.locator(".answered")).to_have_count(3)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", ground)[0]) > 128) == (scheme == "light")
        assert serious(page) == []
        page.keyboard.press("Escape")
        page.locator("#photo input").set_input_files(fake)
        expect(page.locator(".failed")).to_have_count(1)
        assert serious(page) == []


def test_with_a_finger_on_a_phone(visit: Visit):
    """Drawing with a finger does not scroll the page, and the answer stays in view."""
    with visit(**PHONE) as page:
        expect(page.locator(".answered")).to_have_count(3)
        box = page.locator(".pad").bounding_box()
        assert box
        touch = page.context.new_cdp_session(page)
        for i, (x, y) in enumerate(HAND["5"][0]):
            point = {"x": box["x"] + x * box["width"] / 100, "y": box["y"] + y * box["height"] / 100}
            kind = "touchMove" if i else "touchStart"
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        expect(prediction(page, "digits_cnn").locator(".answer")).to_have_text("5")
        expect(prediction(page, "digits_cnn").locator(".answer")).to_be_in_viewport()
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert page.evaluate("scrollY") == 0


@pytest.mark.slow
def test_with_the_keyboard_alone(visit: Visit):
    with visit() as page:
        page.on("filechooser", lambda _: None)  # from here on: to intercept the dialog takes Chromium a moment
        expect(page.locator(".answered")).to_have_count(3)

        def focused(selector: str) -> bool:
            return page.evaluate("selector => document.activeElement.matches(selector)", selector)

        def go_to(selector: str) -> None:
            for _ in range(60):
                page.keyboard.press("Tab")
                if focused(selector):
                    return
            raise AssertionError(f"no number of tabs leads to {selector}")

        go_to(".pad")
        page.keyboard.press("Escape")
        answer = prediction(page, "digits_cnn").locator(".answer")
        expect(answer).to_be_empty()

        def press(key: str, times: int = 1) -> None:
            for _ in range(times):
                page.keyboard.press(key)

        press("ArrowUp", 14)
        press(" ")
        page.keyboard.down("ArrowDown")
        press("ArrowLeft", 9)  # together: askew
        page.keyboard.up("ArrowDown")
        press("ArrowDown", 7)
        press("ArrowRight", 19)
        press(" ")
        press("ArrowLeft", 5)
        press("ArrowUp", 8)
        press(" ")
        press("ArrowDown", 19)
        page.keyboard.press(" ")
        expect(page.get_by_role("status")).to_contain_text("digits_cnn: 4")
        assert page.evaluate("scrollY") == 0

        go_to(".clear")
        page.keyboard.press("Enter")
        expect(answer).to_be_empty()
        go_to(".digits button:nth-child(3)")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("digits_cnn: 2")
        go_to("#draw .copy")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text("Copied")
        go_to("#photo input")
        with page.expect_file_chooser():
            page.keyboard.press(" ")
        go_to(".photos button:nth-child(2)")
        page.keyboard.press(" ")
        expect(page.locator(".photos button:nth-child(2)")).to_have_attribute("aria-pressed", "true")
        go_to(".download")
        with page.expect_download():
            page.keyboard.press("Enter")


@pytest.mark.slow
def test_panels_are_those_of_the_models_there(visit: Visit, served: httpx.Client, service: httpx.Client):
    with visit(served) as page:  # digits alone
        expect(page.locator("#draw")).to_be_visible()
        expect(page.locator("#photo")).to_be_hidden()
        for kind in ("dragover", "drop"):  # else the browser opens the file, and leaves the page
            assert page.evaluate(
                """kind => {
                  const dataTransfer = new DataTransfer();
                  dataTransfer.items.add(new File(["hello"], "photo.png"));
                  const event = new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true});
                  return !document.body.dispatchEvent(event);
                }""",
                kind,
            )
    listing = service.get("/models").json()
    color = [model for model in listing["models"] if model["name"] == "cifar10_cnn"]
    (grey,) = (model for model in listing["models"] if model["name"] == "mnist_cnn")
    grey["input"]["prepare"] = "photo"
    for models, refused, shown in (
        ([grey], {}, {"photo", "models"}),
        (color, {"bad/1/model.onnx": "it has no model card"}, {"photo", "models", "refused"}),
        ([], {}, {"empty"}),
    ):
        with visit(listing=json.dumps({"models": models, "refused": refused})) as page:
            for panel in ("draw", "photo", "models", "empty", "refused"):
                expect(page.locator(f"#{panel}")).to_be_visible(visible=panel in shown)
            for path, reason in refused.items():
                expect(page.locator("#refused")).to_contain_text(f"{path}: {reason}")
            if models == color:  # an example is chosen
                expect(page.locator(".answered")).to_have_count(1)  # no longer faded
            assert serious(page) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("models", "shown"),
    [
        ([("cifar10_cnn_int8", 1, "int8")], "cifar10_cnn_int8"),
        ([("cifar10_cnn", 1, "fp32"), ("cifar10_cnn_int8", 2, "int8")], "cifar10_cnn"),
        ([("cifar10_cnn", 3, "fp16"), ("cifar10_cnn", 2, "fp32"), ("cifar10_cnn", 1, "fp32")], "cifar10_cnn"),
    ],
)
def test_a_network_is_shown_once_in_full_precision_if_there_is_one(
    visit: Visit, service: httpx.Client, models: list[tuple[str, int, str]], shown: str
):
    (color,) = (model for model in service.get("/models").json()["models"] if model["name"] == "cifar10_cnn")
    listed = [color | {"name": name, "version": version, "precision": kind} for name, version, kind in models]
    with visit(listing=json.dumps({"models": listed, "refused": {}})) as page:
        expect(page.locator(".answered .name")).to_have_text([shown])


@pytest.mark.slow
def test_examples_are_for_networks_that_know_their_class(visit: Visit, service: httpx.Client):
    (model,) = (model for model in service.get("/models").json()["models"] if model["name"] == "cifar10_cnn")
    model["classes"] = [f"plant {number}" for number in range(10)]
    with visit(listing=json.dumps({"models": [model], "refused": {}})) as page:
        expect(page.locator("#photo")).to_be_visible()
        expect(page.locator("#photo .examples")).to_be_hidden()
        expect(page.get_by_text("Test images of CIFAR-10")).to_be_hidden()
        assert page.locator(".examples.photos button").count() == 0
        assert serious(page) == []


# Look inside


def look_inside(page: Page, model: str) -> Any:
    page.get_by_role("button", name=f"Look inside {model}", exact=True).click()
    inside = page.locator(".inside")
    expect(inside.locator(".scale").last).to_contain_text("white")
    return inside


def layer(inside: Any, name: str) -> Any:
    return inside.locator(".layer", has=inside.page.get_by_text(name, exact=True))


def sum_of(inside: Any) -> list[float]:
    """Return products, bias and value of the arithmetic that is shown."""
    return [float(number) for number in re.findall(r"-?\d+\.\d{4}", inside.locator(".sum").inner_text())]


@pytest.mark.slow
def test_every_layer_is_shown_and_every_value_is_its_sum(visit: Visit, service: httpx.Client):
    with visit(**AT_ONCE) as page:
        inside = look_inside(page, "digits_cnn")
        names = [entry["name"] for entry in service.get("/models/digits_cnn/layers").json()["layers"]]
        assert inside.locator(".layer .name").all_text_contents() == names
        expect(layer(inside, "conv1").locator(".arithmetic")).to_have_text("(8 − 3 + 2·1)/1 + 1 = 8")
        layer(inside, "conv1").locator("canvas").hover(position={"x": 20, "y": 30})
        expect(inside.locator(".pixel .title")).to_have_text("conv1, map 0, row 4, column 2")
        expect(inside.locator(".sum")).to_contain_text("bias")
        products, bias, value = sum_of(inside)
        assert products + bias == pytest.approx(value, abs=2e-4)
        shown = [float(cell) for cell in inside.locator(".matrix").last.locator("td").all_text_contents()]
        assert sum(shown) == pytest.approx(products, abs=0.05)
        pool = layer(inside, "pool1").locator("canvas")
        pool.hover(position={"x": 20, "y": 30})  # nothing moves below the mouse
        expect(inside.locator(".pixel .title")).to_contain_text("conv1")
        before = pool.bounding_box()["y"]
        pool.click(position={"x": 20, "y": 30})
        expect(inside.locator(".sum")).to_contain_text("the largest of these wins")
        expect(inside.locator(".winner")).to_have_count(1)
        assert pool.bounding_box()["y"] == pytest.approx(before, abs=1)
        expect(layer(inside, "softmax").locator(".scale")).to_have_text(re.compile("highest: 3$"))
        expect(layer(inside, "softmax").locator(".arithmetic")).to_have_text(
            re.compile(r"^softmax\(dense2 / [\d.]+\)$")
        )


@pytest.mark.slow
def test_escape_closes_the_inside_and_keeps_the_drawing(visit: Visit):
    with visit(**AT_ONCE) as page:
        inside = look_inside(page, "digits_cnn")
        expect(prediction(page, "mnist_cnn").locator(".answer")).not_to_be_empty()
        before = prediction(page, "mnist_cnn").locator(".answer").inner_text()
        inside.locator("select").first.focus()
        page.keyboard.press("Escape")
        expect(inside).to_have_count(0)
        expect(page.get_by_role("button", name="Look inside digits_cnn", exact=True)).to_be_focused()
        expect(prediction(page, "mnist_cnn").locator(".answer")).to_have_text(before)


@pytest.mark.slow
def test_escape_without_a_focus_closes_the_inside_and_keeps_the_drawing(visit: Visit):
    with visit() as page:
        for model in ("digits_cnn", "cifar10_cnn"):
            inside = look_inside(page, model)
            page.evaluate("document.activeElement.blur()")
            page.evaluate("scrollTo(0, 0)")
            page.keyboard.press("Escape")
            expect(inside).to_have_count(0)
            expect(page.locator(".paper.blank")).to_have_count(0)


@pytest.mark.slow
def test_an_open_pixel_shows_the_newest_drawing(visit: Visit):
    with visit(script=SLOW) as page:
        inside = look_inside(page, "digits_cnn")
        layer(inside, "conv1").locator("canvas").hover(position={"x": 20, "y": 30})
        expect(inside.locator(".sum")).to_contain_text("bias")
        seen = prediction(page, "digits_cnn").locator(".input")
        before = str(seen.get_attribute("src"))
        draw(page, HAND["0"])
        expect(seen).not_to_have_attribute("src", before)
        expect(page.locator("#status")).to_contain_text("digits_cnn: 0")  # the last prediction
        expect(inside.locator(".seen")).to_have_attribute("src", str(seen.get_attribute("src")))


@pytest.mark.slow
def test_the_maps_fit_a_window_that_became_narrow(visit: Visit):
    with visit() as page:
        canvas = layer(look_inside(page, "mnist_cnn"), "conv1").locator("canvas")
        page.set_viewport_size({"width": 420, "height": 800})
        page.wait_for_function(
            "canvas => canvas.clientWidth <= canvas.parentElement.clientWidth", arg=canvas.element_handle()
        )
        assert canvas.evaluate("canvas => canvas.parentElement.clientWidth") < 420


@pytest.mark.slow
@pytest.mark.parametrize("width", [720, 780])
def test_the_maps_fit_into_their_column(visit: Visit, width: int):
    with visit(viewport={"width": width, "height": 900}) as page:
        canvas = layer(look_inside(page, "mnist_cnn"), "conv1").locator("canvas")
        assert canvas.evaluate("canvas => canvas.clientWidth <= canvas.parentElement.clientWidth")


@pytest.mark.slow
def test_without_an_image_the_inside_says_so(visit: Visit):
    with visit() as page:
        page.get_by_role("button", name="Clear").click()
        page.get_by_role("button", name="Look inside digits_cnn", exact=True).click()
        expect(page.locator(".inside > .error")).to_contain_text("no image yet")


@pytest.mark.slow
def test_the_maps_follow_the_drawing(visit: Visit):
    with visit(**AT_ONCE) as page:
        inside = look_inside(page, "mnist_cnn")
        scale = layer(inside, "conv1").locator(".scale")
        layer(inside, "conv1").get_by_text("As a table").click()
        highest = layer(inside, "conv1").locator("tbody tr").first.locator("td").last
        before = highest.inner_text(), scale.inner_text()
        page.locator(".pad").scroll_into_view_if_needed()
        draw(page, HAND["0"])
        expect(highest).not_to_have_text(before[0])
        assert layer(inside, "conv1").locator("tbody tr").count() == 32
        page.get_by_role("button", name="Clear").click()
        expect(page.locator(".inside")).to_have_count(0)


@pytest.mark.slow
def test_while_a_network_is_open_predictions_wait_for_the_pen_to_rest(visit: Visit):
    with visit() as page:
        look_inside(page, "digits_cnn")
        page.keyboard.press("Escape")  # which closes the network
        page.keyboard.press("Escape")  # which clears the pad
        draw(page, HAND["0"])
        expect(page.get_by_role("status")).to_contain_text("digits_cnn: 0")  # the last prediction
        look_inside(page, "digits_cnn")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.split("?")[0].rpartition("/")[2]))
        page.locator(".pad").scroll_into_view_if_needed()
        page.locator(".pad").hover()
        page.mouse.down()
        for step in range(1000):
            page.mouse.move(600 + 40 * (step % 2), 300, steps=2)
            if asked.count("inspect") >= 3:
                break
        assert asked.count("inspect") >= 3
        assert "predict" not in asked
        with page.expect_response(lambda response: "/predict?" in response.url):
            page.mouse.move(620, 320)
        page.mouse.up()
        expect(prediction(page, "mnist_cnn").locator(".answer")).not_to_be_empty()


@pytest.mark.slow
def test_what_mattered_is_shown_for_any_class(visit: Visit):
    with visit() as page:
        inside = look_inside(page, "digits_cnn")
        expect(inside.locator(".strongest")).to_contain_text("it drops by up to")
        inside.locator(".mattered select").select_option("5")
        expect(inside.locator(".strongest")).to_contain_text(re.compile(r"^5: "))
        assert inside.locator(".heat").evaluate("image => image.naturalWidth") == 256
        assert inside.locator(".filters li").count() == 10
        most = inside.locator(".filters .most").first
        expect(most).to_have_text(re.compile(r"^\d: -?\d+\.\d\d at row \d, column \d$"))


@pytest.mark.slow
def test_a_closed_network_aborts_what_it_asked(visit: Visit):
    script = """
    window.signals = [];
    const fetch = window.fetch;
    window.fetch = (path, options) => {
      if (path.includes("/explain")) signals.push(options.signal);
      return fetch(path, options);
    };
    """
    with visit(script=script) as page:
        page.route("**/explain*", lambda route: None)  # never answered
        look_inside(page, "digits_cnn")
        page.wait_for_function("() => signals.length")
        page.keyboard.press("Escape")
        assert page.evaluate("signals.map((signal) => signal?.aborted)") == [True]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out_of_the_inside(visit: Visit, scheme: str):
    with visit(color_scheme=scheme) as page:
        inside = look_inside(page, "digits_cnn")
        layer(inside, "conv1").locator("canvas").hover(position={"x": 20, "y": 30})
        expect(inside.locator(".sum")).to_contain_text("bias")
        assert serious(page) == []


@pytest.mark.slow
def test_the_inside_with_the_keyboard_alone(visit: Visit):
    with visit() as page:
        button = page.get_by_role("button", name="Look inside digits_cnn", exact=True)
        button.focus()
        page.keyboard.press("Enter")
        inside = page.locator(".inside")
        expect(inside.locator(".close")).to_be_focused()
        expect(layer(inside, "conv1").locator(".scale")).to_contain_text("white")
        canvas = layer(inside, "conv1").locator("canvas")
        for _ in range(10):
            page.keyboard.press("Tab")
            if canvas.evaluate("element => element === document.activeElement"):
                break
        page.keyboard.press("ArrowRight")
        expect(inside.locator(".pixel .title")).to_have_text("conv1, map 0, row 4, column 5")
        page.keyboard.press("PageDown")
        expect(inside.locator(".pixel .title")).to_have_text("conv1, map 1, row 4, column 5")
        inside.locator(".close").focus()
        page.keyboard.press("Enter")
        expect(inside).to_have_count(0)
        expect(button).to_be_focused()
        assert button.get_attribute("aria-expanded") == "false"


@pytest.mark.slow
def test_the_inside_of_a_photos_network_on_a_phone(visit: Visit):
    with visit(**PHONE) as page:
        inside = look_inside(page, "cifar10_cnn")
        layer(inside, "conv1").locator("canvas").tap(position={"x": 30, "y": 30})
        expect(inside.locator(".pixel .title")).to_contain_text("conv1, map 0")
        assert inside.locator(".channel").is_visible()
        assert inside.evaluate("element => element.scrollWidth <= element.clientWidth")
        layer(inside, "conv2").get_by_role("button", name="Show all 64 maps").click()
        expect(layer(inside, "conv2").get_by_role("button", name="Show all 64 maps")).to_be_hidden()
        expect(layer(inside, "conv2").locator("canvas")).to_be_focused()
        with page.expect_request(lambda request: request.url.endswith("class=cat")):
            inside.locator(".mattered select").select_option("cat")
