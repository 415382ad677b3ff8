"""Writes data/: small images of many kinds with what Pillow and CLIPImageProcessorPil make of them.

Needs pillow==13.0.0, numpy and transformers==5.23.0 (no torch). Run from anywhere:
  python tests/models/image/gen_extra.py
expected.bin holds raw u8 RGB, preprocessed.bin raw f32 [3, h, w]; the .json beside each says what lies where.
"""
from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

DATA = Path(__file__).parent / "data"
W, H = 25, 17
rng = np.random.default_rng(7)


def picture(width=W, height=H, channels=3):
    """Smooth gradients with some noise: compresses, yet every transposition differs."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [(x * (3 + c) * 2 + y * (7 - 2 * c) * 2 + rng.integers(0, 12, x.shape) + 40 * c) % 256 for c in range(channels)]
    return np.stack(planes, -1).astype(np.uint8)


def save(image, name, **options):
    image.save(DATA / name, **options)


def tiff(orientation, endian="<", kind=3):
    """An EXIF block with one entry before the orientation."""
    value = struct.pack(endian + "HH", orientation, 0) if kind == 3 else struct.pack(endian + "I", orientation)
    head = b"II*\0" if endian == "<" else b"MM\0*"
    make = struct.pack(endian + "HHI", 0x010F, 2, 4) + b"abc\0"
    entry = struct.pack(endian + "HHI", 0x0112, kind, 1) + value
    return head + struct.pack(endian + "IH", 8, 2) + make + entry + struct.pack(endian + "I", 0)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(name, samples, depth, color, extra=(), interlace=False):
    """Writes the forms that Pillow cannot; samples [h, w, channels] of any integer type."""
    h, w = samples.shape[:2]

    def rows(part):
        out = b""
        for row in part:
            flat = row.reshape(-1).astype(int)
            if depth == 16:
                out += b"\0" + flat.astype(">u2").tobytes()
            else:
                bits = "".join(format(v, f"0{depth}b") for v in flat)
                bits += "0" * (-len(bits) % 8)
                out += b"\0" + bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
        return out

    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b"".join(rows(samples[y::dy, x::dx]) for x, y, dx, dy in passes) if interlace else rows(samples)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, int(interlace)))
    body = b"".join(chunk(k, d) for k, d in extra) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")
    (DATA / name).write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)


def jpegs():
    base = Image.fromarray(picture())
    for orientation in range(1, 9):
        endian, kind = ("<", ">")[orientation % 2], (3, 4)[orientation // 3 % 2]
        save(base, f"exif{orientation}.jpg", quality=80, exif=b"Exif\0\0" + tiff(orientation, endian, kind))
    save(base, "exif9.jpg", quality=80, exif=b"Exif\0\0" + tiff(9))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    save(base, "xmp6.jpg", quality=80, xmp=xmp)
    save(base, "xmp6_exif3.jpg", quality=80, xmp=xmp, exif=b"Exif\0\0" + tiff(3))
    save(base, "progressive.jpg", quality=85, progressive=True)
    save(base, "sampling444.jpg", quality=90, subsampling=0)
    save(base, "sampling422.jpg", quality=90, subsampling=1)
    save(base, "restart.jpg", quality=70, restart_marker_blocks=1, optimize=True)
    save(base, "rgb_components.jpg", quality=90, keep_rgb=True)
    save(base.convert("L"), "grey.jpg", quality=80)
    save(Image.fromarray(picture(channels=4), "CMYK"), "cmyk.jpg", quality=90)
    first = (DATA / "sampling444.jpg").read_bytes()
    (DATA / "trailing.jpg").write_bytes(first + b"trailing bytes, as cameras leave them")


def pngs():
    rgb = Image.fromarray(picture())
    save(rgb, "rgb.png")
    save(rgb, "exif6.png", exif=tiff(6))
    palette = rgb.quantize(40)
    save(palette, "palette.png")
    save(palette, "palette_transparency.png", transparency=bytes(range(0, 200, 5)))
    save(rgb.quantize(13), "palette4bit.png", bits=4, transparency=3)
    save(rgb.quantize(2), "palette1bit.png", bits=1)
    save(Image.fromarray(picture(channels=2), "LA"), "grey_alpha.png")
    save(Image.fromarray(picture(channels=4), "RGBA"), "rgba.png")
    save(rgb.convert("L"), "grey.png")
    save(rgb, "rgb_transparency.png", transparency=tuple(rgb.getpixel((3, 3))))
    wide = rng.integers(0, 65536, (H, W, 4))
    small = np.where(rng.random((H, W, 1)) < 0.7, wide[..., :1] % 400, wide[..., :1])
    png("grey16.png", small, 16, 0)
    png("rgb16.png", wide[..., :3], 16, 2)
    png("grey_alpha16.png", wide[..., :2], 16, 4)
    png("rgba16.png", wide, 16, 6)
    for depth in (1, 2, 4):
        png(f"grey{depth}bit.png", wide[..., :1] % (1 << depth), depth, 0)
    png("interlaced.png", picture(), 8, 2, interlace=True)
    png("interlaced16.png", small, 16, 0, interlace=True)
    png("gamma_profile.png", picture(), 8, 2, [(b"gAMA", struct.pack(">I", 22000)), (b"sRGB", b"\1"), (b"tRNS", b"\0\1" * 3)])
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation>8</tiff:Orientation>"
    png("xmp8.png", picture(), 8, 2, [(b"iTXt", xmp)])
    png("tall16x90.png", picture(16, 90), 8, 2)
    png("two_by_two.png", picture(2, 2), 8, 2)


def webps():
    rgb = Image.fromarray(picture())
    rgba = Image.fromarray(picture(channels=4), "RGBA")
    save(rgb, "lossy.webp", quality=80)
    save(rgb, "lossless.webp", lossless=True)
    save(rgba, "lossy_alpha.webp", quality=80)
    save(rgba, "lossless_alpha.webp", lossless=True, exact=True)
    save(rgb, "exif8.webp", quality=80, exif=tiff(8))


def decoded():
    blob, index = b"", []
    for path in sorted(p for p in DATA.iterdir() if p.suffix in (".jpg", ".png", ".webp")):
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        index.append({"file": path.name, "width": image.width, "height": image.height, "offset": len(blob)})
        blob += image.tobytes()
    (DATA / "expected.bin").write_bytes(blob)
    (DATA / "expected.json").write_text("[\n" + ",\n".join(map(json.dumps, index)) + "\n]\n")


def preprocessed():
    base = {"image_processor_type": "CLIPImageProcessor"}
    cases = [
        ("rgb.png", {"size": 17, "crop_size": 11}),
        ("exif6.png", {"size": 12, "crop_size": 15, "resample": 2}),
        ("rgba.png", {"size": {"height": 13, "width": 40}, "crop_size": {"height": 20, "width": 21}, "resample": 2}),
        ("interlaced.png", {"size": {"shortest_edge": 9}, "do_center_crop": False, "resample": 1}),
        ("lossless.webp", {"size": {"shortest_edge": 8}, "crop_size": 9, "do_normalize": False}),
        ("palette.png", {"size": 8, "crop_size": 8, "do_rescale": False, "image_mean": [120.5, 3, 0.25], "image_std": [60, 2, 0.7]}),
        ("grey.png", {"do_resize": False, "crop_size": {"height": 24, "width": 12}, "rescale_factor": 0.00784313725490196}),
        ("tall16x90.png", {"size": {"height": 20, "width": 15}, "crop_size": {"height": 13, "width": 10}}),
        ("tall16x90.png", {"size": {"height": 33, "width": 11}, "do_center_crop": False, "resample": 1}),
        ("two_by_two.png", {"size": 7, "crop_size": {"height": 5, "width": 10}}),
        ("progressive.jpg", {"size": 31, "crop_size": 20, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}),
    ]
    blob, index = b"", []
    for name, config in cases:
        image = ImageOps.exif_transpose(Image.open(DATA / name)).convert("RGB")
        out = CLIPImageProcessorPil(**config)(images=[image], return_tensors="np")["pixel_values"][0].astype(np.float32)
        index.append({"file": name, "config": base | config, "shape": list(out.shape), "offset": len(blob)})
        blob += out.tobytes()
    (DATA / "preprocessed.bin").write_bytes(blob)
    (DATA / "preprocessed.json").write_text("[\n" + ",\n".join(map(json.dumps, index)) + "\n]\n")


def noise(width, height):
    """The same bytes as the test makes: the high byte of a 32-bit linear congruential generator."""
    state, out = width * 65536 + height, bytearray()
    for _ in range(width * height * 3):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append(state >> 24)
    return Image.frombytes("RGB", (width, height), bytes(out))


def resized():
    rows = []
    for number in range(96):
        w, h, nw, nh = (int(v) for v in np.exp(rng.uniform(0, np.log(150), 4)).astype(int))
        if number % 8 == 0:
            nw = w
        if number % 8 == 1:
            nh = h
        filter_number = 1 + number % 3
        out = noise(w, h).resize((nw, nh), filter_number).tobytes()
        rows.append([w, h, nw, nh, filter_number, zlib.crc32(out)])
    (DATA / "resized.json").write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    for old in DATA.iterdir():
        old.unlink()
    for step in (jpegs, pngs, webps, decoded, preprocessed, resized):
        step()
    print(sum(p.stat().st_size for p in DATA.iterdir()), "bytes")
