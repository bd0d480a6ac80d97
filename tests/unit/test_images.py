"""Labelled images: the same from a zip and a folder, and refused in a sentence where they are not what they seem."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.core.errors import ObjectNotFoundError, RequestError, SwathError, UnreadableSceneError
from services.training import images as images_module
from services.training.images import read_labelled_images
from tests.classifiers import COLOURS, image_bytes, image_files, write_folder, write_zip
from tests.rasters import ramp, write_raster


def under(root: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{root}/{name}": body for name, body in files.items()}


def test_every_image_is_read_with_the_class_of_its_folder(tmp_path: Path) -> None:
    images = read_labelled_images(write_folder(tmp_path / "data", image_files()))

    assert images.classes == ("Blue", "Green", "Red")
    assert images.names[:2] == ("Blue/Blue_0.png", "Blue/Blue_1.png")
    assert images.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert (images.pixels.shape, images.pixels.dtype) == ((12, 3, 16, 16), np.uint8)
    for index, label in enumerate(images.labels):
        means = images.pixels[index].mean(axis=(1, 2))
        np.testing.assert_allclose(means, list(COLOURS.values())[label], atol=6)


def test_pixels_are_those_that_pillow_shows(tmp_path: Path) -> None:
    body = image_bytes((90, 100, 110), kind="JPEG")

    images = read_labelled_images(write_zip(tmp_path / "data.zip", {"A/x.jpg": body}))

    np.testing.assert_array_equal(images.pixels[0].transpose(1, 2, 0), np.asarray(Image.open(io.BytesIO(body))))


def test_a_zip_its_folder_and_one_with_another_root_have_one_digest(tmp_path: Path) -> None:
    files = image_files()
    sources = [
        write_folder(tmp_path / "plain", files),
        write_folder(tmp_path / "rooted", under("EuroSAT_RGB", files)),
        write_zip(tmp_path / "data.zip", under("EuroSAT_RGB", dict(reversed(files.items())))),
    ]

    digests = {read_labelled_images(source).digest for source in sources}

    assert len(digests) == 1


def test_one_changed_byte_or_one_other_name_is_another_digest(tmp_path: Path) -> None:
    files = image_files()
    moved = files | {"Red/other.png": files["Red/Red_0.png"]}
    moved.pop("Red/Red_0.png")
    changed = files | {"Red/Red_0.png": image_bytes((210, 20, 30), seed=99)}

    digests = [
        read_labelled_images(write_zip(tmp_path / f"{n}.zip", f)).digest for n, f in enumerate((files, moved, changed))
    ]

    assert len(set(digests)) == 3


def test_what_systems_leave_behind_is_not_looked_at(tmp_path: Path) -> None:
    files = image_files()
    junk = {"__MACOSX/Red/._Red_0.png": b"x", "Red/._a.png": b"x", "README.txt": b"x", "Red/Thumbs.db": b"x"}

    images = read_labelled_images(write_zip(tmp_path / "data.zip", files | junk))

    assert len(images) == len(files)


def test_a_name_that_climbs_out_of_the_zip_touches_no_disk(tmp_path: Path) -> None:
    files = {f"../../Red/{n}.png": image_bytes((1, 2, 3), seed=n) for n in range(2)}
    source = tmp_path / "a" / "b" / "data.zip"
    source.parent.mkdir(parents=True)

    images = read_labelled_images(write_zip(source, files))

    assert images.names == ("Red/0.png", "Red/1.png")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [source]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"Red/bad.png": b"no image"}, UnreadableSceneError, "image Red/bad.png is damaged"),
        ({"Red/cut.png": image_bytes((1, 2, 3))[:-200]}, UnreadableSceneError, "image Red/cut.png is damaged"),
        ({"Red/large.png": image_bytes((1, 2, 3), px=17)}, RequestError, "Red/large.png 17x17"),
        ({"Grey/": b""}, RequestError, "class Grey of data.zip holds no images"),
        ({"Red/deep/x.png": image_bytes((1, 2, 3))}, RequestError, "several depths"),
        ({"x.png": image_bytes((1, 2, 3))}, RequestError, "several depths"),
    ],
)
def test_one_wrong_file_is_named(tmp_path: Path, change: dict, error: type[SwathError], said: str) -> None:
    source = write_zip(tmp_path / "data.zip", image_files() | change)

    with pytest.raises(error, match=said):
        read_labelled_images(source)


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", image_files())
    (root / "Grey").mkdir()

    with pytest.raises(RequestError, match="class Grey of data holds no images"):
        read_labelled_images(root)


@pytest.mark.parametrize(
    ("mode", "kind", "said"),
    [
        ("RGBA", "TIFF", "4 bands of 8 bit numbers"),
        ("LA", "PNG", "2 bands of 8 bit numbers"),
        ("I;16", "TIFF", "16 bit numbers"),
        ("I;16", "PNG", "16 bit numbers"),
        ("F", "TIFF", "32 bit numbers"),
        ("CMYK", "JPEG", "CMYK, not 8 bit colours"),
    ],
)
def test_other_than_8_bit_colours_are_refused(tmp_path: Path, mode: str, kind: str, said: str) -> None:
    body = io.BytesIO()
    Image.new(mode, (16, 16)).save(body, kind)

    with pytest.raises(RequestError, match=f"image A/x.{kind.lower()} stores {said}"):
        read_labelled_images(write_zip(tmp_path / "data.zip", {f"A/x.{kind.lower()}": body.getvalue()}))


@pytest.mark.parametrize(
    ("driver", "profile", "said"),
    [
        ("PNG", {}, "16 bit numbers"),
        ("GTiff", {"photometric": "RGB"}, "16 bit numbers"),
        ("GTiff", {"interleave": "band"}, "16 bit numbers"),
        ("GTiff", {"count": 5}, "5 bands of 16 bit numbers"),
    ],
)
def test_one_image_of_16_bits_among_others_is_refused_for_its_depth(
    tmp_path: Path, driver: str, profile: dict, said: str
) -> None:
    deep = write_raster(
        tmp_path / "deep", ramp((profile.get("count", 3), 16, 16)), driver=driver, crs=None, **profile
    ).read_bytes()
    name = f"Red/deep.{'png' if driver == 'PNG' else 'tif'}"

    with pytest.raises(RequestError, match=f"image {name} stores {said}; write"):
        read_labelled_images(write_zip(tmp_path / "data.zip", image_files() | {name: deep}))


def test_an_image_that_would_unpack_to_a_giant_is_refused_before_it_does(tmp_path: Path) -> None:
    body = io.BytesIO()
    Image.new("L", (5000, 5000)).save(body, "PNG")

    with pytest.raises(RequestError, match="5000x5000 pixels, which is no chip"):
        read_labelled_images(write_zip(tmp_path / "data.zip", {"A/x.png": body.getvalue()}))


def test_a_giant_that_pillow_warns_of_is_refused_in_our_words_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # one of 16 by 16 pixels is a warning, and here an error
    monkeypatch.setattr(images_module, "_LARGEST_IMAGE_PX", 100)
    with pytest.raises(RequestError, match="16x16 pixels, which is no chip"):
        read_labelled_images(write_zip(tmp_path / "data.zip", image_files()))


def test_an_entry_of_a_zip_without_a_name_is_no_image(tmp_path: Path) -> None:
    source = write_zip(tmp_path / "data.zip", image_files())
    whole = read_labelled_images(source)
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("x", b"")
        archive.filelist[-1].filename = ""  # the directory is written from this when the zip is closed
    assert read_labelled_images(source).digest == whole.digest


@pytest.mark.parametrize(("name", "body"), [("cut.zip", b"PK\x03\x04 and no more"), ("text.zip", b"hello")])
def test_what_is_no_zip_is_refused(tmp_path: Path, name: str, body: bytes) -> None:
    (tmp_path / name).write_bytes(body)

    with pytest.raises(UnreadableSceneError, match=f"{name} is no intact zip"):
        read_labelled_images(tmp_path / name)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_a_zip_is_refused(tmp_path: Path, method: int) -> None:
    source = tmp_path / "data.zip"
    with zipfile.ZipFile(source, "w", method) as archive:
        for name, body in image_files().items():
            archive.writestr(name, body)
    body = bytearray(source.read_bytes())
    body[len(body) // 3 : len(body) // 3 + 40] = bytes(40)
    source.write_bytes(body)

    with pytest.raises(SwathError, match=r"data\.zip|image "):
        read_labelled_images(source)


def test_nothing_there_and_nothing_in_it_are_two_sentences(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFoundError, match="neither a zip nor a folder"):
        read_labelled_images(tmp_path / "absent.zip")
    with pytest.raises(RequestError, match="holds no images"):
        read_labelled_images(write_zip(tmp_path / "empty.zip", {"README.txt": b"x"}))
