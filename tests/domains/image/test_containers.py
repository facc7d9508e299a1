"""Files that are small in bytes and dear to decode are refused by their structure; what cameras write is not."""

import struct
import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageSequence, PngImagePlugin

from benchmarks import hostile_files
from tasks.domains.contract import UnreadableExample
from tasks.domains.image import containers
from tasks.domains.image.decode import read_image

MAX_PIXELS = 25_000_000


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: hostile_files.jpeg_of_scans(3000, side=500), "JPEG of more than 64 scans"),
        (lambda: b"\xff\xd8" + b"\xff\xfe\x00\x02" * 1_000_000, "JPEG of more than 4096 segments"),
        (hostile_files.png_of_crumbs, "PNG in 1261 chunks of less than 64 bytes each"),
        (hostile_files.png_of_texts, "PNG of more than 32 texts"),
        (lambda: hostile_files.flat_png(7000, "L"), "claims 7000 x 7000 px, more than max_pixels 25000000"),
        (hostile_files.tiff_of_pages, "TIFF of more than 1000 pages"),
        (hostile_files.tiff_of_shared_tags, "TIFF whose tags claim 943718400 bytes of a file of 1059390"),
        (lambda: hostile_files.tiff_of_shared_tags(2000, 8), "TIFF of 2000 tags, more than 1024"),
        (hostile_files.gif_of_frames, "animated, more than 1000 frames"),
        (hostile_files.gif_of_crumbs, "GIF in 1058 blocks of less than 64 bytes each"),
        (lambda: b"GIF89a" + bytes(7) + b"?" * 4_000_000, "GIF in 1041 blocks of less than 64 bytes each"),
        (hostile_files.webp_of_claims, "claims 16383 x 16383 px"),
        (hostile_files.jpeg_2000_of_tiles, "JPEG 2000 of 262144 tiles, more than 4096"),
    ],
)  # fmt: skip
def test_a_file_that_asks_for_more_than_an_image_of_its_size_needs_is_refused_at_once(make, reason):
    content = make()
    began = time.process_time()
    with pytest.raises(UnreadableExample) as caught:
        read_image(content, max_pixels=MAX_PIXELS)

    assert caught.value.reason.startswith(reason)
    assert time.process_time() - began < 1


def test_a_page_that_points_at_itself_ends_the_walk():
    content = bytearray(hostile_files.tiff_of_pages(2))
    content[-4:] = content[4:8]

    with pytest.raises(UnreadableExample, match="TIFF of 2 pages"):
        read_image(bytes(content), max_pixels=MAX_PIXELS)


def noise(side: int = 300) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


def saved(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"progressive": True, "quality": 95}),
        ("JPEG", {"restart_marker_blocks": 1}),
        ("JPEG", {"exif": b"Exif\0\0" + b"\xff\xda" * 30_000, "icc_profile": b"\xff\xda" * 100_000}),
        ("MPO", {"save_all": True, "append_images": [noise(), noise()], "progressive": True}),
        ("PNG", {}),
        ("PNG", {"icc_profile": bytes(100_000)}),
        ("GIF", {"comment": b"x" * 60_000}),
        ("TIFF", {"compression": "tiff_lzw", "strip_size": 1}),
        ("TIFF", {"big_tiff": True}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
        ("JPEG2000", {"tile_size": (64, 64)}),
        ("AVIF", {}),
        ("BMP", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value) or "as it is",
)
def test_what_ordinary_encoders_write_is_read(file_format, options):
    image = read_image(saved(noise(), file_format, **options), max_pixels=MAX_PIXELS)

    assert (image.width, image.height) == (300, 300)


def with_text(text: str, *, kind: str) -> bytes:
    """A PNG with a text of some kind."""
    info = PngImagePlugin.PngInfo()
    match kind:
        case "tEXt":
            info.add_text("prompt", text)
        case "zTXt":
            info.add_text("prompt", text, zip=True)
        case "iTXt":
            info.add_itxt("prompt", text)
        case "iTXt, compressed":
            info.add_itxt("prompt", text, lang="en", tkey="Eingabe", zip=True)
    return saved(noise(), "PNG", pnginfo=info)


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iTXt, compressed"])
def test_long_metadata_of_a_healthy_png_costs_it_nothing(kind):
    image = read_image(with_text("a picture of a dog " * 120_000, kind=kind), max_pixels=MAX_PIXELS)

    assert np.array_equal(image.pixels, noise())
    assert image.note == "long metadata left out"


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iTXt, compressed"])
def test_short_metadata_of_a_png_stays(kind):
    content = with_text("a picture of a dog " * 100, kind=kind)

    assert containers.contents_of(content, "PNG").without_metadata is None
    assert read_image(content, max_pixels=MAX_PIXELS).note is None


def test_a_long_colour_profile_of_a_png_costs_it_nothing():
    image = read_image(saved(noise(), "PNG", icc_profile=bytes(2**21)), max_pixels=MAX_PIXELS)

    assert image.note == "long metadata left out"


def raw_file(order: str, *, tag: int, value: int, begins: bytes = b"") -> bytes:
    """A camera's raw file as far as its first page: a preview of 1 px, and what marks it as one."""
    tags = [
        (254, 0),
        (256, 1),
        (257, 1),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 1),
        (279, 1),
    ]
    entries = dict([*tags, (tag, value)])
    packed = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 16) + begins.ljust(8, b"\0")
    return head + struct.pack(f"{order}H", len(entries)) + packed + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "mark", [{"tag": 254, "value": 1}, {"tag": 50706, "value": 0x01040000}, {"tag": 254, "value": 0, "begins": b"CR\2"}],
    ids=["preview first", "DNG", "CR2"],
)  # fmt: skip
def test_the_preview_in_a_cameras_raw_file_is_not_taken_for_the_picture(order, mark):
    with pytest.raises(
        UnreadableExample, match="TIFF with a camera's raw picture, of which the preview would be read"
    ):
        read_image(raw_file(order, **mark), max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_that_says_that_it_is_no_preview_is_read(order):
    assert read_image(raw_file(order, tag=254, value=0), max_pixels=MAX_PIXELS).width == 1


def test_a_video_behind_a_picture_adds_no_scan_to_it():
    content = saved(noise(), "JPEG") + b"\xff\xda" * 10_000

    assert read_image(content, max_pixels=MAX_PIXELS).width == 300


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_frames_and_pages_are_counted_as_pillow_counts_them(frames):
    for file_format in ("GIF", "TIFF"):
        content = saved(
            noise(), file_format, save_all=True, append_images=[noise(200 + n) for n in range(frames - 1)]
        )
        with Image.open(BytesIO(content)) as image:
            assert sum(1 for _ in ImageSequence.Iterator(image)) == frames
        assert containers.contents_of(content, file_format).num_frames == frames


@pytest.mark.parametrize(
    "options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}]
)
def test_the_size_of_a_webp_is_known_before_it_is_opened(options):
    content = saved(noise(300).crop((0, 0, 300, 17)), "WEBP", **options)

    assert containers.contents_of(content, "WEBP").size == (300, 17)


def test_a_long_exif_block_is_not_read_and_does_not_cost_the_picture():
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + bytes(2**21)
    image = read_image(saved(noise(), "WEBP", exif=exif), max_pixels=MAX_PIXELS)

    assert image.note == "EXIF unreadable, taken as upright"
