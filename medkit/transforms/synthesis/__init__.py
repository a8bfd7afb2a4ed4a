"""Images of the brain made from label maps, with every contrast, resolution and fault that a scan may have.

Each step draws its parameters from a generator on the CPU, the same for every device, and applies them without
chance: what is recorded can be made again. MONAI's random transforms draw as they apply, from numpy, voxel by voxel for
some, and keep no parameters that JSON could hold; so none serves here.

What belongs here: the steps, one a file, and what puts them together. What does not: reading label maps (``data``) and
feeding a training (``training``).
"""
