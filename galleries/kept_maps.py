"""Feature maps as they are kept: 8-bit levels with a scale a channel, as safetensors and zstd."""

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

# Of one image's maps; beyond all that networks make, so that a damaged frame claims no more.
_MAX_BYTES = 2**30

# MemoryError, since a damaged frame may claim any size.
_DAMAGE = (zstandard.ZstdError, SafetensorError, KeyError, ValueError, TypeError, MemoryError)


@dataclass(frozen=True)
class KeptMaps:
    """The maps of one image as they are kept.

    Attributes:
        layers: 8-bit levels and scales a layer, the evidence last where it is a layer of its own.
        features: how many of these are feature layers.
        evidence: index in `layers` of the evidence.
        scores: the class scores, float16.
        working: size of the image as the network saw it, in pixels.
        digest: of the image's bytes, so that maps of an older version are noticed.
    """

    layers: tuple[FeatureMaps, ...]
    features: int
    evidence: int
    scores: Float16[Tensor, " C"]
    working: Size
    digest: str

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for images that can stand in one batch."""
        return (self.working, *(maps.levels.shape for maps in self.layers))

    def averaged(self) -> KeptMaps:
        """As if those finer than the evidence had been averaged before they were kept."""
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
        What is above 0 stays above 0 (level 1 at least), since channel weights count it.
    """
    # One plane a channel from here on: the network's channels-last order is slow to reduce.
    values = maps.levels.contiguous().float()
    peak = values.amax(dim=(2, 3))
    # Clamped, since 255 / peak is infinite where a channel peaks below 1e-36.
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
    # One plane a channel lies together: neighbouring cells are alike, so it compresses best.
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
    """What `pack` made of one image.

    Raises:
        FeatureStoreError: if the bytes are damaged.
    """
    try:
        block = _decompressed(data)
        tensors = load(block)
        # The library gives the header's own text of files only.
        header = json.loads(block[8 : 8 + int.from_bytes(block[:8], "little")])
        about: dict[str, Any] = json.loads(header["__metadata__"]["camsearch"])
        # Maps kept before there was averaging say nothing of it.
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
        dtype: of the levels; floating point spares `Encoded.floating` a pass over them.
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
    """Copied and converted in one pass; they go to a GPU as they are, a byte each."""
    if device.type != "cpu":
        return torch.cat(list(levels)).to(device).to(dtype)
    batch = torch.empty((len(levels), *levels[0].shape[1:]), dtype=dtype)
    for row, image in zip(batch, levels, strict=True):
        row.copy_(image[0])
    return batch
