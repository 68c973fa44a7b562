"""A view is a function of (seed, epoch, example id) and of nothing else."""

import numpy as np
import pytest
import torch

from app.contracts.training import AnyAugmentation, Flip, ShiftCrop
from worker.distillation.views import augment, epoch_order, step_seed

IDS = torch.arange(4000)
BOTH: list[AnyAugmentation] = [Flip(), ShiftCrop(pixels=2)]


def views_of(ids_B: torch.Tensor, seed: int = 0, epoch: int = 1) -> torch.Tensor:
    images = torch.arange(1.0, 37.0).reshape(1, 1, 6, 6) + 100 * (ids_B % 7)[:, None, None, None]
    return augment(images, ids_B, BOTH, seed, epoch)


def moves(pixels: int, seed: int = 0) -> list[tuple[int, int]]:
    """Return where one white pixel in the middle went, for each id."""
    side = 2 * pixels + 1
    images = torch.zeros(len(IDS), 1, side, side)
    images[:, :, pixels, pixels] = 1
    shifted = augment(images, IDS, [ShiftCrop(pixels=pixels)], seed, epoch=1)
    assert shifted.sum() == len(IDS)  # none lost, none doubled
    places = shifted.flatten(1).argmax(dim=1)
    return [(int(place) // side - pixels, int(place) % side - pixels) for place in places]


def test_a_view_does_not_depend_on_the_batch_it_is_made_in() -> None:
    ids = IDS[:50]
    together = views_of(ids)

    one_by_one = torch.cat([views_of(ids[i : i + 1]) for i in range(len(ids))])
    shuffle = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))

    assert torch.equal(one_by_one, together)
    assert torch.equal(views_of(ids[shuffle]), together[shuffle])


@pytest.mark.parametrize(("seed", "epoch"), [(0, 2), (1, 1), (2**63 - 1, 1)])
def test_another_seed_or_epoch_gives_other_views(seed: int, epoch: int) -> None:
    assert not torch.equal(views_of(IDS[:50], seed, epoch), views_of(IDS[:50]))


def test_augmenting_leaves_the_given_images_alone() -> None:
    images = torch.rand(8, 1, 6, 6)
    before = images.clone()

    augment(images, IDS[:8], BOTH, seed=0, epoch=1)

    assert torch.equal(images, before)


def test_no_augmentation_gives_the_images() -> None:
    images = torch.rand(8, 3, 6, 6)

    assert torch.equal(augment(images, IDS[:8], [], seed=0, epoch=1), images)


def test_half_of_the_images_are_mirrored_and_the_rest_untouched() -> None:
    images = torch.tensor([[1.0, 2.0]]).expand(len(IDS), 1, 1, 2)

    flipped = augment(images, IDS, [Flip()], seed=0, epoch=1)[:, 0, 0]

    mirrored = (flipped == torch.tensor([2.0, 1.0])).all(dim=1)
    untouched = (flipped == torch.tensor([1.0, 2.0])).all(dim=1)
    assert (mirrored ^ untouched).all()
    assert 0.46 < mirrored.float().mean() < 0.54  # 5 standard deviations


def test_every_shift_is_as_likely() -> None:
    counts = {move: moves(pixels=1).count(move) for move in set(moves(pixels=1))}

    assert set(counts) == {(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
    expected = len(IDS) / 9
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_squared < 26.1  # 8 degrees of freedom: exceeded once in a thousand seeds


def test_a_shift_fills_with_black() -> None:
    shifted = augment(torch.ones(64, 1, 6, 6), IDS[:64], [ShiftCrop(pixels=3)], seed=0, epoch=1)

    assert set(shifted.unique().tolist()) == {0.0, 1.0}
    assert shifted.flatten(1).sum(dim=1).min() < 36


def test_two_shifts_in_a_row_are_drawn_apart() -> None:
    image = torch.zeros(len(IDS), 1, 9, 9)
    image[:, :, 4, 4] = 1
    once = ShiftCrop(pixels=2)

    twice = augment(image, IDS, [once, once], seed=0, epoch=1).flatten(1).argmax(dim=1)

    odd_columns = (twice % 9 - 4) % 2 == 1  # never, if the second repeated the first
    assert odd_columns.any()


def test_all_channels_of_an_image_move_together() -> None:
    images = torch.rand(32, 1, 6, 6).expand(32, 3, 6, 6)

    views = augment(images, IDS[:32], BOTH, seed=0, epoch=1)

    assert torch.equal(views, views[:, :1].expand_as(views))


def test_an_epoch_visits_each_example_once() -> None:
    ids = np.arange(5, 1000, 3)

    order = epoch_order(ids, seed=0, epoch=1)

    assert sorted(order.tolist()) == ids.tolist()
    assert order.tolist() != ids.tolist()


def test_the_order_does_not_depend_on_how_the_ids_are_given() -> None:
    ids = np.arange(100)

    assert (epoch_order(ids[::-1], 0, 1) == epoch_order(ids, 0, 1)).all()


def test_every_epoch_and_seed_has_its_own_order() -> None:
    orders = [epoch_order(np.arange(100), *of).tolist() for of in [(0, 1), (0, 2), (1, 1), (1, 0)]]

    assert len({tuple(order) for order in orders}) == 4


def test_each_example_is_as_often_early_as_late() -> None:
    orders = np.stack([epoch_order(np.arange(20), seed=0, epoch=epoch) for epoch in range(2000)])
    places = np.argsort(orders, axis=1)

    # A mean place is 9.5 with a standard error of 5.77 / sqrt(2000) = 0.13.
    assert np.abs(places.mean(axis=0) - 9.5).max() < 0.6


def test_every_step_has_a_seed_that_a_generator_takes() -> None:
    seeds = {step_seed(seed, step) for seed in (0, 1, 2**63 - 1) for step in range(1000)}

    assert len(seeds) == 3000
    for seed in (min(seeds), max(seeds)):
        torch.Generator().manual_seed(seed)
    assert min(seeds) >= 0
    assert max(seeds) < 2**63


def test_the_bits_never_change_between_releases() -> None:
    """A resumed run, or a cache made by an earlier version, must see the same views."""
    assert step_seed(0, 1) == 7212702559424432673
    assert epoch_order(np.arange(8), seed=0, epoch=1).tolist() == [4, 5, 7, 1, 0, 3, 2, 6]
    assert moves(pixels=1)[:6] == [(1, 0), (-1, 0), (-1, 0), (-1, -1), (1, 0), (0, -1)]
