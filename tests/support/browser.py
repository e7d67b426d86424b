"""A real browser to look at pages with."""

import shutil
from contextlib import contextmanager

from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def browser(*options):
    """Yields a headless Chromium.

    Args:
        options: of its command line.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, f"None of {', '.join(BROWSERS)} is installed: run 'make browser' or 'apt-get install chromium'."
    always = ["--no-sandbox", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=[*always, *options])
        yield chromium
        chromium.close()


class Visit:
    """An open page: the requests it made, its errors, its dialogs.

    Args:
        chromium: see ``browser``.
        address: of the page.
        width: of the window, pixels.
        dark: whether the system prefers dark pages.

    Attributes:
        page: playwright's.
        requests: addresses asked for.
        errors: of the console and of scripts.
        dialogs: texts of alerts.
    """

    def __init__(self, chromium, address, width=1200, dark=False):
        self.page = chromium.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        self.requests, self.errors, self.dialogs = [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self._address = address
        self.page.goto(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.page.close()

    def alone(self):
        """Whether nothing but the file itself and what it holds was asked for."""
        return [url for url in self.requests if not url.startswith("data:")] == [self._address]

    def overflow(self):
        """Pixels by which the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")

    def contrasts(self):
        """Ratio of WCAG 2 between the colour of every text and the nearest ground below it, by a name of the place."""
        return self.page.evaluate(_CONTRASTS)


_CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const pixel = (colour, ground) => {
    canvas.fillStyle = ground; canvas.fillRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (one) => one / 255 <= .04045 ? one / 255 / 12.92 : ((one / 255 + .055) / 1.055) ** 2.4;
  const light = (rgb) => rgb.reduce((sum, one, at) => sum + linear(one) * [.2126, .7152, .0722][at], 0);
  const paper = getComputedStyle(document.body).backgroundColor;
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
    return layers.reduce((below, colour) => `rgb(${pixel(colour, below).join(" ")})`, paper);
  };
  const ratios = {};
  for (const element of document.querySelectorAll("body *")) {
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const seen = element.checkVisibility() && !element.closest(".frame, script, noscript, title, :disabled");
    if (!words || !seen) continue;
    const style = getComputedStyle(element), below = ground(element);
    const ink = pixel(element instanceof SVGElement ? style.fill : style.color, below), under = pixel(below, below);
    const [high, low] = [light(ink), light(under)].sort((a, b) => b - a);
    ratios[`${element.tagName} ${element.textContent.slice(0, 30)}`] = (high + .05) / (low + .05);
  }
  return ratios;
}"""
