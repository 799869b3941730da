import dataclasses
from contextlib import nullcontext
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from nets.assigner import GroundTruth
from nets.versions import VERSIONS
from tests.threaded_workers import run_workers
from tests.tiny_run import CLASSES, RECIPE, make_trainer, resume_trainer
from utils.data.images import read_image
from utils.data.letterbox import letterbox
from utils.errors import JobError
from utils.run import RunDirectory
from utils.training.callbacks import Curves
from utils.training.progress import Progress
from utils.training.validation import Validation
from utils.training.validation_pass import ValidationPass
from utils.training.workers import Workers
from utils.weights.tensorfiles import read_h5

pytestmark = pytest.mark.usefixtures("eagerly")
TIMED = dataclasses.replace(RECIPE, epochs=None, max_minutes=10.0)


class Killed(BaseException):
    """Ends a run at once, as SIGKILL would."""


@pytest.fixture
def scores(monkeypatch):
    """mAP of the coming validations, which then run no network."""
    coming = []
    monkeypatch.setattr(
        Validation,
        "_measure",
        lambda self, samples: {"map50": coming[0], "map": coming.pop(0), "val_loss": 1.0},
    )
    return coming


def tensors(path):
    return {name: values for name, (_, values) in read_h5(path).items()}


def run(trainer, samples, path):
    validation = Validation(trainer, samples, CLASSES, RunDirectory(path))
    trainer.run([validation])


def test_run_killed_while_it_saves_the_best_weights_saves_them_when_resumed(
    samples, tmp_path, scores, monkeypatch
):
    scores += [0.1, 0.5, 0.3]
    killed, written = make_trainer(samples, tmp_path), []
    save = RunDirectory.save_best_weights

    def save_once(directory, *args):
        if written:
            raise Killed
        written.append(save(directory, *args))

    monkeypatch.setattr(RunDirectory, "save_best_weights", save_once)
    with pytest.raises(Killed):
        run(killed, samples, tmp_path)
    first = (tmp_path / "best.weights.h5").read_bytes()

    monkeypatch.setattr(RunDirectory, "save_best_weights", save)
    resumed = resume_trainer(samples, tmp_path)
    assert [row["map"] for row in resumed.progress.validated] == [0.1, 0.5]
    with resumed.averaged():
        expected = [variable.numpy() for variable in resumed.detector.variables]
    run(resumed, samples, tmp_path)
    assert (tmp_path / "best.weights.h5").read_bytes() != first
    resumed.detector.load_weights(tmp_path / "best.weights.h5")
    for variable, value in zip(resumed.detector.variables, expected, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_run_killed_after_a_new_best_never_replaces_it_by_worse_weights(
    samples, tmp_path, scores, monkeypatch
):
    scores += [0.1, 0.5]
    trainer, saved = make_trainer(samples, tmp_path), []
    monkeypatch.setattr(trainer, "_save_or_stop", lambda losses: None)  # no state in between
    save = RunDirectory.save_best_weights

    def save_then_die(directory, *args):
        saved.append(save(directory, *args))
        if len(saved) == 2:
            raise Killed

    monkeypatch.setattr(RunDirectory, "save_best_weights", save_then_die)
    with pytest.raises(Killed):
        run(trainer, samples, tmp_path)
    best = tensors(tmp_path / "best.weights.h5")
    scores[:] = [0.3]  # better than the first one
    monkeypatch.setattr(RunDirectory, "save_best_weights", save)
    resumed = resume_trainer(samples, tmp_path)
    run(resumed, samples, tmp_path)
    assert [row["map"] for row in resumed.progress.validated] == [0.1, 0.5, 0.3]
    assert resumed.progress.best["epoch"] == 2
    for name, values in tensors(tmp_path / "best.weights.h5").items():
        np.testing.assert_array_equal(values, best[name])


def test_loss_is_that_of_the_set_as_one_batch_without_padding(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.training.validation_pass.BATCH_SIZE", 3)  # four images: 3 and 1
    detector = make_trainer(samples, tmp_path).detector
    _, losses = ValidationPass(detector, samples).measure(samples)

    images, boxes = [], []
    for sample in samples:
        canvas, fit = letterbox(read_image(sample.image), (64, 64))
        images.append(canvas)
        boxes.append(fit.forward(sample.boxes))
    logits = detector(np.stack(images).astype(np.float32), training=False)
    truth = GroundTruth(tf.stack(boxes), tf.stack([sample.labels for sample in samples]))
    expected, _ = detector.loss_of(logits, truth, (64, 64))
    assert losses == pytest.approx({name: float(term) for name, term in expected.items()}, 1e-5)


def test_workers_that_share_out_the_images_all_get_the_whole_result(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.training.validation_pass.BATCH_SIZE", 3)  # two of three have images
    detector = make_trainer(samples, tmp_path).detector
    found, losses = ValidationPass(detector, samples).measure(samples)
    assert sum(map(len, found)) > 0
    for share in run_workers(3, lambda w: ValidationPass(detector, samples, w).measure(samples)):
        assert share[1] == pytest.approx(losses, rel=1e-6)
        for one, other in zip(share[0], found, strict=True):
            np.testing.assert_array_equal(one.boxes, other.boxes)
            np.testing.assert_array_equal(one.scores, other.scores)
            np.testing.assert_array_equal(one.labels, other.labels)


def test_detections_are_those_of_a_predictor(samples, tmp_path):
    from utils.evaluation.evaluator import predict_samples
    from utils.evaluation.settings import BATCH_SIZE, THRESHOLDS
    from utils.inference.engines.keras import KerasEngine
    from utils.inference.predictor import Predictor

    detector = make_trainer(samples, tmp_path).detector
    found, _ = ValidationPass(detector, samples).measure(samples)
    predictor = Predictor(KerasEngine(detector, THRESHOLDS, BATCH_SIZE))
    for one, other in zip(found, predict_samples(predictor, samples, False), strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only validations advance: 2 s per batch of 8 images."""
    seconds = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])

    def measure(self, samples):
        seconds[0] += 2.0 * -(-len(samples) // 8)
        return {"map50": 0.5, "map": 0.5, "val_loss": 1.0}

    monkeypatch.setattr(Validation, "_measure", measure)
    return seconds


def timed(samples, path, progress, workers=None, saved=None):
    """A validation callback whose trainer has no network."""
    detector = SimpleNamespace(input_size=(64, 64), anchors=VERSIONS["v4"].anchor_array)
    trainer = SimpleNamespace(
        detector=detector,
        progress=progress,
        seconds_to_save=1.0,
        workers=workers or Workers(),
        averaged=nullcontext,
        save=lambda: None,
    )
    save = (lambda *args: None) if saved is None else (lambda *args: saved.append(workers.index))
    directory = SimpleNamespace(save_best_weights=save)
    return Validation(trainer, samples, CLASSES, directory)


def test_time_of_the_last_validation_is_reserved_before_the_first_step(samples, tmp_path, clock):
    progress = Progress(TIMED, steps_per_epoch=10, started=0.0)
    timed([*samples] * 100, tmp_path, progress).on_train_begin()
    assert clock[0] == 2.0 + 2.0 * 4  # a first image, and 32 more
    assert progress.budget.validation == 2.0 * 50 + 2.0  # 400 images by 8, and two files
    assert progress.budget.reserved == 102.0 + 3.0
    assert progress.share == 0.0
    clock[0] += (600 - 105 - 10) / 2
    assert progress.share == pytest.approx(0.5)

    resumed = Progress(TIMED, steps_per_epoch=10, started=clock[0])
    resumed.restore(progress.to_json())
    before = clock[0]
    timed([*samples] * 100, tmp_path, resumed).on_train_begin()
    assert clock[0] == before + 2.0  # the graph is traced, but nothing is measured again
    assert resumed.budget.validation == progress.budget.validation
    assert resumed.share == pytest.approx(0.5)


@pytest.mark.parametrize("seconds", [90.0, 115.5])  # 115 s for validations and the end
def test_no_time_to_train_is_an_error(samples, tmp_path, clock, seconds):
    progress = Progress(dataclasses.replace(TIMED, max_minutes=seconds / 60), 10, started=0.0)
    with pytest.raises(JobError, match=r"validating 400 images takes about 100 s.*--max-minutes"):
        timed([*samples] * 100, tmp_path, progress).on_train_begin()


def test_validation_takes_no_time_from_the_schedule(samples, tmp_path, clock):
    progress = Progress(TIMED, steps_per_epoch=10, started=0.0)
    validation = timed([*samples] * 10, tmp_path, progress)
    validation.on_train_begin()
    clock[0] += 200.0
    share = progress.share
    progress.end_epoch(0.1)
    logs = {}
    validation.on_epoch_end(0, logs)
    assert logs == {"map50": 0.5, "map": 0.5, "val_loss": 1.0}
    assert progress.share == pytest.approx(share)
    assert progress.history[0]["measured_at"] == pytest.approx(share)
    assert progress.budget.spent == 2.0 * 5 + 2.0  # 40 images by 8, and two files


def test_workers_agree_on_the_time_and_only_the_chief_saves(samples, tmp_path, clock, monkeypatch):
    monkeypatch.setattr("time.monotonic_ns", lambda: int(1e9 * clock[0]))
    saved = []

    def train(workers):
        progress = Progress(TIMED, 10, workers.now(), workers.now)
        validation = timed(samples, tmp_path, progress, workers, saved)
        validation.set_model(None)
        validation.on_train_begin()
        if workers.is_chief:
            clock[0] += 200.0
        workers.update_time()
        progress.end_epoch(0.1)
        validation.on_epoch_end(0, {})
        return progress.to_json()

    chief, other = run_workers(2, train)
    assert chief == other
    assert saved == [0]


def test_first_validation_waits_until_it_is_affordable(samples, tmp_path, clock):
    progress = Progress(TIMED, steps_per_epoch=10, started=0.0)
    validation = timed([*samples] * 60, tmp_path, progress)  # 62 s: more than a tenth of 600 s
    validation.on_train_begin()
    clock[0] += 400.0
    progress.end_epoch(0.1)
    validation.on_epoch_end(0, {})
    assert not progress.validated
    clock[0] = 600.0
    progress.end_epoch(0.1)
    validation.on_epoch_end(1, {})
    assert [row["epoch"] for row in progress.validated] == [2]


def test_run_whose_time_passes_after_an_epoch_is_still_validated(samples, tmp_path, clock):
    trainer = make_trainer(samples, tmp_path, TIMED, started=0.0)
    progress, directory = trainer.progress, RunDirectory(tmp_path)

    def pass_time(epoch, logs):
        clock[0] += 600.0

    later = keras.callbacks.LambdaCallback(on_epoch_end=pass_time)
    validation = Validation(trainer, samples, CLASSES, directory)
    trainer.run([validation, Curves(progress, directory), later])
    assert progress.step == 2  # one epoch
    assert [row["epoch"] for row in progress.history] == [1, 2]
    assert [row["epoch"] for row in progress.validated] == [2]
    assert directory.best_weights.is_file()
    assert resume_trainer(samples, tmp_path, TIMED, started=clock[0]).progress.is_complete


def test_validation_that_takes_the_rest_of_the_time_is_the_last(samples, tmp_path, clock):
    progress = Progress(TIMED, steps_per_epoch=10, started=0.0)
    validation = timed([*samples] * 10, tmp_path, progress)  # 10 s, and 5 s for files and the end
    validation.on_train_begin()
    clock[0] = 580.0
    progress.end_epoch(0.1)
    assert progress.share_at_end < 1.0
    validation.on_epoch_end(0, {})
    assert progress.validated and progress.is_complete
