"""`camsearch convert-weights`: convert VGG-16-CAM from the authors' Keras file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from camsearch.settings import read_settings
from descriptors.errors import RequestError, written

__all__ = ["EXAMPLE", "convert_weights"]

EXAMPLE = (
    "Example: camsearch convert-weights vgg16cam.h5 --out vgg16cam.safetensors; "
    "then camsearch fit photos/ --network vgg16_cam --weights vgg16cam.safetensors …"
)


def convert_weights(
    keras_file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Keras HDF5 file, weights or whole model.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write, ending in .safetensors.")
    ],
    order: Annotated[
        Literal["theano", "tensorflow"] | None,
        typer.Option(help="Order of the kernels' axes (default: detected from their shapes)."),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Rotate the kernels by 180 degrees (default: by the backend that the file names, "
            "else if in Theano's order).",
        ),
    ] = None,
) -> None:
    """Convert Keras weights of VGG-16-CAM for `--network vgg16_cam --weights`."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from descriptors.networks.keras_weights import convert_vgg16_cam
    from descriptors.networks.vgg16_cam import build_vgg16_cam

    read_settings()  # refuses unknown variables
    if out.suffix != ".safetensors":
        raise RequestError(f"--out {out} must end in .safetensors.")
    converted = convert_vgg16_cam(keras_file, build_vgg16_cam(), order, flip=flip)
    with written(f"--out {out}", SafetensorError):
        save_file(converted.state, out)
    turned = "rotated by 180 degrees" if converted.flipped else "not rotated"
    typer.echo(f"vgg16_cam written to {out}: kernels in {converted.order}'s order, {turned}.")
