import os
import struct
import warnings
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.domains.contract import UnreadableExample, spec_from_json
from tasks.domains.image.decode import read_image
from tasks.domains.image.grey import scale_to_8_bits
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
from tests.support.tiny import photograph_params

MAX_PIXELS = 1_000_000


def picture(width: int = 24, height: int = 16) -> Image.Image:
    ramp_HW3 = np.zeros((height, width, 3), np.uint8)
    ramp_HW3[..., 0] = np.linspace(0, 255, width)
    ramp_HW3[..., 1] = np.linspace(0, 255, height)[:, None]
    return Image.fromarray(ramp_HW3)


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def reason_for(content: bytes | Path, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(UnreadableExample) as caught:
        read_image(content, max_pixels=max_pixels)
    return caught.value.reason


def square_of(image: Image.Image, size_px: int) -> np.ndarray:
    return Images(image_spec(size_px), MAX_PIXELS).read(encoded(image, "PNG"))


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(read_image(content, max_pixels=MAX_PIXELS).pixels)


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


# --- what cannot be used -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "empty file (0 bytes)", id="zero-bytes"),
        pytest.param("Größe: siehe unten\n".encode(), "text, not an image", id="text"),
        pytest.param(("x" * 511 + "ü").encode(), "text, not an image", id="text-cut-inside-a-character"),
        pytest.param(bytes(range(256)), "not an image: its first bytes are none of JPEG", id="binary"),
        pytest.param(b"\0\0\0\x18ftypheic" + bytes(9), "HEIC image; convert it to JPEG or PNG", id="heic"),
        pytest.param(b"\0\0\0\x18ftypisom" + bytes(9), "video; extract stills", id="video"),
        pytest.param(b"%PDF-1.7\n", "PDF document; extract its images", id="pdf"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n", "text, not an image", id="eps-never-reaches-ghostscript"),
    ],
)
def test_a_file_that_is_no_image_says_what_it_is(content, reason):
    assert reason_for(content).startswith(reason)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG2000", "AVIF"])
def test_a_truncated_image_is_refused_and_the_format_named(file_format):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = encoded(noise, file_format)

    reason = reason_for(content[: len(content) // 2])

    assert reason.startswith(f"damaged or truncated {file_format} (")
    assert reason == reason_for(content[: len(content) // 2])
    assert " at 0x" not in reason  # a memory address would differ from run to run


@pytest.mark.parametrize("error_filter", ["error", "always"])
def test_a_header_of_a_hundred_thousand_squared_is_refused_before_decoding(error_filter):
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter(error_filter)
        reason = reason_for(png_claiming(100_000, 100_000), max_pixels=50_000_000)

    assert reason == ("claims 100000 x 100000 px, more than max_pixels 50000000 in params.yaml; not decoded")
    assert leaked == []


def test_the_pixel_limit_is_ours_and_not_pillows():
    content = png_claiming(20_000, 10_000)  # more than Pillow's own limit for an error

    assert reason_for(content, max_pixels=200_000_000).startswith("damaged or truncated PNG")
    assert reason_for(content, max_pixels=199_999_999).startswith("claims 20000 x 10000 px")


def test_an_image_of_exactly_the_allowed_pixels_is_read():
    content = encoded(picture(10, 10), "PNG")

    assert read_image(content, max_pixels=100).width == 10
    assert reason_for(content, max_pixels=99).startswith("claims 10 x 10 px")


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_an_animation_is_refused_with_its_number_of_frames(file_format):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    content = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])

    assert reason_for(content) == "animated, 3 frames; extract stills"


def test_a_tiff_of_several_pages_is_refused():
    content = encoded(picture(), "TIFF", save_all=True, append_images=[picture(), picture()])

    assert reason_for(content) == "TIFF of 3 pages; extract them as single images"


def test_grey_values_that_are_not_numbers_are_refused():
    values = np.array([[0.0, np.nan], [1.0, 2.0]], np.float32)

    assert "not finite" in reason_for(encoded(Image.fromarray(values), "TIFF"))


def test_the_message_names_the_file_and_the_reason_does_not(tmp_path):
    path = tmp_path / "a 'quoted'\nname.jpg"
    path.write_bytes(b"hello")

    with pytest.raises(UnreadableExample) as caught:
        Images(image_spec(8), MAX_PIXELS).read(path)

    assert str(caught.value) == f"{path}: text, not an image"
    assert caught.value.reason == "text, not an image"
    assert caught.value.exit_status == 2


def test_missing_files_folders_and_pipes_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    assert reason_for(tmp_path / "nothing.png") == "cannot be read: No such file or directory"
    assert reason_for(tmp_path) == "not a regular file"
    assert reason_for(tmp_path / "pipe") == "not a regular file"


def test_a_file_larger_than_any_allowed_image_is_not_read_into_memory(tmp_path):
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(2**40)  # a terabyte of holes

    assert reason_for(path).startswith(
        "file of 1099511627776 bytes, more than an image of max_pixels 1000000"
    )


@settings(max_examples=150, deadline=None)
@given(
    file_format=st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]),
    damage=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
    length=st.integers(0, 4000),
)
def test_damaged_bytes_are_either_read_or_refused_and_never_fail_otherwise(file_format, damage, length):
    content = bytearray(encoded(picture(), file_format)[:length])
    for position, value in damage:
        if position < len(content):
            content[position] = value

    with suppress(UnreadableExample):
        image = read_image(bytes(content), max_pixels=MAX_PIXELS)
        assert image.pixels.mode == "RGB"
        assert image.pixels.size == (image.width, image.height)


# --- conversions -------------------------------------------------------------------------------


def test_a_plain_image_comes_back_unchanged_and_without_a_note():
    image = read_image(encoded(picture(), "PNG"), max_pixels=MAX_PIXELS)

    assert (image.format, image.mode, image.width, image.height, image.note) == ("PNG", "RGB", 24, 16, None)
    assert np.array_equal(np.asarray(image.pixels), np.asarray(picture()))


def test_bytes_and_paths_give_the_same_image(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(encoded(picture(), "JPEG"))

    from_path = Images(image_spec(8), MAX_PIXELS).read(path)
    from_bytes = Images(image_spec(8), MAX_PIXELS).read(path.read_bytes())

    assert from_path.shape == (8, 8, 3)
    assert from_path.dtype == np.uint8
    assert np.array_equal(from_path, from_bytes)


def test_resizing_averages_what_it_drops():
    stripes_HW3 = np.zeros((64, 64, 3), np.uint8)
    stripes_HW3[:, ::2] = 255

    square = square_of(Image.fromarray(stripes_HW3), 8)

    assert square.min() > 120
    assert square.max() < 135


def test_resizing_stretches_and_keeps_the_corners():
    square = square_of(picture(200, 50), 10)

    assert square[0, 0, 0] < 20 < 235 < square[0, -1, 0]
    assert square[0, 0, 1] < 20 < 235 < square[-1, 0, 1]


def test_cmyk_is_converted_and_noted():
    cyan = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    image = read_image(encoded(cyan, "TIFF"), max_pixels=MAX_PIXELS)

    assert image.note == "CMYK converted to RGB"
    assert image.mode == "CMYK"
    assert image.pixels.getpixel((0, 0)) == (0, 255, 255)


def test_a_cmyk_jpeg_is_not_a_negative():
    nearly_white = Image.new("CMYK", (16, 16), (0, 0, 0, 10))

    assert pixels(encoded(nearly_white, "JPEG")).min() > 230


def test_sixteen_bit_grey_spans_black_to_white_without_clipping():
    ramp_HW = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = read_image(encoded(Image.fromarray(ramp_HW), "PNG"), max_pixels=MAX_PIXELS)

    assert image.mode.startswith("I")
    assert image.note == "16-bit grey scaled to 8 bits"
    assert np.array_equal(np.asarray(image.pixels)[..., 0].ravel(), np.arange(256))


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_sixteen_bit_tiff_of_either_byte_order_is_scaled(byte_order):
    image = read_image(
        grey_tiff(np.array([0, 257, 32896, 65535]), byte_order, bits=16), max_pixels=MAX_PIXELS
    )

    assert image.mode == {"<": "I;16", ">": "I;16B"}[byte_order]
    assert list(np.asarray(image.pixels)[0, :, 0]) == [0, 1, 128, 255]


def test_pillow_does_not_log_what_the_reason_says(caplog):
    content = grey_tiff(np.zeros(4), "<", bits=16).replace(
        struct.pack("<HHI", 277, 4, 1) + b"\x01", struct.pack("<HHI", 277, 4, 1) + b"\x2a"
    )

    assert reason_for(content).startswith("damaged or truncated TIFF")
    assert caplog.records == []


def test_twelve_bit_tiff_reaches_white():
    packed = np.array([0x000, 0xFFF], np.uint16)
    content = grey_tiff(packed, "<", bits=12, body=bytes([0x00, 0x0F, 0xFF]))

    assert list(pixels(content)[0, :, 0]) == [0, 255]


def grey_tiff(values: np.ndarray, byte_order: str, *, bits: int, body: bytes | None = None) -> bytes:
    """One row of grey in an uncompressed TIFF, written by hand: Pillow writes one byte order only."""
    body = values.astype(f"{byte_order}u2").tobytes() if body is None else body
    tags = [
        (256, len(values)),
        (257, 1),
        (258, bits),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 1),
        (279, len(body)),
    ]
    head = {"<": b"II*\0", ">": b"MM\0*"}[byte_order] + struct.pack(byte_order + "I", 8 + len(body))
    entries = b"".join(
        struct.pack(byte_order + "HHI", tag, 4, 1) + struct.pack(byte_order + "I", value)
        for tag, value in tags
    )
    return head + body + struct.pack(byte_order + "H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        pytest.param(
            np.array([[0, 65535]], np.int32), [0, 255], "32-bit grey scaled to 8 bits", id="I-in-16-bit-range"
        ),
        pytest.param(
            np.array([[-5, 95]], np.int32),
            [0, 255],
            "32-bit grey stretched from its own minimum and maximum to 8 bits",
            id="I-negative",
        ),
        pytest.param(
            np.array([[0, 0.5, 1]], np.float32),
            [0, 128, 255],
            "floating-point grey scaled to 8 bits",
            id="F-unit",
        ),
        pytest.param(
            np.array([[0, 128, 255]], np.float32),
            [0, 128, 255],
            "floating-point grey scaled to 8 bits",
            id="F-byte",
        ),
        pytest.param(
            np.array([[1e6, 2e6, 3e6]], np.float32),
            [0, 128, 255],
            "floating-point grey stretched from its own minimum and maximum to 8 bits",
            id="F-anything",
        ),
    ],
)
def test_32_bit_and_floating_point_grey_is_scaled_and_noted(values, expected, note):
    image = read_image(encoded(Image.fromarray(values), "TIFF"), max_pixels=MAX_PIXELS)

    assert list(np.asarray(image.pixels)[0, :, 0]) == expected
    assert image.note == note


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9, width=32), min_size=2, max_size=30))
def test_scaling_never_turns_the_order_of_two_greys_around(values):
    grey_HW = scale_to_8_bits(np.array([sorted(values)], np.float32), (1, 255, 65535)).grey_HW

    assert (np.diff(grey_HW.astype(int)) >= 0).all()


def test_the_range_that_a_workspace_sets_becomes_black_and_white_and_the_rest_is_clipped():
    image = read_image(
        encoded(Image.fromarray(np.array([[6000, 7000, 7199, 7400, 65535]], np.uint16)), "PNG"),
        max_pixels=MAX_PIXELS, grey_range=(7000, 7400),
    )  # fmt: skip

    assert list(np.asarray(image.pixels)[0, :, 0]) == [0, 0, 127, 255, 255]
    assert image.note == "16-bit grey scaled from 7000 to 7400 to 8 bits, as images.grey_range says"


def test_the_range_of_the_settings_is_in_the_spec_and_whoever_reads_by_the_spec_reads_the_same(tmp_path):
    content = encoded(Image.fromarray(np.array([[7000, 7400]] * 2, np.uint16)), "PNG")
    settings = ("images.size_px=8", f"images.max_pixels={MAX_PIXELS}", "images.grey_range=[7000, 7400]")
    trained = Images.of_params(photograph_params(*settings))

    served = Images.of_spec(
        spec_from_json(trained.spec.to_json(), origin="a model"), {"max_pixels": MAX_PIXELS}
    )

    assert (trained.read(content).min(), trained.read(content).max()) == (0, 255)
    assert np.array_equal(served.read(content), trained.read(content))
    assert Images(image_spec(8), MAX_PIXELS).read(content).max() < 40
    assert "grey_range" not in image_spec(8).to_json()  # models of older versions are read as before


def test_grey_of_8_bits_knows_no_range():
    content = encoded(Image.fromarray(np.array([[0, 100, 255]], np.uint8)), "PNG")

    with_range = read_image(content, max_pixels=MAX_PIXELS, grey_range=(50, 60))

    assert np.array_equal(with_range.pixels, read_image(content, max_pixels=MAX_PIXELS).pixels)
    assert with_range.scaled is None


@pytest.mark.parametrize(
    ("values", "share"),
    [
        (np.array([[7000, 7400]], np.uint16), 400 / 65535),
        (np.array([[0, 65535]], np.uint16), 1.0),
        (np.array([[0.25, 0.5]], np.float32), 0.25),
        (np.array([[-5, 95]], np.int32), 1.0),
        (np.array([[7, 7]], np.uint16), 0.0),
    ],
)
def test_how_much_of_its_range_deep_grey_uses_is_known(values, share):
    scaled = read_image(encoded(Image.fromarray(values), "TIFF"), max_pixels=MAX_PIXELS).scaled

    assert scaled is not None
    assert (scaled.low, scaled.high) == (values.min(), values.max())
    assert scaled.share == pytest.approx(share)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_on_white(mode):
    image = Image.new(mode, (2, 1))
    image.putpixel((0, 0), (0, 255) if mode == "LA" else (0, 0, 0, 255))

    read = read_image(encoded(image, "PNG"), max_pixels=MAX_PIXELS)

    assert read.note == "alpha laid on white"
    assert [read.pixels.getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0), (255, 255, 255)]


def test_half_transparent_is_half_white():
    content = encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG")

    assert abs(int(pixels(content)[0, 0, 0]) - 127) <= 1


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_a_palette_keeps_its_colors(file_format):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)

    read = read_image(encoded(image, file_format), max_pixels=MAX_PIXELS)

    assert (read.mode, read.note) == ("P", None)
    assert [read.pixels.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (0, 0, 255)]


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"], ids=["one-entry", "bytes"])
def test_a_palette_with_transparency_is_laid_on_white(transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)

    read = read_image(encoded(image, "PNG", transparency=transparency), max_pixels=MAX_PIXELS)

    assert read.note == "alpha laid on white"
    assert [read.pixels.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 255)]


def test_a_palette_beside_an_alpha_channel_is_laid_on_white():
    image = Image.new("RGBA", (2, 1), (0, 0, 255, 255))
    image.putpixel((0, 0), (255, 0, 0, 0))

    read = read_image(encoded(image.convert("PA"), "TIFF"), max_pixels=MAX_PIXELS)

    assert (read.mode, read.note) == ("PA", "alpha laid on white")
    assert read.pixels.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "see_through"), [("L", 7), ("I;16", 700), ("RGB", (7, 7, 7))])
def test_one_transparent_color_is_laid_on_white(mode, see_through):
    image = Image.new(mode, (2, 1))
    image.putpixel((0, 0), see_through)

    read = read_image(encoded(image, "PNG", transparency=see_through), max_pixels=MAX_PIXELS)

    assert "alpha laid on white" in (read.note or "")
    assert [read.pixels.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 0)]


def test_one_bit_is_black_and_white():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)

    assert pixels(encoded(image, "PNG"))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_shows_the_same_upright_picture(file_format, orientation):
    upright = Image.new("RGB", (32, 16), "black")
    upright.paste((255, 255, 255), (0, 0, 8, 8))  # white in the corner top left
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}

    image = read_image(encoded(stored, file_format, exif=exif, **options), max_pixels=MAX_PIXELS)

    assert (image.width, image.height) == (32, 16)
    assert np.abs(np.asarray(image.pixels).astype(int) - np.asarray(upright)).max() < 40


def test_a_broken_exif_block_does_not_cost_the_picture():
    image = read_image(
        encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), max_pixels=MAX_PIXELS
    )
    assert (image.width, image.height) == (24, 16)


def test_the_first_picture_of_a_multi_picture_jpeg_is_used_and_noted():
    content = encoded(picture(), "MPO", save_all=True, append_images=[Image.new("RGB", (24, 16), "red")])
    image = read_image(content, max_pixels=MAX_PIXELS)

    assert image.format == "JPEG"
    assert image.note == "first picture of a multi-picture JPEG"


def test_two_conversions_are_both_noted():
    exif = Image.Exif()
    exif[0x0112] = 3
    content = encoded(Image.new("RGBA", (4, 4)), "PNG", exif=exif)

    assert (
        read_image(content, max_pixels=MAX_PIXELS).note == "alpha laid on white; turned by EXIF orientation"
    )


# --- when it was taken -------------------------------------------------------------------------


def taken(content: bytes) -> float | None:
    return read_image(content, max_pixels=MAX_PIXELS).captured_at


def camera_block(time: object, fraction: object = None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0132] = "2030:01:01 00:00:00"  # when it was last edited
    camera = {0x9003: time, 0x9291: fraction}
    exif.get_ifd(0x8769).update({tag: value for tag, value in camera.items() if value is not None})
    return exif


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_the_time_is_the_cameras(file_format):
    content = encoded(picture(), file_format, exif=camera_block("2024:05:01 12:30:45", "25"))

    assert taken(content) == 1714566645.25


@pytest.mark.parametrize(
    ("time", "fraction", "expected"),
    [
        ("2024:05:01 12:30:45", None, 1714566645.0),
        ("2024:05:01 12:30:45", "  ", 1714566645.0),
        ("2024:05:01 12:30:45", "1e9", 1714566645.0),
        ("0000:00:00 00:00:00", None, None),
        ("    :  :     :  :  ", None, None),
        ("yesterday", None, None),
        (None, "25", None),
    ],
)
def test_a_clock_that_was_not_set_says_nothing(time, fraction, expected):
    assert taken(encoded(picture(), "JPEG", exif=camera_block(time, fraction))) == expected


def test_a_fraction_in_digits_of_another_kind_does_not_cost_the_picture():
    content = encoded(picture(), "JPEG", exif=camera_block("2024:05:01 12:30:45", "987"))
    assert content.count(b"987\0") == 1

    assert taken(content.replace(b"987\0", b"\xb2\xb2\xb2\0")) == 1714566645.0  # superscript twos in Latin-1


def test_a_picture_without_a_camera_has_no_time():
    assert taken(encoded(picture(), "PNG")) is None
    assert taken(encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")) is None


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_torn_camera_block_does_not_cost_the_picture(data):
    content = bytearray(encoded(picture(), "JPEG", exif=camera_block("2024:05:01 12:30:45", "25")))
    name = content.index(b"Exif\0\0")
    end = name - 2 + int.from_bytes(content[name - 2 : name])  # the two bytes before the name hold the length
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(name + 6, end - 1))] = data.draw(st.integers(0, 255))

    assert read_image(bytes(content), max_pixels=MAX_PIXELS).width in (16, 24)
