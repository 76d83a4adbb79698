"""Count how often the page draws a network's maps anew while somebody draws; browser and service on one core.

    python benchmarks/page_maps.py [--rounds 3] [--seconds 5]

Opens "Look inside mnist_cnn" in headless Chromium, moves the mouse over the pad without a pause, and counts the answers
of `inspect` that the page has drawn: it asks for the next one only then. Prints the median of the rounds, and writes
benchmarks/page_maps.json. Needs Chromium and an otherwise idle machine.
"""

import math
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from common import machine, median, options, output_of, save
from playwright.sync_api import Page, Response, sync_playwright
from serving_growth import ONE, serve

from cnnzoo.contract.zoo_folder import SHIPPED

MODEL = "mnist_cnn"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def updates(page: Page, seconds: float) -> dict[str, float]:
    """Draw a spiral for some seconds, and return the updates of the maps a second."""
    answered: list[float] = []

    def count(response: Response) -> None:
        if "/inspect" in response.url and response.ok:
            answered.append(time.perf_counter())

    pad = page.locator(".pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    x, y, radius = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, 0.35 * box["width"]
    page.mouse.move(x + radius, y)
    page.mouse.down()
    page.on("response", count)
    start, step = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds:
        step += 1
        shrunk = radius * (1 - 0.8 * spent / seconds)
        page.mouse.move(x + shrunk * math.cos(step / 5), y + shrunk * math.sin(step / 5))
    page.remove_listener("response", count)
    page.mouse.up()
    return {"updates_a_second": len(answered) / spent, "moves_a_second": step / spent}


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    args = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("Chromium is missing; install it: apt-get install chromium")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # which the server and the browser inherit
    rounds = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(SHIPPED, Path(folder)) as server,
        sync_playwright() as playwright,
    ):
        server.wait(ONE)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(args.rounds):
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.port}")
            page.get_by_role("button", name=f"Look inside {MODEL}", exact=True).click()
            page.locator(".inside .layer canvas").first.wait_for()
            rounds.append(updates(page, args.seconds))
            page.close()
        browser.close()
    report = {key: median(rounds, key) for key in rounds[0]}
    print(f"{MODEL}: {report['updates_a_second']:.1f} updates of the maps a second")
    save(output_of(parser, args, "rounds", "seconds"), {"machine": machine(), "model": MODEL, **report})


if __name__ == "__main__":
    main()
