"""Batches of heads: checked on the way in, recorded, and made again to the last bit."""

from __future__ import annotations

import json

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from medkit.errors import UsageError
from medkit.transforms.synthesis.acquisition import Acquisition
from medkit.transforms.synthesis.brain import brain_generator, intra_subject_brain_generator
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.gamma import Gamma
from medkit.transforms.synthesis.generator import Generator
from medkit.transforms.synthesis.intensities import Intensities
from medkit.transforms.synthesis.label_scheme import LabelScheme
from medkit.transforms.synthesis.mirroring import Mirroring
from medkit.transforms.synthesis.real_image import RealImage
from tests.head_phantom import head
from tests.transforms.synthesis.drawn import rng

SIZE = (24, 28, 26)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
OTHER = brain_scheme().opposite_table(torch.device("cpu"))[head().long()]
BATCH = torch.cat([head(), OTHER])


@pytest.fixture(scope="module")
def generator():
    return brain_generator(SIZE)


def assert_equal(one, other):
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(one.lesions, other.lesions)
    assert one.record == other.record


@pytest.mark.parametrize("device", DEVICES)
def test_what_comes_out(generator, device):
    found = generator(BATCH.to(device), rng())
    assert found.image.shape == found.labels.shape == found.lesions.shape == (2, 1, *SIZE)
    assert found.image.dtype == found.lesions.dtype == torch.float32
    assert found.labels.dtype == torch.int32
    assert found.image.device.type == found.labels.device.type == found.lesions.device.type == device
    assert found.image.min() >= 0
    assert found.image.max() <= 1
    assert found.image.std() > 0.01
    assert len(found.record) == 2
    learned = {structure.target for structure in brain_scheme().structures}
    assert set(found.labels.unique().tolist()) <= learned
    assert len(found.labels.unique()) > 5


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(12))
def test_a_record_from_json_makes_the_same_again(generator, seed, device):
    labels = BATCH.to(device)
    real = torch.rand(labels.shape, generator=rng(9)).to(device)
    found = generator(labels, rng(seed), real)
    record = json.loads(json.dumps(found.record, allow_nan=False))
    assert record == found.record
    assert_equal(generator.replay(labels, record, real), found)


def test_a_record_from_ranges_of_its_own_makes_the_same_again(generator):
    found = generator(BATCH, rng(1))
    steps = list(generator.steps.steps)
    narrow = next(place for place, step in enumerate(steps) if isinstance(step, Gamma))
    steps[narrow] = Gamma(0.0)
    assert_equal(Generator(brain_scheme(), steps).replay(BATCH, found.record), found)


def test_a_record_from_another_size_is_refused(generator):
    found = generator(BATCH, rng(1))
    with pytest.raises(UsageError, match=r"Deformation: expected one that was made with .*\[32, 36, 34\]"):
        brain_generator((32, 36, 34)).replay(BATCH, found.record)


def test_a_record_from_another_scheme_is_refused():
    scheme = brain_scheme()
    other = LabelScheme([*scheme.structures][::-1])  # its tissues have other numbers
    found = Generator(scheme, [Intensities(scheme)])(BATCH, rng(1))
    assert_equal(Generator(scheme, [Intensities(brain_scheme())]).replay(BATCH, found.record), found)
    with pytest.raises(UsageError, match="Intensities: expected one that was made with"):
        Generator(other, [Intensities(other)]).replay(BATCH, found.record)


def test_a_batch_is_its_heads_one_by_one(generator):
    source = rng(3)
    alone = [generator(each[None], source) for each in BATCH]
    together = generator(BATCH, rng(3))
    for number, one in enumerate(alone):
        assert torch.equal(together.image[number], one.image[0])
        assert torch.equal(together.labels[number], one.labels[0])
        assert together.record[number] == one.record[0]


def test_the_same_state_gives_the_same_and_another_another(generator):
    assert_equal(generator(BATCH, rng(1)), generator(BATCH, rng(1)))
    assert not torch.equal(generator(BATCH, rng(1)).image, generator(BATCH, rng(2)).image)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_both_devices_draw_the_same_and_make_the_same_labels(generator):
    one, other = (generator(BATCH.to(device), rng(5)) for device in ("cpu", "cuda"))
    assert one.record == other.record
    assert (one.labels != other.labels.cpu()).float().mean() < 1e-3, "places that lie halfway are rounded"


@pytest.mark.parametrize("device", DEVICES)
def test_the_precision_of_a_training_is_not_that_of_the_anatomy(generator, device):
    expected = generator(BATCH.to(device), rng(4))
    with torch.autocast(device, torch.bfloat16):
        found = generator(BATCH.to(device), rng(4))
    assert found.image.dtype == torch.float32
    assert_equal(found, expected)


def test_nothing_else_is_disturbed(generator):
    labels, state = BATCH.clone(), torch.get_rng_state()
    generator(labels, rng())
    assert torch.equal(labels, BATCH)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "change",
    [
        torch.Tensor.long,
        torch.Tensor.short,
        lambda x: x.to(torch.uint16),
        MetaTensor,
        lambda x: x.mT.contiguous().mT,
    ],
)
def test_kinds_of_labels(generator, change):
    found = generator(change(BATCH), rng(2))
    assert type(found.image) is type(found.labels) is torch.Tensor
    assert_equal(found, generator(BATCH, rng(2)))


def test_a_real_scan_comes_through():
    steps = [Intensities(brain_scheme()), RealImage(1.0, (1.0, 1.0), 0, 100)]
    real = torch.rand(head().shape)
    found = Generator(brain_scheme(), steps)(head(), rng(), MetaTensor(real))
    assert type(found.image) is torch.Tensor
    assert torch.allclose(found.image, (real - real.min()) / (real.max() - real.min()), atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            head().numpy(),
            r"labels: expected a tensor \(B, 1, D, H, W\), got ndarray; make one, such as by torch",
        ),
        (head()[0], r"labels: expected \(B, 1, D, H, W\), got \(1, 40, 48, 44\); add the axes"),
        (head().expand(1, 2, -1, -1, -1), r"labels: expected \(B, 1, D, H, W\), got \(1, 2, 40, 48, 44\)"),
        (head()[:0], r"labels: expected \(B, 1, D, H, W\), got \(0, 1, "),
        (head().float(), r"labels: expected integers, got torch\.float32; round and convert them"),
        (head() > 0, r"labels: expected integers, got torch\.bool"),
        (head() + 1, r"expected values of the scheme \(54 of them, 0 to 530\), got 1; .* set them to 0"),
        (-head(), r"expected values of the scheme"),
        (head().long() + 2**32, r"expected values of the scheme .* got 4294967296, "),
        ((head() + 1000).to(torch.uint16), r"expected values of the scheme .* got 1000, "),
    ],
)
def test_labels_that_are_refused(generator, labels, message):
    with pytest.raises(UsageError, match=message):
        generator(labels, rng())


@pytest.mark.parametrize("seed", [0, None, head()])
def test_a_seed_alone_is_refused(generator, seed):
    expected = rf"rng: expected a torch\.Generator on the CPU, got {type(seed).__name__}; .*manual_seed\(0\)"
    with pytest.raises(UsageError, match=expected):
        generator(BATCH, seed)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_random_numbers_of_a_gpu_are_refused(generator):
    with pytest.raises(UsageError, match=r"rng: expected a torch\.Generator on the CPU, .* got one on cuda"):
        generator(BATCH, torch.Generator("cuda"))


def test_a_size_of_one_number_is_refused():
    for make in (brain_generator, intra_subject_brain_generator):
        with pytest.raises(
            UsageError, match="size: expected three whole numbers of at least 2, got 32; correct it"
        ):
            make(32)


def test_scans_of_another_shape_are_refused(generator):
    with pytest.raises(
        UsageError, match=r"real: expected scans on the grid of the labels, \(2, 1, .* resample them"
    ):
        generator(BATCH, rng(), torch.rand(1, 1, 4, 4, 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scans_that_are_not_finite_are_refused(generator, value):
    real = torch.zeros(BATCH.shape)
    real[1, 0, 20, 24, 22] = value
    with pytest.raises(UsageError, match="real: expected finite numbers, got NaN or infinity; set them to 0"):
        generator(BATCH, rng(), real)


def test_steps_that_make_no_image_are_refused():
    with pytest.raises(UsageError, match="expected an image, got labels alone"):
        Generator(brain_scheme(), [Mirroring(brain_scheme())])(head(), rng())
    with pytest.raises(UsageError, match="expected an image, got labels alone"):
        Generator(brain_scheme(), [Gamma(), Intensities(brain_scheme())])(head(), rng())


def test_records_of_something_else_are_refused(generator):
    record = generator(BATCH, rng()).record
    with pytest.raises(UsageError, match="expected a record of 2 heads, one for each label map, got 1"):
        generator.replay(BATCH, record[:1])
    less = {**record[1], "steps": record[1]["steps"][1:]}
    with pytest.raises(UsageError, match=r"expected the steps .* replay it with the steps that made it"):
        generator.replay(BATCH, [record[0], less])
    several = intra_subject_brain_generator(SIZE)(BATCH, rng()).record
    with pytest.raises(UsageError, match=r"expected the steps .*, got None; replay it"):
        generator.replay(BATCH, several)
    for strange, got in ((record[0]["steps"], "list"), ({"steps": []}, r"\['steps'\]"), ("nothing", "str")):
        with pytest.raises(
            UsageError, match=rf"record: expected an object a head, with .* got {got}; pass the"
        ):
            generator.replay(BATCH, [strange, record[1]])


def with_another_voxel(maps):
    changed = maps.clone()
    changed[1, 0, 20, 24, 22] = 0
    return changed


OTHER_MAPS = {
    "one voxel": with_another_voxel,
    "mirrored": lambda maps: torch.cat([maps[:1], maps[1:].flip(2)]),
    "another order": lambda maps: maps.flip(0),
    "another size": lambda maps: maps[..., :-1],
    "the same values in another shape": lambda maps: maps.reshape(2, 1, 48, 40, 44),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("change", OTHER_MAPS.values(), ids=OTHER_MAPS)
def test_other_label_maps_are_refused(generator, device, change):
    """By the first of them; what was expected, what came, and what to do are told."""
    record = json.loads(json.dumps(generator(BATCH.to(device), rng()).record))
    told = r"\(40, 48, 44\) with SHA-256 [0-9a-f]{12}\.\.\., got \(\d+, \d+, \d+\) with SHA-256 [0-9a-f]{12}"
    expected = (
        rf"labels: expected the label map that head [01] of the record was made from, {told}.*; pass the same"
    )
    with pytest.raises(UsageError, match=expected):
        generator.replay(change(BATCH).to(device), record)


def test_other_scans_are_refused(generator):
    real = torch.rand(BATCH.shape, generator=rng(9))
    record = generator(BATCH, rng(), real).record
    expected = r"real: expected the scan that head 0 of the record was made from, \(40, 48, 44\) with .*, got"
    with pytest.raises(UsageError, match=f"{expected} none; pass the same"):
        generator.replay(BATCH, record)
    with pytest.raises(UsageError, match=rf"{expected} \(40, 48, 44\) with .*; pass the same"):
        generator.replay(BATCH, record, real + 1)
    with pytest.raises(UsageError, match=r"made from, none, got \(40, 48, 44\) with"):
        generator.replay(BATCH, generator(BATCH, rng()).record, real)


def test_a_config_may_name_the_steps():
    place = "medkit.transforms.synthesis"
    parser = ConfigParser(
        {
            "scheme": {"_target_": f"{place}.brain_labels.brain_scheme"},
            "generator": {
                "_target_": f"{place}.generator.Generator",
                "scheme": "@scheme",
                "steps": [
                    {
                        "_target_": f"{place}.deformation.Deformation",
                        "size": [16, 16, 16],
                        "rotation": [0, 5],
                    },
                    {"_target_": f"{place}.intensities.Intensities", "scheme": "@scheme", "std": [0, 0.05]},
                    {
                        "_target_": f"{place}.acquisition.Acquisition",
                        "resolution": {"_target_": f"{place}.resolution.Resolution", "voxel": [1, 3]},
                        "faults": [{"_target_": f"{place}.ghosts.Ghosts", "probability": 1.0}],
                    },
                ],
            },
        }
    )
    generator = parser.get_parsed_content("generator")
    assert isinstance(generator.steps.steps[-1], Acquisition)
    found = generator(head(), rng())
    assert found.image.shape == (1, 1, 16, 16, 16)
    assert_equal(generator.replay(head(), json.loads(json.dumps(found.record))), found)
