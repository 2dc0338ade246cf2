"""The storage format of feature maps: 8-bit levels and scales, as safetensors in zstd."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import zstandard
from jaxtyping import Float16, Shaped, UInt8
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from descriptors.arrays import Cells, Encoded, FeatureMaps, Size
from galleries.errors import FeatureStoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KeptMaps", "pack", "quantise", "stack_kept", "unpack"]

# Of one image's maps; limits the size that a damaged frame can claim.
_MAX_BYTES = 2**30

# MemoryError, since a damaged frame may claim any size.
_DAMAGE = (zstandard.ZstdError, SafetensorError, KeyError, ValueError, TypeError, MemoryError)


@dataclass(frozen=True)
class KeptMaps:
    """The kept maps of one image.

    Attributes:
        layers: 8-bit levels and scales per layer; the evidence last if it is not a feature layer.
        features: number of feature layers.
        evidence: index of the evidence in `layers`.
        scores: class scores.
        working: working size of the image, in pixels.
        digest: of the image's bytes, to detect maps of an older version.
    """

    layers: tuple[FeatureMaps, ...]
    features: int
    evidence: int
    scores: Float16[Tensor, " C"]
    working: Size
    digest: str

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for images that can form a batch."""
        return (self.working, *(maps.levels.shape for maps in self.layers))

    def averaged(self) -> KeptMaps:
        """A copy with maps that are finer than the evidence averaged down to its grid."""
        stride = self.layers[self.evidence].stride
        if all(maps.stride >= stride for maps in self.layers):
            return self
        layers = tuple(
            maps if maps.stride >= stride else quantise(maps.averaged(stride))
            for maps in self.layers
        )
        return replace(self, layers=layers)


def quantise(maps: FeatureMaps) -> FeatureMaps:
    """Maps as 8-bit levels with a scale for each channel of each image.

    Convention:
        Positive values get level 1 at least, since channel weights count them.
    """
    # Contiguous planes: channels-last order is slow to reduce.
    values = maps.levels.contiguous().float()
    peak = values.amax(dim=(2, 3))
    # Clamped, since 255 / peak is infinite for a peak below 1e-36.
    most = torch.finfo(torch.float32).max
    factor = torch.where(peak > 0, (255 / peak).clamp_max(most), 0.0)
    positive = torch.gt(values, 0, out=torch.empty_like(values))
    levels = (values * factor[:, :, None, None]).round_()
    levels = torch.maximum(levels, positive, out=levels)
    return replace(maps, levels=levels.to(torch.uint8), scale=peak * maps.scale / 255)


def pack(encoded: Encoded, digests: Sequence[str], *, coarse: bool = False) -> list[bytes]:
    """The maps of each image of a batch, compressed.

    Args:
        encoded: fresh maps.
        digests: SHA-256 of each image's bytes.
        coarse: average maps that are finer than the evidence; see `RegionSettings.coarse_maps`.
    """
    if coarse:
        encoded = encoded.averaged()
    layers = list(encoded.features)
    if not any(maps is encoded.evidence for maps in layers):
        layers.append(encoded.evidence)
    evidence = next(i for i, maps in enumerate(layers) if maps is encoded.evidence)
    kept = [quantise(maps) for maps in layers]
    # Contiguous planes compress best, since neighbouring cells are similar.
    levels = [maps.levels.cpu().contiguous() for maps in kept]
    scales = [maps.scale.cpu() for maps in kept]
    scores = encoded.scores.half().cpu()
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
    packed = []
    for row, digest in enumerate(digests):
        about = {
            "digest": digest,
            "features": len(encoded.features),
            "evidence": evidence,
            "working": list(encoded.working),
            "strides": [maps.stride for maps in kept],
            "averaged_from": [maps.averaged_from for maps in kept],
        }
        tensors = {f"{i}.levels": level[row] for i, level in enumerate(levels)}
        tensors |= {f"{i}.scale": scale[row].clone() for i, scale in enumerate(scales)}
        tensors["scores"] = scores[row].clone()
        packed.append(compressor.compress(save(tensors, {"camsearch": json.dumps(about)})))
    return packed


def unpack(data: bytes) -> KeptMaps:
    """The maps of one image from `pack`.

    Raises:
        FeatureStoreError: the bytes are damaged.
    """
    try:
        block = _decompressed(data)
        tensors = load(block)
        # The library returns metadata only for files.
        header = json.loads(block[8 : 8 + int.from_bytes(block[:8], "little")])
        about: dict[str, Any] = json.loads(header["__metadata__"]["camsearch"])
        # Older maps lack `averaged_from`.
        finer = about.get("averaged_from", [None] * len(about["strides"]))
        layers = tuple(
            FeatureMaps(
                tensors[f"{i}.levels"][None],
                tensors[f"{i}.scale"][None],
                stride,
                None if fine is None else Cells(*fine),
            )
            for i, (stride, fine) in enumerate(zip(about["strides"], finer, strict=True))
        )
        return KeptMaps(
            layers,
            about["features"],
            about["evidence"],
            tensors["scores"],
            Size(*about["working"]),
            about["digest"],
        )
    except _DAMAGE as error:
        raise FeatureStoreError("Kept feature maps are damaged: index the image again.") from error


def _decompressed(data: bytes) -> bytes:
    size = zstandard.frame_content_size(data)
    if not 0 <= size <= _MAX_BYTES:
        raise ValueError(f"a frame of {size} bytes")
    return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)


def stack_kept(
    kept: Sequence[KeptMaps], device: torch.device, dtype: torch.dtype = torch.uint8
) -> Encoded:
    """Kept maps of images of one shape as one batch.

    Args:
        kept: equal in `KeptMaps.shape`.
        device: for the batch.
        dtype: of the levels; floating point saves a later conversion in `Encoded.floating`.
    """
    layers = tuple(
        FeatureMaps(
            _stacked([k.layers[i].levels for k in kept], device, dtype),
            torch.cat([k.layers[i].scale for k in kept]).to(device),
            first.stride,
            first.averaged_from,
        )
        for i, first in enumerate(kept[0].layers)
    )
    scores = torch.stack([k.scores for k in kept]).to(device).float()
    evidence = layers[kept[0].evidence]
    return Encoded(layers[: kept[0].features], evidence, scores, kept[0].working)


def _stacked(
    levels: Sequence[UInt8[Tensor, "1 K H W"]], device: torch.device, dtype: torch.dtype
) -> Shaped[Tensor, "B K H W"]:
    """Copy and convert in one pass; for a GPU, convert after the transfer."""
    if device.type != "cpu":
        return torch.cat(list(levels)).to(device).to(dtype)
    batch = torch.empty((len(levels), *levels[0].shape[1:]), dtype=dtype)
    for row, image in zip(batch, levels, strict=True):
        row.copy_(image[0])
    return batch
