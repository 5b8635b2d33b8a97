"""Time the first visit to the web page on a slow network, for one server or for several.

    python bench/page_load.py http://127.0.0.1:8000 [http://127.0.0.1:8001 ...] [--repeats 5]

The servers run already, such as those of two versions. Chromium has an empty cache at each visit
and a network of 1.6 Mbit/s with 150 ms of delay (Lighthouse's slow 4G). A visit has its first paint
with text, and ends when the form can be used. Bytes and calls are those of the page until the
network is idle. The last line is one JSON object: of each server, the medians.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from playwright.sync_api import Browser, sync_playwright

BITS_PER_SECOND, DELAY_MS = 1_600_000, 150
FORM = "#studio:not([hidden])"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the servers in turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(argv)
    visits: dict[str, list[dict[str, float]]] = {address: [] for address in options.addresses}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for _ in range(options.repeats):
            for address, seen in visits.items():
                seen.append(visit(browser, address))
        browser.close()
    medians = {
        address: {name: statistics.median(each[name] for each in seen) for name in seen[0]}
        for address, seen in visits.items()
    }
    for address, found in medians.items():
        print(
            f"{address}: text after {found['text_seconds']:.2f} s, form after "
            f"{found['form_seconds']:.2f} s, {found['bytes'] / 1000:.0f} kB"
        )
    print(json.dumps({"repeats": options.repeats, "visits": medians}))
    return 0


def visit(browser: Browser, address: str) -> dict[str, float]:
    """Open the page once and return its times in seconds, its bytes and its calls."""
    context = browser.new_context()
    page = context.new_page()
    network: Any = context.new_cdp_session(page)
    network.send("Network.enable")
    speed = BITS_PER_SECOND / 8
    network.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": DELAY_MS,
            "downloadThroughput": speed,
            "uploadThroughput": speed,
        },
    )
    sizes: list[float] = []
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    began = time.monotonic()
    page.goto(address, wait_until="commit")
    page.wait_for_selector(FORM, timeout=120_000)
    form = time.monotonic() - began
    page.wait_for_load_state("networkidle")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    context.close()
    return {
        "text_seconds": round(paint / 1000, 3),
        "form_seconds": round(form, 3),
        "bytes": sum(sizes),
        "calls": len(sizes),
    }


if __name__ == "__main__":
    sys.exit(main())
