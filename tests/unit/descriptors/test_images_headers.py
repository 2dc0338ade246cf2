"""The size of an image from its header, and what is said where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from descriptors.arrays import Size
from descriptors.errors import UnreadableImage
from descriptors.images import upright_size
from tests.support.images import EVERY_FORMAT, encoded, shapes

if TYPE_CHECKING:
    from pathlib import Path


class TestUprightSize:
    def test_of_every_format(self, tmp_path: Path) -> None:
        for file_format in EVERY_FORMAT:
            (tmp_path / "a").write_bytes(encoded(shapes(40, 30), file_format))
            assert upright_size(tmp_path / "a") == Size(40, 30)

    def test_no_pixel_is_decoded(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(encoded(shapes(200, 100), "JPEG")[:700])
        assert upright_size(tmp_path / "a.jpg") == Size(200, 100)

    @pytest.mark.parametrize("data", [b"", b"<html>302 Found</html>", b"\xff\xd8\xff\xe0\x00\x10"])
    def test_no_image(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.jpg").write_bytes(data)
        with pytest.raises(UnreadableImage, match=r"a\.jpg"):
            upright_size(tmp_path / "a.jpg")

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            upright_size(tmp_path / "none.jpg")
