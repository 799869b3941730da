import dataclasses
import json

import pytest

from nets.backbones import resolve
from nets.versions import VERSIONS
from utils.config import Recipe, RunConfig
from utils.errors import UserError


@pytest.fixture
def config():
    return RunConfig(
        backbone="ghostnet",
        width=0.5,
        convention=resolve("ghostnet").conventions["keras"],
        yolo=dataclasses.replace(VERSIONS["v4"], conv="plain"),
        input_size=(320, 416),
        recipe=Recipe(epochs=None, max_minutes=12.5),
        data="VOCdevkit",
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_saved_is_read_back(config, tmp_path, version):
    config = dataclasses.replace(config, yolo=VERSIONS[version])
    config.save(tmp_path / "config.json")
    assert RunConfig.load(tmp_path / "config.json") == config


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
        (lambda c: c["yolo"].update(neck="spp_pannet"), "neck is 'spp_pannet'"),
        (lambda c: c["yolo"].pop("neck_channels"), "yolo lacks 'neck_channels'"),
        (lambda c: c.update(recipe=[]), "must hold the keys of Recipe"),
    ],
)
def test_a_config_that_is_wrong_names_the_key(config, tmp_path, change, message):
    document = dataclasses.asdict(config)
    change(document)
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=message):
        RunConfig.load(tmp_path / "config.json")


def test_a_missing_or_damaged_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        RunConfig.load(tmp_path / "config.json")
    (tmp_path / "config.json").write_text('{"backbone": ')
    with pytest.raises(UserError, match="damaged"):
        RunConfig.load(tmp_path / "config.json")
