"""``study.html`` in a browser without a window and without network: pictures shown, console silent."""

import pytest

from bert_ft.search.results.outputs import write
from tests.browser import needs_browser, start_browser
from tests.search.results.studies import searched

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    page = write(searched(20, objective="val/accuracy", n_trials=20), tmp_path_factory.mktemp("sweep"))
    browser = start_browser("window-size=1100,900", loggingPrefs={"browser": "ALL", "performance": "ALL"})
    try:
        browser.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        browser.get(f"file://{page}")
        yield browser
    finally:
        browser.quit()


def test_every_picture_is_shown(browser):
    shown = browser.execute_script(
        "return Array.from(document.images).map(image => [image.complete, image.naturalWidth, image.width])"
    )
    assert len(shown) == 7
    assert all(complete and natural == 1350 and width > 800 for complete, natural, width in shown)


def test_the_console_is_silent_and_nothing_is_fetched(browser):
    assert browser.get_log("browser") == []
    messages = [entry["message"] for entry in browser.get_log("performance")]
    asked = [message for message in messages if "requestWillBeSent" in message]
    assert asked
    assert not [message for message in asked if '"url":"http' in message or '"url":"ws' in message]


def test_the_page_fits_and_links_lead_to_their_sections(browser):
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    browser.find_element("link text", "Workers").click()
    top = browser.execute_script("return document.getElementById('workers').getBoundingClientRect().top")
    assert abs(top) < 900
