"""What pyproject.toml cannot say: `bundles/` becomes `medkit/_bundles/` in a wheel, and `medkit/ops/csrc` a library.

Bundles under non-commercial terms (`"commercial_use": false` in their metadata) stay out of it. The library is
optional: where it cannot be compiled, medkit computes the same with PyTorch alone. It knows neither PyTorch nor
Python, which hands it pointers.
"""

import json
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

OPENMP = "-fopenmp"
KERNELS = Extension(
    "medkit.ops._native",
    sources=sorted(map(str, Path("medkit/ops/csrc").glob("*.c"))),
    depends=sorted(map(str, Path("medkit/ops/csrc").glob("*.h"))),
    # Not -ffast-math: linked with it, gcc's start code rounds tiny numbers to zero in the whole process.
    extra_compile_args=[
        "-std=c11",
        "-O3",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fno-strict-aliasing",
        "-fvisibility=hidden",
        OPENMP,
    ],
    extra_link_args=[OPENMP],
    optional=True,
)
SHIPPED = (
    "LICENSE", "configs/*.json", "configs/logging.conf", "docs/*.md", "docs/*.png", "models/model.pt",
)  # fmt: skip


def may_ship(bundle: Path) -> bool:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    return metadata.get("commercial_use", True)


class BuildKernels(build_ext):
    def build_extension(self, extension: Extension) -> None:
        try:
            super().build_extension(extension)
        except (CompileError, LinkError):  # a compiler without OpenMP: one thread is better than none
            for arguments in (extension.extra_compile_args, extension.extra_link_args):
                arguments.remove(OPENMP)
            super().build_extension(extension)


bundles = sorted(path.parent.parent for path in Path("bundles").glob("*/configs/metadata.json"))
shipped = {f"medkit._bundles.{path.name}": path for path in bundles if may_ship(path)}

setup(
    packages=[*find_packages(include=["medkit", "medkit.*"]), *shipped],
    cmdclass={"build_ext": BuildKernels},
    ext_modules=[KERNELS],
    package_dir={name: str(path) for name, path in shipped.items()},
    package_data={
        **{name: list(SHIPPED) for name in shipped},
        "medkit": ["py.typed", "**/*.css", "**/*.json", "**/*.j2"],
    },
)
