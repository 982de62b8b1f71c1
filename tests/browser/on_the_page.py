"""What the tests look at on the page."""

from playwright.sync_api import Locator, Page

OBSERVE = """(where) => {
  window.changes = [];
  const what = ({ target, type }) => target.nodeType === Node.TEXT_NODE ? target.data : type;
  new MutationObserver((seen) => window.changes.push(...seen.map(what)))
    .observe(document.querySelector(where), { subtree: true, childList: true, characterData: true, attributes: true });
}"""


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def names(page: Page) -> list[str]:
    return page.locator("#rows .device-name").all_inner_texts()


def points(locator: Locator) -> list[str]:
    return (locator.locator("polyline").first.get_attribute("points") or "").split()
