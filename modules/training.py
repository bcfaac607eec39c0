"""Entry point of the Trainer: trains and exports a classifier from TFX's arguments."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from modules.contract import features, progress
from modules.contract.errors import UserError
from modules.contract.hparams import HParams, TextSettings, TrainingSettings
from modules.encoders import names as encoders
from modules.export import signatures
from modules.fit import multi_worker, training_loop
from modules.fit.batches import TokenizedTexts
from modules.fit.checkpoints import fingerprint
from modules.fit.input_pipeline import read_examples
from modules.fit.precision import resolve_precision
from modules.network import model


def run_fn(fn_args: Any) -> None:
    """Train and export a classifier; called by the TFX Trainer.

    Args:
        fn_args: ``tfx.components.FnArgs``. ``custom_config`` holds "text", "hparams" and
            "training" as JSON; the Tuner's ``hyperparameters`` override hparams.

    Raises:
        UserError: the data or settings cannot train a classifier.
    """
    workers = multi_worker.join()  # must come before any TensorFlow operation
    config = fn_args.custom_config
    text_settings = TextSettings.from_json(config["text"])
    settings = TrainingSettings.from_json(config["training"])
    hparams = with_tuned(HParams.from_json(config["hparams"]), fn_args.hyperparameters)
    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    run = make_run(
        fn_args, transform_output, text_settings, hparams, settings, texts=settings.expected_answers
    )
    run = dataclasses.replace(run, workers=workers)
    outcome = training_loop.train(run)
    if run.writes:
        progress.emit(progress.EXPORT_STARTED, component="Trainer")
        export_run(run, outcome, text_settings, transform_output, fn_args.serving_model_dir)
        training_loop.remove_checkpoint(run)
    if workers:
        workers.wait_for_all()  # a worker that exits early looks as if it had crashed


def with_tuned(hparams: HParams, tuned: Mapping[str, Any] | None) -> HParams:
    """Return the hyper-parameters with the Tuner's values in place of the config's.

    Args:
        hparams: hyper-parameters of the config.
        tuned: ``keras_tuner.HyperParameters.get_config()``, or None.
    """
    values = (tuned or {}).get("values", {})
    names = {field.name for field in dataclasses.fields(HParams)}
    return dataclasses.replace(hparams, **{k: v for k, v in values.items() if k in names})


def label_names(transform_output: tft.TFTransformOutput) -> tuple[str, ...]:
    """Return the labels in Transform's vocabulary, in the order of their ids."""
    names = transform_output.vocabulary_by_name(features.LABEL_VOCABULARY)
    return tuple(name.decode() for name in names)


def make_run(
    fn_args: Any,
    transform_output: tft.TFTransformOutput,
    text_settings: TextSettings,
    hparams: HParams,
    settings: TrainingSettings,
    texts: int = 0,
) -> training_loop.TrainingRun:
    """Read the train and eval splits and assemble the inputs of a training run.

    Args:
        fn_args: ``tfx.components.FnArgs``.
        transform_output: Transform's output, with the labels.
        text_settings: settings that turn text into tokens.
        hparams: hyper-parameters.
        settings: other settings of the run.
        texts: number of raw eval texts to keep.

    Raises:
        UserError: the encoder cannot be loaded, or cannot read texts of the maximum length.
    """
    settings = dataclasses.replace(settings, precision=resolve_precision(settings.precision))
    encoder = encoders.load_encoder(text_settings.encoder)
    if text_settings.max_length > encoder.max_positions:
        raise UserError(
            f"trainer.max_length is {text_settings.max_length}, but encoder {encoder.name} reads "
            f"at most {encoder.max_positions} tokens; lower trainer.max_length"
        )
    train = read_examples(fn_args.train_files)
    run = training_loop.TrainingRun(
        encoder=encoder,
        train=train,
        evaluation=read_examples(fn_args.eval_files, texts=texts),
        labels=label_names(transform_output),
        hparams=hparams,
        settings=settings,
        log_directory=_log_directory(fn_args, settings),
        monitor=settings.early_stopping_metric,
    )
    if not settings.checkpoint_directory:
        return run
    name = run_fingerprint(run, text_settings)[:32]
    directory = os.path.join(settings.checkpoint_directory, name)
    return dataclasses.replace(run, checkpoint_directory=directory)


def _log_directory(fn_args: Any, settings: TrainingSettings) -> str:
    if not settings.tensorboard or not fn_args.model_run_dir:
        return ""
    return os.path.join(fn_args.model_run_dir, "tensorboard")


def data_fingerprint(data: TokenizedTexts) -> str:
    """Return a hex digest of the tokens and labels of a split."""
    digest = hashlib.sha256()
    for array in (data.tokens, data.offsets, data.labels):
        digest.update(array.tobytes())
    return digest.hexdigest()


def run_fingerprint(run: training_loop.TrainingRun, text_settings: TextSettings) -> str:
    """Return a hex digest of everything that the trained weights depend on."""
    settings = run.settings.to_dict()
    for name in (
        "checkpoint_directory",
        "checkpoint_every_steps",
        "tensorboard",
        "expected_answers",
    ):
        del settings[name]
    return fingerprint(
        run.hparams.to_dict(),
        text_settings.to_dict(),
        settings,
        run.encoder.fingerprint,
        run.labels,
        data_fingerprint(run.train),
        data_fingerprint(run.evaluation),
    )


def export_run(
    run: training_loop.TrainingRun,
    outcome: training_loop.TrainedModel,
    text_settings: TextSettings,
    transform_output: tft.TFTransformOutput | None,
    directory: str,
) -> None:
    """Export the model of a run in float32, independent of the precision in training.

    Args:
        run: inputs of the training run.
        outcome: its result.
        text_settings: settings that turn text into tokens.
        transform_output: Transform's output; None tokenises with ``modules.preprocessing``.
        directory: folder to write to, created if missing.
    """
    with training_loop.dtype_policy("float32"):
        served = model.build_like(outcome.model, run.encoder, run.hparams)
    served.set_weights(outcome.model.get_weights())
    texts = [text.decode("utf-8", "replace") for text in run.evaluation.texts]
    signatures.export(
        served,
        run.encoder,
        text_settings,
        transform_output,
        run.labels,
        directory,
        model_card=model_card(run, outcome, text_settings),
        answer_texts=texts,
        answer_tokens=[run.evaluation.token_ids(i).tolist() for i in range(len(texts))],
    )


def model_card(
    run: training_loop.TrainingRun, outcome: training_loop.TrainedModel, text_settings: TextSettings
) -> dict[str, Any]:
    """Return the model card: properties and provenance of the model, as JSON values."""
    return {
        "encoder": run.encoder.name,
        "encoder_fingerprint": run.encoder.fingerprint,
        "text": text_settings.to_dict(),
        "hparams": run.hparams.to_dict(),
        "precision": run.settings.precision,
        "seed": run.settings.seed,
        "labels": list(run.labels),
        "train_examples": len(run.train),
        "eval_examples": len(run.evaluation),
        "data_fingerprint": data_fingerprint(run.train),
        "metrics": outcome.metrics,
        "code_digest": run.settings.code_digest,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }
