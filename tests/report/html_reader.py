"""A page as a reader and a browser see it, and text that would do harm if it were not escaped."""

import re
from html.parser import HTMLParser

HOSTILE = "</style><script>alert('x')</script>\n\"quoted\" & $x_1$ 🐝 \u202eשלום {{ 7 * 7 }}"
VOID = {"meta", "link", "br", "hr", "img", "input", "path", "use", "rect", "line"}


class Page(HTMLParser):
    """Checks that tags are balanced; collects elements and what the reader reads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def asks_network(html: str) -> list[str]:
    """What a browser would fetch: addresses in attributes that load, in url() and @import."""
    loading = r'(?:src|srcset|poster|data|action|(?:xlink:)?href)\s*=\s*["\']?\s*(?:https?:|//)[^"\'>\s]*'
    return re.findall(rf"{loading}|url\(\s*[\"']?\s*(?:https?:|//)[^)]*|@import[^;]*", html, flags=re.IGNORECASE)
