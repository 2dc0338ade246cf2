"""A page to draw a report on: text, lines and pictures, in pixels of the finished picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "FINE",
    "INK",
    "MAT",
    "PAPER",
    "SOFT",
    "Canvas",
    "Colour",
    "cut_text",
    "font",
    "text_width",
    "wrap_text",
]

Colour: TypeAlias = tuple[int, int, int]

PAPER, MAT, INK, SOFT = (250, 250, 248), (233, 233, 228), (29, 31, 35), (98, 102, 110)

# Everything is drawn this many times as large, and reduced at the end: lines come out smooth.
FINE = 2


@dataclass(frozen=True)
class Canvas:
    """A page to draw on, in pixels of the finished picture."""

    image: Image.Image
    pen: ImageDraw.ImageDraw

    def text(
        self, at: tuple[float, float], words: str, size: float = 13, ink: Colour = INK
    ) -> None:
        """Write one line with its top left corner here."""
        where = (at[0] * FINE, at[1] * FINE)
        self.pen.text(where, words, font=font(size), fill=ink)

    def paste(self, image: Image.Image, at: tuple[float, float]) -> None:
        """Lay a picture here that is already drawn `FINE` times as large."""
        self.image.paste(image, (round(at[0] * FINE), round(at[1] * FINE)))

    def line(self, points: Sequence[tuple[float, float]], ink: Colour, thick: float) -> None:
        """Draw through these points."""
        fine = [(x * FINE, y * FINE) for x, y in points]
        self.pen.line(fine, fill=ink, width=round(thick * FINE), joint="curve")


@lru_cache(maxsize=16)
def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load the font that Pillow carries; its letters are those of western Europe."""
    return ImageFont.load_default(size * FINE)


def text_width(words: str, size: float) -> float:
    """Measure one line."""
    return font(size).getlength(words) / FINE


def cut_text(words: str, size: float, room: float) -> str:
    """Shorten one line to the room there is."""
    if text_width(words, size) <= room:
        return words
    while words and text_width(words + "…", size) > room:
        words = words[:-1]
    return words + "…"


def wrap_text(words: str, size: float, room: float) -> list[str]:
    """Break a text into lines of this width."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(cut_text(word, size, room))
    return lines
