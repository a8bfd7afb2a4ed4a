import torch
from monai.data import DataLoader
from monai.transforms import Compose, RandGaussianNoise

from medkit.data.keyed import EpochSampler, FixedDraws, KeyedDataset


def keys(epoch: int, *, size: int = 5, samples: int = 12, seed: int = 3) -> list[tuple[int, int]]:
    return list(EpochSampler(size, samples, seed, lambda: epoch))


def test_epoch_covers_every_item_before_it_repeats_one():
    indices = [index for _, index in keys(0)]
    assert len(indices) == 12
    assert sorted(indices[:5]) == sorted(indices[5:10]) == [0, 1, 2, 3, 4]


def test_order_depends_on_epoch_and_seed_alone():
    assert keys(1) == keys(1)
    assert keys(1) != keys(2)
    assert keys(1) != keys(1, seed=4)


def test_no_draw_is_repeated_within_or_between_epochs():
    drawn = [draw for epoch in range(3) for draw, _ in keys(epoch)]
    assert len(set(drawn)) == len(drawn) == 36


def samples(num_workers: int, epoch: int = 0) -> torch.Tensor:
    items = [torch.zeros(1, 4) for _ in range(5)]
    dataset = KeyedDataset(items, Compose([RandGaussianNoise(prob=1.0)]), seed=7)
    sampler = EpochSampler(5, 10, 7, lambda: epoch)
    return torch.cat(list(DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=num_workers)))


def test_augmentation_is_the_same_whatever_the_workers():
    alone = samples(0)
    assert torch.equal(alone, samples(2))
    assert not torch.equal(alone, samples(2, epoch=1))


def test_same_case_twice_in_an_epoch_is_augmented_twice():
    values = samples(0)
    assert len({tuple(row.tolist()) for row in values.flatten(1)}) == 10


def test_fixed_draws_are_the_same_every_time_and_of_every_item():
    items = [torch.full((1, 4), 100.0 * number) for number in range(3)]
    dataset = FixedDraws(items, Compose([RandGaussianNoise(prob=1.0)]), seed=7, draws=2)
    values = [torch.stack(list(dataset)) for _ in range(2)]
    assert torch.equal(*values)
    assert (values[0].mean((1, 2)) / 100).round().tolist() == [0, 1, 2, 0, 1, 2]
    assert len({tuple(row.tolist()) for row in values[0].flatten(1)}) == len(dataset) == 6
