"""Draws scenes: emoji of the Noto Color Emoji font (SIL OFL 1.1) and plain shapes on a background."""
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from world import COLORS, EMOJI, NAMES

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"  # Debian's fonts-noto-color-emoji
SIZE = 192  # pixels a side
_FONT_SIZE = 109  # the only one the font has
_SPRITE = 128


def _emoji(character, font):
    image = Image.new("RGBA", (136, 128))
    ImageDraw.Draw(image).text((0, 0), character, font=font, embedded_color=True)
    box = image.getbbox()
    if box is None:
        raise ValueError(f"the font has no picture for {character}")
    side = max(box[2] - box[0], box[3] - box[1])
    square = Image.new("RGBA", (side, side))
    square.paste(image.crop(box), ((side - box[2] + box[0]) // 2, (side - box[3] + box[1]) // 2))
    return square.resize((_SPRITE, _SPRITE), Image.BICUBIC)


def _shape(shape, color):
    side, margin = 512, 16
    image = Image.new("RGBA", (side, side))
    draw, fill = ImageDraw.Draw(image), COLORS[color] + (255,)
    far = side - margin
    if shape == "circle":
        draw.ellipse((margin, margin, far, far), fill=fill)
    elif shape == "square":
        draw.rectangle((2 * margin, 2 * margin, far - margin, far - margin), fill=fill)
    elif shape == "triangle":
        draw.polygon([(side / 2, margin), (far, far), (margin, far)], fill=fill)
    elif shape == "diamond":
        draw.polygon([(side / 2, 0), (side - 1, side / 2), (side / 2, side - 1), (0, side / 2)], fill=fill)
    else:
        draw.rectangle((side * .34, margin, side * .66, far), fill=fill)
        draw.rectangle((margin, side * .34, far, side * .66), fill=fill)
    return image.resize((_SPRITE, _SPRITE), Image.BOX)


class Painter:
    """Draws scenes as uint8 [SIZE, SIZE, 3]. Not thread-safe (keeps sprites)."""

    def __init__(self, font=FONT, size=SIZE):
        emoji_font = ImageFont.truetype(font, _FONT_SIZE)
        self.size = size
        self.sprites = {name: _emoji(character, emoji_font) for name, character in EMOJI.items()}
        for name in NAMES[len(EMOJI):]:
            color, shape = name.split(" ")
            self.sprites[name] = _shape(shape, color)

    def _background(self, scene, rng):
        size = self.size
        picture = np.empty((size, size, 3), np.float32)
        picture[:] = np.array(COLORS[scene.background], np.float32) + rng.uniform(-10, 10, 3)
        if scene.style == "gradient":
            ramp = np.linspace(-1, 1, size, dtype=np.float32)
            slope = ramp[:, None] * rng.uniform(-1, 1) + ramp[None] * rng.uniform(-1, 1)
            picture += (slope * rng.uniform(8, 24)).astype(np.float32)[..., None]
        elif scene.style == "noise":
            picture += rng.standard_normal((size, size, 1), dtype=np.float32) * np.float32(rng.uniform(3, 14))
        return picture

    def _draw(self, picture, thing, brightness):
        side = int(round(thing.size * self.size))
        sprite = self.sprites[thing.name].resize((side, side), Image.BICUBIC, reducing_gap=3.0)
        if thing.mirrored:
            sprite = sprite.transpose(Image.FLIP_LEFT_RIGHT)
        if thing.turn:
            sprite = sprite.rotate(thing.turn, Image.BILINEAR, expand=True)
        pixels = np.asarray(sprite, np.float32)
        height, width = pixels.shape[:2]
        left, top = int(round(thing.x * self.size - width / 2)), int(round(thing.y * self.size - height / 2))
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(self.size, left + width), min(self.size, top + height)
        part = pixels[y0 - top:y1 - top, x0 - left:x1 - left]
        alpha = part[..., 3:] / 255
        picture[y0:y1, x0:x1] += alpha * (part[..., :3] * brightness - picture[y0:y1, x0:x1])

    def render(self, scene, rng):
        """`rng`: a numpy Generator, for what the scene does not fix (noise, brightness)."""
        picture = self._background(scene, rng)
        for thing in scene.things:
            self._draw(picture, thing, rng.uniform(.92, 1.08))
        return np.clip(picture, 0, 255).astype(np.uint8)
