import pytest

from medkit.ops.shallow_convolution import missing_room


@pytest.mark.parametrize(
    ("kernel", "dilation", "stride", "sizes", "expected"),
    [
        ((3, 3, 3), (1, 1, 1), (1, 1, 1), (3, 3, 3), [0, 0, 0]),
        ((3, 3, 3), (1, 1, 1), (1, 1, 1), (9, 9, 2), [0, 0, 1]),
        ((1, 1, 7), (1, 1, 1), (1, 1, 2), (1, 1, 7), [0, 0, 1]),
        ((3, 3), (1, 2), (1, 1), (9, 5), [0, 0]),
        ((3, 3), (1, 2), (1, 1), (1, 4), [2, 1]),
    ],
)
def test_voxels_that_a_kernel_lacks_along_each_axis(kernel, dilation, stride, sizes, expected):
    assert missing_room(kernel, dilation, stride, sizes) == expected
