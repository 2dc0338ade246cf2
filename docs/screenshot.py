"""Write docs/demo.png, the README's image, from the demo's report: `python -m docs.screenshot`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from camsearch.commands.demo import demo

__all__ = ["write_screenshot"]

SCREENSHOT = Path(__file__).with_name("demo.png")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# The report's maximal width; high enough for its head and first search.
_SIZE = "1320,1060"


def write_screenshot() -> None:
    """Take a screenshot of the demo report's first search with headless Chromium."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"There is no {' or '.join(_BROWSERS)}: install one.")
    with TemporaryDirectory() as folder:
        demo(None, Path(folder), None, None)
        page = (Path(folder) / "report.html").as_uri()
        options = ["--headless", "--hide-scrollbars", f"--window-size={_SIZE}"]
        if os.geteuid() == 0:  # Chromium's sandbox does not start as root; the page is our own
            options.append("--no-sandbox")
        subprocess.run([browser, *options, f"--screenshot={SCREENSHOT}", page], check=True)  # noqa: S603


if __name__ == "__main__":
    write_screenshot()
