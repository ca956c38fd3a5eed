"""Images name what they are built from and what serves them."""

import re

import pytest
from encore.images.wheels import REQUIREMENTS
from encore.registry.images import Image, load_images


@pytest.mark.parametrize("image", load_images().values(), ids=lambda image: image.file)
def test_an_image_names_a_base_that_can_be_pulled_and_requirements_that_exist(image: Image) -> None:
    assert re.fullmatch(r"encore-[a-z]+\.sif", image.file)
    assert image.bases[-1].bootstrap == "docker"
    assert image.python is not None and image.requirements
    for name in image.requirements:
        assert (REQUIREMENTS / f"{name}.txt").is_file()


def test_digests_are_whole_or_absent() -> None:
    for image in load_images().values():
        for digest in (image.digest, *(base.digest for base in image.bases)):
            assert digest is None or re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
