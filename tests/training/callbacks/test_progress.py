import math
from types import SimpleNamespace

import pytest

from medkit.training.callbacks.progress import Progress


class Told:
    def __init__(self):
        self.steps, self.epochs, self.cases, self.dice = [], [], [], {}

    def step(self, *numbers):
        self.steps.append(numbers)

    def epoch(self, report):
        self.epochs.append(report)

    def scoring(self, *numbers):
        self.cases.append(numbers)

    def scores(self, dice):
        self.dice = dice


def test_epochs_count_from_one_and_a_dice_belongs_to_its_own():
    told = Told()
    progress = Progress(told)
    trainer = SimpleNamespace(max_epochs=2, num_training_batches=3, callback_metrics={"train_loss": 0.5})
    for epoch in range(2):
        trainer.current_epoch = epoch
        progress.on_train_epoch_start(trainer, None)
        for step in range(3):
            progress.on_train_batch_end(trainer, None, None, None, step)
        if epoch == 0:
            trainer.callback_metrics["val_dice"] = 0.7
            progress.on_validation_end(trainer, None)
        progress.on_train_epoch_end(trainer, None)
    assert told.steps == [(1, 2, 1, 3), (1, 2, 2, 3), (1, 2, 3, 3), (2, 2, 1, 3), (2, 2, 2, 3), (2, 2, 3, 3)]
    first, last = told.epochs
    assert (first.number, first.epochs, first.loss, first.dice) == (1, 2, 0.5, 0.7)
    assert (last.number, last.dice, last.remaining_s) == (2, None, 0)
    assert first.remaining_s == pytest.approx(first.seconds)


def test_a_module_that_logs_nothing():
    told = Told()
    progress = Progress(told)
    trainer = SimpleNamespace(max_epochs=1, current_epoch=0, callback_metrics={})
    progress.on_train_epoch_start(trainer, None)
    progress.on_validation_end(trainer, None)
    progress.on_train_epoch_end(trainer, None)
    (report,) = told.epochs
    assert math.isnan(report.loss)
    assert report.dice is None


def test_cases_are_counted_while_they_are_scored():
    told = Told()
    progress, trainer = Progress(told), SimpleNamespace(num_test_batches=[3])
    progress.on_test_start(trainer, None)
    for number in range(3):
        progress.on_test_batch_end(trainer, None, None, None, number)
    assert told.cases == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_scores_go_by_the_names_of_labels():
    told = Told()
    metrics = {"test_dice_left_kidney": 0.8, "test_dice": 0.7, "train_loss": 1.0, "test_dice_spleen": 0.6}
    Progress(told).on_test_end(SimpleNamespace(callback_metrics=metrics), None)
    assert list(told.dice.items()) == [("mean", 0.7), ("left kidney", 0.8), ("spleen", 0.6)]
