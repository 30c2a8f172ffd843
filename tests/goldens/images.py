"""Goldens of what happens to pictures around the networks: read, resized, blurred, cropped and laid back.

images/              encoded pictures in every form that the worker reads
images.safetensors   what Pillow and diffusers' VaeImageProcessor make of them and of a test picture, u8, channels last
inpaint.json         the inpainting cases, whose tensors are called after their index
"""

import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image, ImageOps
from safetensors.torch import save_file

HERE = Path(__file__).parent
RESIZES = {"fit": "fill", "fill": "crop", "stretch": "default"}
SIZES = ((64, 64), (24, 40), (96, 32), (8, 104), (53, 37))
BLURS = (0.3, 1.0, 4.0, 12.5, 33.0)


def picture(width, height, seed):
    """Slopes, edges and some noise."""
    random = np.random.Generator(np.random.PCG64(seed))
    y, x = np.mgrid[0:height, 0:width]
    channels = [255 * x / width, 255 * y / height, 127 + 120 * np.sin(x / 4 + seed) * np.cos(y / 5)]
    values = np.stack(channels, axis=-1) + random.normal(0, 12, (height, width, 3))
    values[height // 3 : height // 2, width // 4 : width // 2] = (250, 20, 40)
    return values.clip(0, 255).astype(np.uint8)


def mask(width, height):
    """A disc, a bar and a lone pixel."""
    y, x = np.mgrid[0:height, 0:width]
    values = np.where((x - width * 0.4) ** 2 + (y - height * 0.5) ** 2 < (height * 0.25) ** 2, 255, 0)
    values[height // 4 : height // 3, width // 2 : width // 4 * 3] = 140
    values[height - 8, width - 9] = 255
    return values.astype(np.uint8)


def png(path, header, rows):
    """Pillow writes no RGB of 16 bits."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def inputs(tensors):
    folder = HERE / "images"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    width, height = 24, 16
    rgb = Image.fromarray(picture(width, height, 1))
    y, x = np.mgrid[0:height, 0:width]
    smooth = Image.fromarray(np.stack([10 * x, 15 * y, 128 + 5 * x - 7 * y], axis=-1).clip(0, 255).astype(np.uint8))
    alpha = Image.fromarray((255 * x / (width - 1)).astype(np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(alpha)

    def save(name, image, **options):
        image.save(folder / name, **options)
        expect(name, Image.open(folder / name))

    def expect(name, image):
        image.seek(0)
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            if image.getchannel("A").getextrema() != (255, 255):
                tensors[f"{name}/alpha"] = image.getchannel("A")
            ground = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(ground, image)
        tensors[f"{name}/rgb"] = image.convert("RGB")

    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(f"orientation_{orientation}.jpg", smooth, quality=95, subsampling=0, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("orientation_6.png", rgb, exif=exif)
    save("orientation_6.webp", rgb, exif=exif, lossless=True)
    save("rgb.png", rgb)
    save("rgba.png", rgba)
    save("grey.png", rgb.convert("L"))
    save("grey_alpha.png", rgba.convert("LA"))
    save("bits.png", rgb.convert("1"))
    save("palette.png", rgb.quantize(16))
    transparent = rgb.quantize(16)
    save("palette_alpha.png", transparent, transparency=bytes(range(0, 256, 16)))
    save("rgb.webp", rgb, lossless=True)
    save("rgba.webp", rgba, lossless=True, exact=True)
    save("grey.jpg", smooth.convert("L"), quality=95)
    save("half_colour.jpg", smooth, quality=95, subsampling=2)
    others = [Image.fromarray(picture(width, height, seed)) for seed in (2, 3)]
    save("animated.gif", rgb.quantize(32), save_all=True, append_images=[image.quantize(32) for image in others])
    save("animated.webp", rgb, save_all=True, append_images=others, lossless=True)
    save("animated.png", rgb, save_all=True, append_images=others)

    # Sixteen bits: the nearest of 256 levels, where Pillow cuts the lower half off.
    wide = (np.stack([x * 2849, y * 4369, (x + y) * 1724], axis=-1)).astype(np.uint16)
    for name, kind, values in (("rgb16.png", 2, wide), ("grey16.png", 0, wide[..., :1])):
        header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
        png(folder / name, header, values.astype(">u2"))
        nearest = np.round(values / 257).astype(np.uint8)
        tensors[f"{name}/rgb"] = np.broadcast_to(nearest, (height, width, 3))


def resizes(tensors):
    processor = VaeImageProcessor()
    source = Image.fromarray(picture(53, 37, 5))
    tensors["source/rgb"] = source
    for name, mode in RESIZES.items():
        for width, height in SIZES:
            tensors[f"resize/{name}/{width}x{height}"] = processor.resize(source, height, width, mode)


def blurs(tensors):
    source = Image.fromarray(mask(61, 45))
    tensors["source/mask"] = source
    for radius in BLURS:
        tensors[f"blur/{radius}"] = VaeImageProcessor.blur(source, radius)
    tensors["luma"] = VaeImageProcessor.convert_to_grayscale(tensors["source/rgb"])


def inpaint(tensors):
    images = VaeImageProcessor()
    masks = VaeImageProcessor(do_normalize=False, do_binarize=True, do_convert_grayscale=True)
    image = Image.fromarray(picture(90, 70, 7))
    whites = Image.fromarray(mask(90, 70))
    tensors["inpaint/image"], tensors["inpaint/mask"] = image, whites
    cases = []
    for width, height, padding, blur, resize in (
        (64, 64, None, 0, "stretch"),
        (64, 64, None, 4, "fill"),
        (96, 64, 0, 0, "fit"),
        (64, 64, 6, 2, "fit"),
        (32, 128, 3, 1, "fit"),
        (128, 24, 40, 3, "fit"),
    ):
        drawn = Image.fromarray(picture(width, height, 11))
        blurred = VaeImageProcessor.blur(whites, blur) if blur else whites
        crop = None
        if padding is not None:
            crop = masks.get_crop_region(blurred, width, height, pad=padding)
        mode = RESIZES[resize]
        given = images.preprocess(image, height, width, mode, crop)
        mask_given = masks.preprocess(blurred, height, width, mode, crop)
        canvas, blend = image, blurred
        if crop is None:
            canvas, blend = (images.resize(part, height, width, mode) for part in (image, blurred))
        name = f"inpaint/{len(cases)}"
        tensors[f"{name}/drawn"] = drawn
        tensors[f"{name}/image"] = images.postprocess(given)[0]
        tensors[f"{name}/mask"] = (mask_given[0, 0] * 255).to(torch.uint8)
        tensors[f"{name}/latent_mask"] = torch.nn.functional.interpolate(
            mask_given, size=(height // 8, width // 8)
        )[0, 0].to(torch.uint8)
        tensors[f"{name}/finished"] = images.apply_overlay(blend, canvas, drawn, crop)
        cases.append(
            {"width": width, "height": height, "padding": padding, "mask_blur": blur, "resize": resize, "crop": crop}
        )
    (HERE / "inpaint.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


def images():
    tensors = {}
    for part in (inputs, resizes, blurs, inpaint):
        part(tensors)

    def tensor(value):
        return torch.from_numpy(np.array(value, dtype=np.uint8)).contiguous()

    save_file({name: tensor(value) for name, value in tensors.items()}, HERE / "images.safetensors")
