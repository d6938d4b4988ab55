"""The frame of a page in HTML, and text that may stand in one."""

import html
import unicodedata


def clean(text: str) -> str:
    """Text that may stand in XML and in HTML, escaped."""
    return html.escape(allowed(text))


def allowed(text: str) -> str:
    """Text without the characters that neither XML nor HTML allows."""
    kept = "".join(
        c if c in "\t\n" or (c >= " " and unicodedata.category(c) not in ("Cc", "Cs")) else "\ufffd" for c in text
    )
    return kept.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


def document(title: str, style: str, body: str) -> str:
    """A page that loads nothing from elsewhere, if its style and its body do not."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{clean(title)}</title>",
            f"<style>{style}</style></head><body>",
            body,
            "</body></html>",
            "",
        ]
    )
