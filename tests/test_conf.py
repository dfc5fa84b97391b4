"""Laws of the config tree: every file composes and builds, and no experiment is a silent no-op."""

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ode_vgan.build import build, find_target
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.metrics.weights import MissingWeights

CONF = Path(__file__).parent.parent / "conf"
EXPERIMENTS = sorted((CONF / "experiment").glob("*.yaml"))
OTHERWISE = ("experiment", "trainer", "logger")  # checked below
FILES = [path for path in CONF.glob("*/*.yaml") if path.parent.name not in OTHERWISE]
CHOICES = sorted((path.parent.name, path.stem) for path in FILES)
SMALL = ["data.size=16", "noise_dim=8", "motion_dim=8", "style_dim=16"]


def config(*overrides: str) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("train", overrides=["embed_dim=1", *overrides])
    return OmegaConf.to_container(composed, resolve=True)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_of_every_group_builds(group, choice, tmp_path):
    overrides = [f"{group}={choice}", *SMALL]
    if group == "data" and choice in ("folder", "shards"):
        overrides.append(f"data.source={tmp_path}")
    if (group, choice) == ("model", "clip"):
        overrides.append("loss=clip")
    made = config(*overrides)
    if group == "data":
        assert build(made["data"], embed=NoEmbedder()).frames == (4 if choice.startswith("drawn") else 16)
    elif (group, choice) == ("embed", "openclip"):
        pytest.importorskip("open_clip")
        find_target(made["embed"]["_target_"])
    elif group == "metrics":
        try:
            build(made[group])
        except MissingWeights as missing:  # told before the training starts, with what to do
            assert "ode-vgan weights" in str(missing)
    elif group == "embed":
        build(made[group])
    else:
        build(made["model"])


@pytest.mark.parametrize("path", sorted((CONF / "logger").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_logger_names_classes_that_exist(path):
    assert all(find_target(node["_target_"]) for node in yaml.safe_load(path.read_text()).values())


@pytest.mark.parametrize("path", sorted((CONF / "trainer").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_trainer_option_is_one_of_lightnings(path):
    import inspect

    import pytorch_lightning as pl

    assert yaml.safe_load(path.read_text()).keys() <= inspect.signature(pl.Trainer).parameters.keys()


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_changes_the_config_and_says_its_question_and_command(path):
    first, second = path.read_text().splitlines()[:2]
    assert first == "# @package _global_", "without this line Hydra ignores the file"
    assert "?" in second and f" +experiment={path.stem}" in second and "python train.py " in second
    plain, changed = config(), config(f"+experiment={path.stem}")
    assert changed != plain and changed["name"] == path.stem
    build(changed["model"])


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*/*.yaml")), ids=lambda path: path.stem)
def test_a_published_experiment_says_its_question_and_command_and_changes_the_model(path):
    first, second = path.read_text().splitlines()[:2]
    name = path.relative_to(CONF / "experiment").with_suffix("").as_posix()
    assert first == "# @package _global_" and "?" in second and f"python train.py +experiment={name}" in second
    made = config(f"+experiment={name}")
    assert made["name"] == "gordon2020" and made["model"]["_target_"].endswith("PublishedGan")
    assert "gordon2020" in made["temporal"]["_target_"]


def test_experiment_is_not_in_the_defaults_list():
    defaults = yaml.safe_load((CONF / "train.yaml").read_text())["defaults"]
    assert not any("experiment" in str(entry) for entry in defaults)


def test_the_temporal_models_of_the_study_have_parameters_alike():
    counts = {}
    for name in ("ode", "sde", "rnn", "discrete", "driven", "rnn_quiet", "ode2"):
        temporal = build(config(f"temporal={name}", "embed_dim=384")["model"]["generator"]["temporal"])
        counts[name] = sum(parameter.numel() for parameter in temporal.parameters())
    assert max(counts.values()) <= 1.15 * min(counts.values()), counts
