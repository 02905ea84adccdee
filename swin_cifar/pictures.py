"""A file or an address -> a picture, whatever its kind; a picture -> a tensor for a model."""

import io
import os
import string
import threading
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")  # none that starts another program
MAX_PIXELS = 100_000_000  # of a picture in memory: 300 MB
MAX_BYTES = 20_000_000  # of a download
MAX_METADATA = 20_000_000  # bytes of a colour profile
TIMEOUT_SECONDS = 10  # of silence
DEADLINE_SECONDS = 30  # for a whole download


class PictureError(ValueError):
    """A picture is not available or cannot be read; the message says why."""


def load_picture(
    source: str | Path | bytes | Image.Image | np.ndarray, size: int | None = None
) -> Image.Image:
    """A path, an http(s) URL, a file's bytes, a PIL picture or an array -> an upright PIL picture in RGB.

    Arrays are (H, W), (H, W, 3) or (H, W, 4), of bytes or of floats in [0, 1]. Grey, palette, CMYK,
    16-bit and turned (EXIF) pictures are converted; transparency is laid on white. A JPEG of more
    than MAX_PIXELS is decoded at a part of its size; one that will be scaled to `size` too, a phone's
    in a tenth of the time, with sides of at least 8 `size`. Metadata that cannot be read are left out.
    Raises PictureError for anything that is not a picture.
    """
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if not isinstance(source, (str, Path, bytes, Image.Image)):
        raise PictureError(f"a path, an address, bytes, Pillow's picture or an array, not {type(source)}")
    name = source if isinstance(source, (str, Path)) else "what was handed over"
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(_upright(source))
        return _read(_file(source), name, size)
    except PictureError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds
        raise PictureError(f"{name} is not a picture that can be read: {error}") from error


def _read(file, name, size):
    """A path or bytes in memory -> an upright picture in RGB."""
    Image.init()
    formats = [kind for kind in FORMATS if kind in Image.OPEN]  # AVIF depends on Pillow's version
    try:
        with _lenient():
            picture = Image.open(file, formats=formats)
            with picture:
                if size:
                    picture.draft(None, (8 * size, 8 * size))  # of a JPEG
                if picture.width * picture.height > MAX_PIXELS:
                    picture.draft(None, (2048, 2048))  # of a JPEG
                if picture.width * picture.height > MAX_PIXELS:
                    size = f"{picture.width} x {picture.height} pixels"
                    raise PictureError(f"{name} has {size}; more than {MAX_PIXELS:,} are refused")
                picture.load()
                return _to_rgb(_upright(picture))
    except Image.DecompressionBombError:
        raise PictureError(f"{name} unpacks to more than {MAX_PIXELS:,} pixels: refused") from None
    except UnidentifiedImageError:
        hint = "; HEIC must be saved as JPEG first" if _is_heic(file) else ""
        kinds = ", ".join(formats)
        raise PictureError(f"{name} is not a picture that can be read ({kinds}){hint}") from None


_lenient_lock, _lenient_inside, _before = threading.Lock(), 0, None


@contextmanager
def _lenient():
    """In here Pillow takes long metadata, and warns of no size that is checked anyway.

    Both are settings of the whole process: the first thread that comes in changes them, the last changes
    them back.
    """
    global _lenient_inside, _before
    with _lenient_lock:
        if not _lenient_inside:
            _before = PngImagePlugin.MAX_TEXT_CHUNK, Image.MAX_IMAGE_PIXELS
            PngImagePlugin.MAX_TEXT_CHUNK, Image.MAX_IMAGE_PIXELS = MAX_METADATA, 200_000_000
        _lenient_inside += 1
    try:
        yield
    finally:
        with _lenient_lock:
            _lenient_inside -= 1
            if not _lenient_inside:
                PngImagePlugin.MAX_TEXT_CHUNK, Image.MAX_IMAGE_PIXELS = _before


def _file(source):
    """-> what Pillow opens: a path, or bytes in memory."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if "://" in str(source):
        return io.BytesIO(_download(source))
    if not os.path.isfile(source):
        raise PictureError(f"there is no file {source}")
    return source


def to_tensor(picture: Image.Image, size: int, channels: int = 3) -> Tensor:
    """An RGB picture -> (channels, size, size) uint8: its middle square, scaled; in grey for 1 channel."""
    picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    if channels == 1:
        return torch.from_numpy(np.array(picture.convert("L")))[None]
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def is_named_picture(path: str | Path) -> bool:
    """Does the name end like that of a picture that can be read?"""
    return Image.registered_extensions().get(Path(path).suffix.lower()) in FORMATS


def _from_array(array):
    """(H, W), (H, W, 3) or (H, W, 4) -> a PIL picture."""
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PictureError(f"an array must be (H, W), (H, W, 3) or (H, W, 4), got {array.shape}")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # nor NaN
            raise PictureError("an array of floats must lie in [0, 1]")
        array = (255 * array).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise PictureError(f"an array must hold bytes, or floats in [0, 1], got {array.dtype}")
    return Image.fromarray(array)


def _upright(picture):
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged metadata: the pixels are whole
        return picture


def _is_heic(file):
    if isinstance(file, io.BytesIO):
        start = file.getvalue()[:12]
    else:
        with open(file, "rb") as opened:
            start = opened.read(12)
    return start[4:8] == b"ftyp" and start[8:11] in (b"hei", b"hev", b"mif", b"msf")


def _to_rgb(picture):
    if picture.mode.startswith(("I", "F")):  # 16 or 32 bits a pixel, grey
        values = np.asarray(picture).astype(np.float64)
        if picture.mode == "F" and values.max() <= 1:
            values = values * 255
        elif picture.mode.startswith("I;16") or values.max() > 255:
            values = values / 257  # 65535 -> 255
        picture = Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert("RGB")


def _download(url):
    """The bytes behind an address, or PictureError at the deadline at the latest."""
    answer = []
    # A server can drip its headers below every time-out; only another thread can stop waiting for it.
    thread = threading.Thread(target=lambda: answer.append(_fetch(url)), daemon=True)
    thread.start()
    thread.join(DEADLINE_SECONDS)
    if not answer:
        raise PictureError(f"{url} is not done after {DEADLINE_SECONDS} seconds: given up")
    if isinstance(answer[0], PictureError):
        raise answer[0]
    return answer[0]


def _ascii(url):
    """An address in any script, as it is sent."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    return urllib.parse.quote(parts._replace(netloc=host).geturl(), safe=string.punctuation)


def _fetch(url):
    """The bytes, or the PictureError to raise."""
    opener = urllib.request.OpenerDirector()  # knows no scheme but these, after a redirect either
    for handler in ("Proxy", "HTTP", "HTTPS", "HTTPRedirect", "HTTPDefaultError", "Unknown"):
        opener.add_handler(getattr(urllib.request, f"{handler}Handler")())
    opener.add_handler(urllib.request.HTTPErrorProcessor())
    deadline = time.monotonic() + DEADLINE_SECONDS
    content = bytearray()
    try:
        scheme = urllib.parse.urlsplit(url).scheme.lower()
        if scheme not in ("http", "https"):
            return PictureError(f"{url}: only http:// and https:// addresses are opened, not {scheme}://")
        request = urllib.request.Request(_ascii(url), headers={"User-Agent": "swin_cifar"})
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            while chunk := response.read1(65536):
                content += chunk
                if time.monotonic() > deadline:
                    return PictureError(f"{url} is not done after {DEADLINE_SECONDS} seconds: given up")
                if len(content) > MAX_BYTES:
                    return PictureError(f"{url} sends more than {MAX_BYTES:,} bytes: given up")
    except Exception as error:  # network, address and protocol each raise kinds of their own
        if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
            return PictureError(f"{url} did not answer within {TIMEOUT_SECONDS} seconds")
        return PictureError(f"{url} could not be fetched: {error}")
    return bytes(content)
