"""Take the screenshots of the web page: serve zoo/ (or CNNZOO_ZOO), and write docs/pictures/page-*.png.

Needs Chromium and the `dev` extra. The page draws the digit itself, so the images are alike each time.
"""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).parent.parent / "docs/pictures"
ZOO = Path(os.environ.get("CNNZOO_ZOO", "zoo"))
URL = "http://127.0.0.1:3000"  # the default, since the images show it
SHOTS: dict[str, dict[str, Any]] = {
    "page-desktop": {"viewport": {"width": 1280, "height": 960}},
    "page-dark": {"viewport": {"width": 1280, "height": 960}, "color_scheme": "dark"},
    "page-phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True},
}


def main() -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 3000)) == 0:
            sys.exit("another service listens on port 3000: stop it")
    service = subprocess.Popen([sys.executable, "-m", "cnnzoo", "serve", "--zoo", str(ZOO), "--port", "3000"])
    try:
        wait_for(f"{URL}/readyz", service)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name, options in SHOTS.items():
                page = browser.new_context(reduced_motion="reduce", **options).new_page()
                page.goto(URL)
                page.locator(".answered").first.wait_for()
                page.get_by_role("group", name="Digits to draw").get_by_role("button", name="5").click()
                page.mouse.move(0, 0)
                page.wait_for_timeout(2000)  # until the answers no longer change
                save(page.screenshot(), PICTURES / f"{name}.png")
                if name == "page-desktop":
                    look_inside(page)
                    save(page.screenshot(), PICTURES / "page-inside.png")
            browser.close()
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(30)


def look_inside(page: Page) -> None:
    """Open mnist_cnn, and point at a value of its first convolution."""
    page.get_by_role("button", name="Look inside mnist_cnn", exact=True).click()
    page.locator(".inside .scale").last.wait_for()
    page.locator(".layer canvas").nth(1).hover(position={"x": 430, "y": 30})
    page.locator(".inside .sum").wait_for()
    page.locator(".inside").evaluate("element => scrollTo(0, element.getBoundingClientRect().top + scrollY - 16)")
    page.wait_for_timeout(1000)


def save(screenshot: bytes, path: Path) -> None:
    """Save with a palette: a third of the size, without a visible difference."""
    image = Image.open(io.BytesIO(screenshot)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size:,} bytes")


def wait_for(url: str, service: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if service.poll() is not None:
            sys.exit("the service did not start")
        try:
            with urllib.request.urlopen(url):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    sys.exit("the service was not ready within a minute")


if __name__ == "__main__":
    main()
