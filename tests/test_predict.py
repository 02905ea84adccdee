"""Pictures of every kind, from files and from a server that misbehaves, and what they are taken for."""

import contextlib
import io
import math
import socket
import struct
import threading
import time
import zlib
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from course import studies
from swin_cifar import pictures as pictures_module
from swin_cifar.calibration import calibration_error, fit_temperature
from swin_cifar.checkpoint import Checkpoint
from swin_cifar.config import SwinConfig, TrainConfig
from swin_cifar.history import History, Results
from swin_cifar.model import SwinTransformer
from swin_cifar.pictures import PictureError, load_picture, to_tensor
from swin_cifar.predict import classify, predict

# --- kinds of pictures ------------------------------------------------------------------


def png(width, height, bits, colour_type, pixels):
    """The bytes of a PNG; `pixels` holds the rows without their filter byte."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    row = len(pixels) // height
    rows = b"".join(b"\0" + pixels[i * row : (i + 1) * row] for i in range(height))
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def png16(*colour):
    """A PNG of 16 bits a channel, grey or RGB by the number of values, 4 x 4 pixels of `colour`."""
    return png(4, 4, 16, {1: 0, 3: 2}[len(colour)], struct.pack(f">{len(colour)}H", *colour) * 16)


def saved(mode, colour, format="PNG", palette=None, **options):
    """The bytes of a picture of 4 x 4 pixels of `colour`."""
    picture = Image.new(mode, (4, 4), colour)
    if palette:
        picture.putpalette(palette)
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


PALETTE = [10, 20, 30, 200, 100, 50]
KINDS = {
    "RGB": (saved("RGB", (1, 2, 3)), (1, 2, 3)),
    "grey": (saved("L", 90), (90, 90, 90)),
    "1 bit, black": (saved("1", 0), (0, 0, 0)),
    "1 bit, white": (saved("1", 1), (255, 255, 255)),
    "palette": (saved("P", 1, palette=PALETTE), (200, 100, 50)),
    "palette, this colour transparent": (saved("P", 1, palette=PALETTE, transparency=1), (255, 255, 255)),
    "palette, another transparent": (saved("P", 1, palette=PALETTE, transparency=0), (200, 100, 50)),
    "palette, half transparent": (
        saved("P", 1, palette=PALETTE, transparency=bytes([255, 127])), (228, 178, 153)
    ),
    "GIF, transparent": (saved("P", 1, "GIF", palette=PALETTE, transparency=1), (255, 255, 255)),
    "RGB, this colour transparent": (saved("RGB", (1, 2, 3), transparency=(1, 2, 3)), (255, 255, 255)),
    "grey, transparent": (saved("LA", (0, 0)), (255, 255, 255)),
    "grey, half transparent": (saved("LA", (0, 127)), (128, 128, 128)),
    "grey, opaque": (saved("LA", (90, 255)), (90, 90, 90)),
    "RGBA, transparent": (saved("RGBA", (200, 0, 0, 0)), (255, 255, 255)),
    "RGBA, half transparent": (saved("RGBA", (255, 0, 0, 127)), (255, 128, 128)),
    "RGBA, opaque": (saved("RGBA", (200, 100, 50, 255)), (200, 100, 50)),
    "CMYK JPEG": (saved("CMYK", (0, 255, 255, 0), "JPEG", quality=95), (255, 0, 0)),
    "16-bit grey, black": (png16(0), (0, 0, 0)),
    "16-bit grey, nearly black": (png16(255), (1, 1, 1)),
    "16-bit grey, middle": (png16(0x8080), (128, 128, 128)),
    "16-bit grey, white": (png16(65535), (255, 255, 255)),
    "16-bit grey TIFF": (saved("I;16", 0x8080, "TIFF"), (128, 128, 128)),
    "16-bit RGB": (png16(0, 0x8080, 65535), (0, 128, 255)),
    "float TIFF, 0 to 1": (saved("F", 0.5, "TIFF"), (128, 128, 128)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_becomes_rgb_of_the_same_look(kind, tmp_path):
    content, colour = KINDS[kind]
    (tmp_path / "picture").write_bytes(content)
    picture = load_picture(tmp_path / "picture")
    assert picture.mode == "RGB" and picture.size == (4, 4)
    tolerance = 3 if "JPEG" in kind else 1
    assert picture.getpixel((2, 2)) == pytest.approx(colour, abs=tolerance)


@pytest.mark.parametrize("orientation, size, red, blue", [
    (1, (40, 20), (5, 10), (35, 10)),
    (3, (40, 20), (35, 10), (5, 10)),
    (6, (20, 40), (10, 5), (10, 35)),
    (8, (20, 40), (10, 35), (10, 5)),
])  # fmt: skip
def test_a_turned_photograph_is_upright(tmp_path, orientation, size, red, blue):
    stored = Image.new("RGB", (40, 20), "red")
    stored.paste("blue", (20, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    picture = load_picture(tmp_path / "turned.jpg")
    assert picture.size == size
    assert picture.getpixel(red) == pytest.approx((255, 0, 0), abs=3)
    assert picture.getpixel(blue) == pytest.approx((0, 0, 255), abs=3)


@pytest.mark.parametrize("size, start", [((90, 30), (30, 0)), ((30, 90), (0, 30)), ((30, 30), (0, 0))])
@pytest.mark.parametrize("side", [30, 16, 64])
def test_the_middle_square_is_taken(size, start, side):
    picture = Image.new("RGB", size, "red")
    picture.paste((0, 128, 0), (*start, start[0] + 30, start[1] + 30))
    tensor = to_tensor(picture, side)
    assert tensor.shape == (3, side, side) and tensor.dtype == torch.uint8
    inner = tensor[:, side // 8 : -side // 8, side // 8 : -side // 8]
    assert inner.flatten(1).unique(dim=1).tolist() == [[0], [128], [0]]
    assert tensor[0].float().mean() < 6  # scaling lets a little of the red sides in


def test_a_picture_of_the_right_size_is_taken_as_it_is():
    pixels = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)
    assert np.array_equal(to_tensor(Image.fromarray(pixels), 32).permute(1, 2, 0).numpy(), pixels)


# --- pictures that are in memory ----------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3), (6, 5, 4)])
def test_arrays_pictures_and_bytes_are_read_as_the_file_is(shape, tmp_path):
    array = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "picture.png")
    expected = np.asarray(load_picture(tmp_path / "picture.png"))
    for source in (array, array / 255, Image.fromarray(array), (tmp_path / "picture.png").read_bytes()):
        assert np.array_equal(np.asarray(load_picture(source)), expected)
    assert expected.shape == (6, 5, 3)
    assert load_picture(np.full((4, 4), 0.999)).getpixel((0, 0)) == (255, 255, 255)  # rounded


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"must be \(H, W\), .*, got \(4, 4, 2\)"),
        (np.zeros((0, 4), np.uint8), r"got \(0, 4\)"),
        (np.zeros(4, np.uint8), r"got \(4,\)"),
        (np.full((4, 4), 2.0), r"floats must lie in \[0, 1\]"),
        (np.full((4, 4), np.nan), r"floats must lie in \[0, 1\]"),
        (np.zeros((4, 4), np.int64), "must hold bytes, or floats .*, got int64"),
        (b"hello", "what was handed over is not a picture that can be read"),
    ],
)
def test_what_is_no_picture_in_memory_is_one_line(source, says):
    with pytest.raises(PictureError, match=says) as error:
        load_picture(source)
    assert "\n" not in str(error.value)


def test_grey_for_a_model_of_one_channel():
    picture = Image.new("RGB", (8, 8), (200, 100, 0))
    assert to_tensor(picture, 4, channels=1).shape == (1, 4, 4)
    assert (to_tensor(picture, 4, channels=1) == picture.convert("L").getpixel((0, 0))).all()


# --- what is refused --------------------------------------------------------------------

NOISE = np.random.default_rng(0).integers(256, size=(20, 20, 3), dtype=np.uint8)


def encoded(pixels, format):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


BAD = {
    "text": b"this is not a picture",
    "empty": b"",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
    "half a PNG": encoded(NOISE, "PNG")[:500],
    "half a JPEG": encoded(NOISE, "JPEG")[:800],
    "a PNG's first bytes": encoded(NOISE, "PNG")[:20],
    "a damaged PNG": encoded(NOISE, "PNG").replace(b"IHDR", b"IHDX"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_picture_is_refused(kind, tmp_path):
    (tmp_path / "bad.png").write_bytes(BAD[kind])
    with pytest.raises(PictureError, match="bad.png is not a picture that can be read"):
        load_picture(tmp_path / "bad.png")


@pytest.mark.parametrize("name", ["missing.png", "", "folder", "n" * 300, "nul\0byte"])
def test_what_is_no_file_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(PictureError, match="no file"):
        load_picture(name)


def test_a_picture_with_too_many_pixels_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    path.write_bytes(encoded(NOISE, "PNG"))
    monkeypatch.setattr(pictures_module, "MAX_PIXELS", 20 * 20)
    assert load_picture(path).size == (20, 20)
    monkeypatch.setattr(pictures_module, "MAX_PIXELS", 20 * 20 - 1)
    with pytest.raises(PictureError, match="20 x 20 pixels"):
        load_picture(path)


@pytest.mark.parametrize("side", [10_001, 14_000, 60_000])
@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_small_file_that_claims_a_huge_picture_is_refused(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side, 8, 2, b""))
    with pytest.raises(PictureError, match="pixels.*refused"):
        load_picture(path)


# --- whole pixels, whatever surrounds them ----------------------------------------------


def with_chunk(content, name, payload):
    """A PNG with one more chunk after its header."""
    chunk = struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
    return content[:33] + chunk + content[33:]


def a_tag(tag, kind, count, value):
    """TIFF metadata with one tag, big-endian."""
    return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHI", tag, kind, count) + value + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        (b"eXIf", bytes.fromhex("0008000201120003")),  # cut off
        (b"eXIf", a_tag(0x010F, 5, 1, struct.pack(">I", 4))),  # the maker is a fraction
        (b"eXIf", b"MM\0*" + bytes(99)),
        (b"iCCP", b"large\0\0" + zlib.compress(np.random.default_rng(0).bytes(2_000_000))),
        (b"iCCP", b"bad\0\0not compressed"),
    ],
    ids=["cut off", "fraction", "zeros", "profile of 2 MB", "damaged profile"],
)
def test_metadata_fails_alone(tmp_path, name, payload):
    path = tmp_path / "picture.png"
    path.write_bytes(with_chunk(encoded(NOISE, "PNG"), name, payload))
    assert np.array_equal(np.array(load_picture(path)), NOISE)


def test_a_jpeg_of_more_pixels_than_memory_is_decoded_smaller(tmp_path, monkeypatch):
    path = tmp_path / "phone.jpg"
    Image.linear_gradient("L").resize((4096, 4096)).convert("RGB").save(path)
    monkeypatch.setattr(pictures_module, "MAX_PIXELS", 2048 * 2048)
    assert load_picture(path).size == (2048, 2048)
    monkeypatch.setattr(pictures_module, "MAX_PIXELS", 2048 * 2048 - 1)
    with pytest.raises(PictureError, match="2048 x 2048 pixels; more than .* are refused"):
        load_picture(path)


def test_a_photograph_that_will_be_small_is_decoded_at_a_part_of_its_size(tmp_path):
    noise = torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(0))
    large = F.interpolate(noise[None], size=(1500, 2000), mode="bicubic")[0].clamp(0, 1)
    photo = Image.fromarray((255 * large).byte().permute(1, 2, 0).numpy())
    exif = photo.getexif()
    exif[274] = 6  # taken on its side
    photo.save(tmp_path / "photo.jpg", quality=95, exif=exif)
    whole, part = load_picture(tmp_path / "photo.jpg"), load_picture(tmp_path / "photo.jpg", size=32)
    assert (whole.size, part.size) == ((1500, 2000), (375, 500))
    difference = to_tensor(whole, 32).float() - to_tensor(part, 32).float()
    assert difference.abs().max() <= 3 < 50 < to_tensor(whole, 32).float().std()
    photo.resize((400, 300)).save(tmp_path / "small.jpg")
    assert load_picture(tmp_path / "small.jpg", size=32).size == (400, 300)


def test_what_pillow_writes_it_reads(tmp_path):
    Image.init()
    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow knows no AVIF")
    Image.new("RGB", (16, 16), "red").save(tmp_path / "red.avif")
    red, green, blue = load_picture(tmp_path / "red.avif").getpixel((8, 8))
    assert red > 240 and green < 20 and blue < 20


def test_heic_is_called_so(tmp_path):
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    with pytest.raises(PictureError, match="HEIC must be saved as JPEG first"):
        load_picture(tmp_path / "phone.heic")


# --- addresses --------------------------------------------------------------------------

PICTURE = encoded(NOISE, "PNG")
OVER = threading.Event()


def reply(body, status="200 OK", headers=""):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def pieces(first, piece, seconds):
    """`first`, then `piece` again and again, for a while."""
    yield first
    for _ in range(int(3 / max(seconds, 1e-3))):
        yield piece
        OVER.wait(seconds)


PAGES = {
    "/good": lambda: [reply(PICTURE)],
    "/moved": lambda: [reply(b"", "302 Found", "Location: /good\r\n")],
    "/circle": lambda: [reply(b"", "302 Found", "Location: /circle\r\n")],
    "/to-file": lambda: [reply(b"", "302 Found", "Location: file:///etc/passwd\r\n")],
    "/to-ftp": lambda: [reply(b"", "302 Found", "Location: ftp://127.0.0.1/picture.png\r\n")],
    "/text": lambda: [reply(b"<html>no picture</html>")],
    "/nothing": lambda: [reply(b"")],
    "/hangs-up": lambda: [],
    "/cut": lambda: [reply(PICTURE)[:-300]],
    "/cut-chunk": lambda: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n", PICTURE[:300]],
    "/not-http": lambda: [b"220 mail server ready\r\n\r\n"],
    "/silent": lambda: pieces(b"", b"", 0.1),
    "/stops": lambda: pieces(reply(PICTURE)[:300], b"", 0.1),
    "/endless": lambda: pieces(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000, 0),
    "/drip": lambda: pieces(b"HTTP/1.1 200 OK\r\n\r\n", b"x", 0.002),
    "/header-drip": lambda: pieces(b"HTTP/1.1 200 OK\r\n", b"X-Header: x\r\n", 0.05),
}


@pytest.fixture(scope="module")
def server():
    """The address of a server with `PAGES`, any other being a 404."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            path = connection.recv(65536).split()[1].decode()
            for part in PAGES.get(path, lambda: [reply(b"", "404 Not Found")])():
                connection.sendall(part)

    def serve():
        with contextlib.suppress(OSError):
            while not OVER.is_set():
                threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    OVER.set()
    listener.close()


@pytest.fixture(autouse=True)
def small_pictures_without_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(pictures_module, "MAX_BYTES", len(PICTURE))


@pytest.mark.parametrize("path", ["/good", "/moved"])
def test_a_picture_at_an_address_is_loaded(server, path):
    assert np.array_equal(np.array(load_picture(server + path)), NOISE)
    assert np.array_equal(np.array(load_picture(server.upper() + path)), NOISE)


@pytest.mark.parametrize("path, reason", [
    ("/missing", "404"),
    ("/circle", "could not be fetched"),
    ("/to-file", "could not be fetched.*file"),
    ("/to-ftp", "could not be fetched"),
    ("/text", "not a picture"),
    ("/nothing", "not a picture"),
    ("/hangs-up", "could not be fetched"),
    ("/cut", "not a picture"),
    ("/cut-chunk", "could not be fetched"),
    ("/not-http", "could not be fetched"),
    ("/silent", "did not answer within 0.5 seconds"),
    ("/stops", "did not answer within 0.5 seconds"),
    ("/endless", "sends more than"),
    ("/drip", "not done after 0.8 seconds"),
    ("/header-drip", "0.8 seconds"),
])  # fmt: skip
def test_an_address_without_a_picture_is_refused_in_time(server, path, reason, monkeypatch):
    # One limit is far below the other, so that a slow machine does not meet the wrong one.
    silence, whole = (10, 0.8) if "drip" in path else (0.5, 10)
    monkeypatch.setattr(pictures_module, "TIMEOUT_SECONDS", silence)
    monkeypatch.setattr(pictures_module, "DEADLINE_SECONDS", whole)
    start = time.monotonic()
    with pytest.raises(PictureError, match=f"{server}{path} .*{reason}"):
        load_picture(server + path)
    assert time.monotonic() - start < 20  # the server says nothing for ever


def test_an_address_where_nobody_listens_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(PictureError, match="could not be fetched"):
        load_picture(f"http://127.0.0.1:{port}/picture.png")


@pytest.mark.parametrize("address", ["http://", "http://[::1", "http://127.0.0.1:x/", "http://127.0.0.1/a b"])
def test_an_address_that_makes_no_sense_is_refused(address):
    with pytest.raises(PictureError):
        load_picture(address)


@pytest.mark.parametrize("scheme", ["file", "FILE", "ftp", "data", "gopher", ""])
def test_no_other_scheme_is_opened(scheme, tmp_path):
    (tmp_path / "picture.png").write_bytes(PICTURE)
    with pytest.raises(PictureError, match="only http:// and https://"):
        load_picture(f"{scheme}://{tmp_path}/picture.png")


@pytest.mark.parametrize(
    "address", ["data:image/png;base64,iVBORw0KGgo=", "data:," + "A" * 300, "file:/etc/passwd"]
)
def test_a_scheme_without_slashes_is_not_opened_either(address):
    with pytest.raises(PictureError):
        load_picture(address)


# --- probabilities ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint():
    torch.manual_seed(0)
    config = SwinConfig(image_size=16, embed_dim=12, depths=(1, 1), num_heads=(3, 3), num_classes=4)
    model = SwinTransformer(config).train()
    with torch.no_grad():
        model.head.weight.mul_(50)  # answers far from all alike
    names = ("ant", "bee", "cat", "dog")
    dataset = {"name": "animals", "classes": names, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}
    return Checkpoint(model, dataset, None, None)


def softmax_by_hand(checkpoint, picture):
    """(3, h, w) uint8 -> (classes,): one picture at a time, in double precision."""
    mean, std = (torch.tensor(checkpoint.dataset[k]).double().view(3, 1, 1) for k in ("mean", "std"))
    image = ((picture.double() / 255 - mean) / std).float()
    with torch.no_grad():
        exponents = checkpoint.model.eval()(image[None])[0].double().exp()
    return exponents / exponents.sum()


def test_predict_names_the_classes_by_falling_probability(checkpoint, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(NOISE[2:18, 2:18]).save(path)
    answer = predict(checkpoint, path)
    names, probabilities = zip(*answer)
    assert sorted(names) == ["ant", "bee", "cat", "dog"]
    assert sum(probabilities) == pytest.approx(1)
    assert list(probabilities) == sorted(probabilities, reverse=True)
    assert probabilities[0] > probabilities[-1] + 0.1
    expected = softmax_by_hand(checkpoint, torch.from_numpy(NOISE[2:18, 2:18].copy()).permute(2, 0, 1))
    by_name = dict(zip(checkpoint.dataset["classes"], expected.tolist()))
    assert dict(answer) == pytest.approx(by_name, abs=1e-5)


def test_predict_takes_an_address_and_any_size(checkpoint, server, tmp_path):
    (tmp_path / "picture.png").write_bytes(PICTURE)
    assert predict(checkpoint, f"{server}/good") == predict(checkpoint, tmp_path / "picture.png")


def test_classify_answers_each_picture_of_a_batch(checkpoint):
    pictures = torch.randint(
        256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    checkpoint.model.train()
    result = classify(checkpoint, pictures)
    assert checkpoint.model.training  # as it was; the answer is of eval mode
    checkpoint.model.eval()
    assert result.shape == (5, 4) and result.dtype == torch.float32
    expected = torch.stack([softmax_by_hand(checkpoint, picture) for picture in pictures])
    torch.testing.assert_close(result.double(), expected, atol=1e-5, rtol=0)


# --- temperature ------------------------------------------------------------------------


def with_temperature(checkpoint, temperature):
    config, recipe = checkpoint.model.config, TrainConfig()
    history = History(config, recipe, "animals", 8, 2, "CPU", {}, results=Results(temperature=temperature))
    return replace(checkpoint, history=history)


@pytest.mark.parametrize("temperature", [0.1, 0.7, 9.0])
def test_a_temperature_divides_the_logits_and_keeps_the_order(checkpoint, temperature):
    picture = torch.from_numpy(NOISE[2:18, 2:18].copy()).permute(2, 0, 1)
    plain = softmax_by_hand(checkpoint, picture)
    expected = plain ** (1 / temperature)  # what dividing all logits does to probabilities
    expected /= expected.sum()
    cooled = with_temperature(checkpoint, temperature)
    torch.testing.assert_close(classify(cooled, picture[None])[0].double(), expected, atol=1e-5, rtol=0)
    assert (expected - plain).abs().max() > 5e-4  # far more than the tolerance
    order = [[name for name, _ in predict(c, NOISE[2:18, 2:18])] for c in (checkpoint, cooled)]
    assert order[0] == order[1]
    answer = dict(predict(cooled, NOISE[2:18, 2:18]))
    assert answer == pytest.approx(dict(zip(checkpoint.dataset["classes"], expected.tolist())), abs=1e-5)


def test_the_order_is_kept_where_probabilities_are_too_small_to_differ(checkpoint):
    with torch.no_grad():
        large = replace(with_temperature(checkpoint, 0.1), model=deepcopy(checkpoint.model))
        large.model.head.weight.mul_(100)
    answer = predict(large, NOISE[2:18, 2:18])
    assert [share for _, share in answer].count(0) >= 2
    by_logit = predict(replace(large, history=None, model=checkpoint.model), NOISE[2:18, 2:18])
    assert [name for name, _ in answer] == [name for name, _ in by_logit]


def test_a_checkpoint_without_a_temperature_is_at_1(checkpoint):
    assert checkpoint.temperature == with_temperature(checkpoint, None).temperature == 1
    assert with_temperature(checkpoint, 0.5).temperature == 0.5


def drawn(n, temperature, classes=5):
    """Logits, and labels drawn with the probabilities that they have at this temperature."""
    logits = 3 * torch.randn(n, classes)
    return logits, (logits / temperature).softmax(1).multinomial(1).squeeze(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_fitted_temperature_is_the_one_that_the_labels_were_drawn_with(temperature):
    logits, labels = drawn(20_000, temperature)
    T = fit_temperature(logits, labels)
    assert T == pytest.approx(temperature, rel=0.05)
    loss = F.cross_entropy(logits.double() / T, labels)
    assert all(loss < F.cross_entropy(logits.double() / (T * factor), labels) for factor in (0.999, 1.001))
    before, after = (calibration_error((logits / t).softmax(1), labels) for t in (1.0, T))
    assert after < 0.015 and (temperature == 1 or before > 0.05)


def test_where_nothing_fixes_a_temperature_there_is_none():
    logits, labels = drawn(49, 1.0)
    assert fit_temperature(logits, labels) is None  # too few
    logits, labels = drawn(200, 1.0)
    assert fit_temperature(logits, logits.argmax(1)) is None  # all right: the smaller, the better
    assert fit_temperature(logits, logits.argmin(1)) is None  # all wrong: the larger, the better
    assert fit_temperature(torch.zeros(200, 5), labels) is None  # all the same
    assert fit_temperature(logits * math.nan, labels) is None


def test_the_calibration_error_is_that_of_notebook_10_in_15_bins():
    logits, labels = drawn(300, 2.0)
    probabilities = logits.softmax(1)
    probabilities[0], probabilities[1] = torch.eye(5)[labels[0]], torch.tensor([0.2, 0.2, 0.2, 0.2, 0.2])
    confidence, answer = probabilities.max(1)
    found = calibration_error(probabilities, labels)
    expected = studies.calibration_error(confidence.double(), answer == labels, bins=15)
    assert found == pytest.approx(expected, abs=1e-9) and 0.05 < found
    by_hand = 0.0
    for i in range(15):
        rows = [k for k in range(300) if i / 15 <= confidence[k] < (i + 1) / 15 + (i == 14)]
        by_hand += abs(sum(float(confidence[k]) - int(answer[k] == labels[k]) for k in rows)) / 300
    assert found == pytest.approx(by_hand, abs=1e-6)
