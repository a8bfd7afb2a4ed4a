"""Steps of nested transforms, in order."""

from __future__ import annotations

from monai.transforms import Compose, Flipd, Orientationd

from medkit.transforms.steps import flat_steps


def test_nested_steps_in_order():
    one, two, three = Flipd("image", 0), Orientationd("image", axcodes="RAS", labels=None), Flipd("image", 1)
    assert list(flat_steps(Compose([one, Compose([two, Compose([])]), three]))) == [one, two, three]
    assert list(flat_steps(one)) == [one]
