"""What pyproject.toml cannot say: `bundles/` becomes `medkit/_bundles/` inside a wheel.

Bundles under non-commercial terms (`"commercial_use": false` in their metadata) stay out of it.
"""

import json
from pathlib import Path

from setuptools import find_packages, setup

SHIPPED = (
    "LICENSE", "configs/*.json", "configs/logging.conf", "docs/*.md", "docs/*.png", "models/model.pt",
)  # fmt: skip


def may_ship(bundle: Path) -> bool:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    return metadata.get("commercial_use", True)


bundles = sorted(path.parent.parent for path in Path("bundles").glob("*/configs/metadata.json"))
shipped = {f"medkit._bundles.{path.name}": path for path in bundles if may_ship(path)}

setup(
    packages=[*find_packages(include=["medkit", "medkit.*"]), *shipped],
    package_dir={name: str(path) for name, path in shipped.items()},
    package_data={
        **{name: list(SHIPPED) for name in shipped},
        "medkit": ["py.typed", "**/*.json", "**/*.j2"],
    },
)
