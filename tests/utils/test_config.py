import dataclasses
import json

import pytest

from utils.config import Recipe, RunConfig
from utils.errors import UserError
from utils.json_records import from_json


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["recipe"].update(epoch=3), "unknown key 'epoch'.*did you mean epochs"),
        (lambda c: c.update(backbone=7), "backbone is 7"),
        (lambda c: c["yolo"].update(ignore_iou="high"), "ignore_iou is 'high'"),
        (lambda c: c.update(input_size=[416]), "input_size has 1 numbers, it must have 2"),
        (lambda c: c["yolo"].update(scale_xy=[1.0, "a"]), "scale_xy is 'a'"),
        (lambda c: c["yolo"].update(neck_channels=[64.5]), "neck_channels is 64.5"),
        (lambda c: c["convention"].update(padding="same"), "padding is 'same'"),
        (lambda c: c.pop("width"), "lacks 'width'"),
        (lambda c: c["yolo"].update(neck="spp_pannet"), "neck is 'spp_pannet'; .* spp_panet"),
        (lambda c: c["yolo"].pop("neck_channels"), "yolo lacks 'neck_channels'"),
        (lambda c: c.update(recipe=[]), "must be a Recipe object"),
        (lambda c: c["recipe"].update(optimizer="adam"), "optimizer is 'adam'; .* adamw, sgd"),
        (lambda c: c["recipe"].update(strategy=1), "strategy is 1; .* single, mirrored"),
        (lambda c: c["recipe"].update(weight_decay=float("nan")), "weight_decay is nan.* finite"),
        (lambda c: c.update(width=float("-inf")), "width is -inf, it must be a finite number"),
        (lambda c: c.update(width=10**400), "width is 10*[.]{3}0*, it must be a finite number"),
        (lambda c: c["yolo"].update(scale_xy=[1.0, -float("inf")]), "scale_xy is -inf"),
        (lambda c: c["convention"].update(mean=[0.0, float("nan"), 0.0]), "mean is nan"),
        (lambda c: c["convention"].update(std=[0, 0, 0]), "std is .*; it must be greater than 0"),
        (lambda c: c["convention"].update(std=[1, 1, -1]), "std is .*; it must be greater than 0"),
        (lambda c: c["convention"].update(bn_epsilon=0), "bn_epsilon is 0; it must be greater"),
        (lambda c: c.update(backbone=["x" * 80] * 1000), r"backbone is \['xxx.{,250}a string"),
        (lambda c: c["recipe"].update(optimizer="adam"), "did you mean adamw. choose one of adamw"),
        (lambda c: c["recipe"].update(precision=["x"]), "precision is .'x'.; choose one of auto"),
        (lambda c: c["recipe"].update(jit=1), "jit is 1, it must be true or false"),
        (lambda c: c["recipe"].update(epochs="ten"), "'ten', it must be a number or null"),
        (lambda c: c.update(resize="crop"), "resize is 'crop'; .* letterbox, stretch"),
        (lambda c: c["recipe"].update(epochs=0), "epochs is 0; it must be greater than 0"),
        (lambda c: c["recipe"].update(batch_size=-8), "batch_size is -8; it must be greater"),
        (lambda c: c["recipe"].update(save_every=0), "save_every is 0; it must be greater than 0"),
        (lambda c: c["recipe"].update(freeze_share=1.5), r"freeze_share is 1.5; .* within 0\.\.1"),
        (lambda c: c["recipe"].update(max_minutes=None), "epochs and max_minutes are both null"),
        (lambda c: c["yolo"].update(objectness_balance=[1]), "balance for 1 levels; v4 has 3"),
    ],
)
def test_an_invalid_document_is_an_error_that_names_the_key(run_config, change, message):
    document = json.loads(json.dumps(dataclasses.asdict(run_config)))
    change(document)
    with pytest.raises(UserError, match=message) as caught:
        from_json(RunConfig, document, "run.json")
    assert "run.json" in str(caught.value)


def test_a_config_is_restored_from_json(run_config):
    document = json.loads(json.dumps(dataclasses.asdict(run_config)))
    assert from_json(RunConfig, document, "run.json") == run_config


@pytest.mark.parametrize("field", ["optimizer", "precision", "strategy"])
def test_an_unknown_choice_in_a_recipe_is_an_error(field):
    with pytest.raises(ValueError, match=f"{field} is 'unknown'; choose one of "):
        Recipe(**{field: "unknown"})
