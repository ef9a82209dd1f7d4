"""Chromium without a window, for tests of pages."""

import importlib.util
import shutil

import pytest

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("selenium") is None,
        reason="selenium drives the browser: pip install '.[dev]'",
    ),
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="no Chromium: apt-get install chromium chromium-driver (CI does)"
    ),
]


def start_browser(*arguments: str, **capabilities):
    """Selenium's driver of it, to be ended by ``quit``."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", *arguments):
        options.add_argument(f"--{argument}")
    for name, value in capabilities.items():
        options.set_capability(f"goog:{name}", value)
    return webdriver.Chrome(options=options, service=Service(DRIVER))
