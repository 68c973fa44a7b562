"""The demo's pictures show the digits that were asked about, and whether the answers were right."""

import numpy as np

from app.cli.demo import SPEC
from worker.answer_digits import draw, held_out


def test_pictures_stand_beside_each_other_over_their_answers() -> None:
    images_NCHW = np.array([[[[0, 255], [255, 0]]], [[[255, 255], [0, 0]]]], dtype=np.uint8)

    drawn = draw(images_NCHW, np.array([7, 1]), np.array([7, 3]))

    assert drawn.splitlines() == [
        "  ██   ████",
        "██         ",
        "it says 7   it says 3, it is 1",
    ]


def test_the_demo_asks_about_test_digits_only() -> None:
    images_NCHW, labels_N = held_out(SPEC, 4)

    assert images_NCHW.shape == (4, 1, 8, 8)
    assert images_NCHW.max() > 200
    assert len(labels_N) == 4
