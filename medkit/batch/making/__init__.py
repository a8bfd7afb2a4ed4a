"""From a claimed study to results on disk: read it and choose its bundles, predict, write.

What belongs here: the stages, what they share, and what their errors mean for a study. What does not: who claims and
how stages overlap (``service``), and sending (``delivery``). There is no prediction of its own here: a volume runs
through ``medkit.inference`` as its file would.
"""

from __future__ import annotations

from medkit.batch.making.bundles import BundleSettings, BundleShelf
from medkit.batch.making.context import MakingContext, Outputs
from medkit.batch.making.known import KnownBundle, known_bundles
from medkit.batch.making.predicting import StudyPredicted, predict_study
from medkit.batch.making.publishing import remove_debris
from medkit.batch.making.purging import purge_results
from medkit.batch.making.reading import StudyRead, read_study
from medkit.batch.making.study import PREDICT, READ, WRITE, Ended, attempt, ended, finish, make_study
from medkit.batch.making.writing import StudyWritten, write_study

__all__ = [
    "PREDICT",
    "READ",
    "WRITE",
    "BundleSettings",
    "BundleShelf",
    "Ended",
    "KnownBundle",
    "MakingContext",
    "Outputs",
    "StudyPredicted",
    "StudyRead",
    "StudyWritten",
    "attempt",
    "ended",
    "finish",
    "known_bundles",
    "make_study",
    "predict_study",
    "purge_results",
    "read_study",
    "remove_debris",
    "write_study",
]
