"""Lightning modules, data modules, callbacks and MLflow tracking: how a bundle's network is trained.

What belongs here: what a bundle's `train.json` names. What does not: networks, losses and metrics, which know
nothing of Lightning.
"""
