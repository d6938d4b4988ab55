"""Escaped text and the frame of an HTML page."""

import html
import unicodedata


def escape(text: str) -> str:
    """Return text that may stand in XML and in HTML."""
    return html.escape(drop_control_characters(text))


def drop_control_characters(text: str) -> str:
    """Replace the characters that neither XML nor HTML allows by U+FFFD."""
    valid = "".join(
        c if c in "\t\n" or (c >= " " and unicodedata.category(c) not in ("Cc", "Cs")) else "\ufffd" for c in text
    )
    return valid.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


def html_page(title: str, style: str, body: str) -> str:
    """Return an HTML page. It loads nothing from the network if its style and body do not."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{style}</style></head><body>",
            body,
            "</body></html>",
            "",
        ]
    )
