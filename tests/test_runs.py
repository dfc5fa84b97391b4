"""Laws of run folders and of loading what they hold."""

import pickle

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import ode_vgan
from ode_vgan.build import build
from ode_vgan.ema import GeneratorEma
from ode_vgan.errors import HeldError, UserError
from ode_vgan.runs import build_generator, check_same_run, held, remember, untrained
from tests.tiny import REPOSITORY, tiny_overrides


@pytest.fixture
def config(tmp_path) -> dict:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        composed = compose("train", overrides=[*tiny_overrides(tmp_path), "embed_dim=1"])
    return OmegaConf.to_container(composed, resolve=True)


@pytest.fixture
def run(tmp_path, config):
    """A run folder with a checkpoint as train.py leaves it, less the optimisers."""
    torch.manual_seed(5)
    generator = build_generator(config)
    state = {f"ema.{key}": value for key, value in GeneratorEma(generator, 1).state_dict().items()}
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    content = {"state_dict": state, "ode_vgan": {"config": config, "clips_seen": 7}}
    torch.save(content, folder / "checkpoints" / "last.ckpt")
    return folder, generator


def test_a_checkpoint_alone_gives_the_generator_back(run):
    folder, generator = run
    for path in (folder, folder / "checkpoints" / "last.ckpt"):
        trained = ode_vgan.load(path)
        assert trained.clips_seen == 7
        for key, value in generator.state_dict().items():
            assert torch.equal(value, trained.generator.state_dict()[key])


def test_a_clip_depends_on_its_seed_and_not_on_how_many_are_drawn_or_in_which_chunks(run):
    trained = ode_vgan.load(run[0])
    text, times = torch.ones(5, 1), torch.arange(4) * 0.1
    five = trained.render(text, times, seed=3)
    assert five.shape == (5, 4, 16, 16, 3) and five.dtype == torch.uint8
    close(five, trained.render(text, times, seed=3, batch=2))
    close(five[:2], trained.render(text[:2], times, seed=3))
    assert not torch.equal(five, trained.render(text, times, seed=4))


@pytest.mark.parametrize("shared", [True, False])
def test_stretches_are_the_clips_some_frames_at_a_time(run, monkeypatch, shared):
    trained = ode_vgan.load(run[0])
    text, times = torch.ones(5, 1), torch.arange(11) * 0.1
    times = times if shared else times + torch.arange(5)[:, None] * 0.01
    monkeypatch.setattr("ode_vgan.generator.CHUNK_PIXELS", 8 * 16**2)
    monkeypatch.setattr("ode_vgan.runs.BATCH", 2)
    stretches = list(trained.stretches(text, times, seed=3))
    assert [part.shape[1] for part in stretches] == [4, 4, 3]
    close(torch.cat(stretches, 1), trained.render(text, times, seed=3))
    alone = trained.stretches(text[3:4], times if shared else times[3:4], seed=3, first=3)
    close(torch.cat(list(alone), 1), torch.cat(stretches, 1)[3:4])


def close(a, b):
    assert (a.int() - b.int()).abs().max() <= 1  # convolutions round differently in other batch sizes


def test_denser_and_later_times_show_the_same_motion(run):
    trained = ode_vgan.load(run[0])
    text = torch.ones(2, 1)
    coarse, dense = torch.arange(5) * 0.1, torch.arange(9) * 0.05
    difference = trained.render(text, coarse, 0).int() - trained.render(text, dense, 0)[:, ::2].int()
    assert difference.abs().max() <= 3
    later = trained.render(text, coarse[2:], 0).int() - trained.render(text, coarse, 0)[:, 2:].int()
    assert later.abs().max() <= 3


def test_an_untrained_generator_is_another_one_and_leaves_the_random_state_alone(run):
    trained = ode_vgan.load(run[0])
    before = torch.get_rng_state()
    fresh = untrained(trained, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert fresh.clips_seen == 0
    assert not torch.equal(fresh.generator.decoder.start.weight, trained.generator.decoder.start.weight)


def test_a_foreign_or_tampered_checkpoint_runs_no_code_and_is_refused(tmp_path, run, config):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    pickled, foreign, targeted = tmp_path / "a.ckpt", tmp_path / "b.ckpt", tmp_path / "c.ckpt"
    pickled.write_bytes(pickle.dumps(Evil()))
    torch.save({"weights": torch.zeros(1)}, foreign)
    content = torch.load(run[0] / "checkpoints" / "last.ckpt", weights_only=True)
    content["ode_vgan"]["config"]["model"]["generator"]["temporal"]["_target_"] = "os.system"
    torch.save(content, targeted)
    for path, told in ((pickled, "cannot be read"), (foreign, "not a checkpoint of ode_vgan"), (targeted, "outside")):
        with pytest.raises(UserError, match=told) as caught:
            ode_vgan.load(path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


def test_weights_of_another_config_are_refused_in_one_line(run):
    path = run[0] / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["ode_vgan"]["config"]["model"]["generator"]["noise_dim"] = 9
    torch.save(content, path)
    with pytest.raises(UserError, match="do not fit") as caught:
        ode_vgan.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("make", "told"), [(False, "does not exist"), (True, "train it first")])
def test_a_folder_without_a_run_is_refused(tmp_path, make, told):
    if make:
        (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match=told):
        ode_vgan.load(tmp_path / "nothing")


def test_a_run_may_be_made_longer_but_not_made_another(tmp_path, config):
    check_same_run(tmp_path, config)
    remember(tmp_path, config)
    check_same_run(tmp_path, config | {"max_clips": 10**6, "logger": {}})
    other = config | {"model": config["model"] | {"mismatch": 0.25}}
    with pytest.raises(UserError, match=r"model.mismatch: 0.5 then, 0.25 now"):
        check_same_run(tmp_path, other)


def test_a_module_built_twice_from_one_seed_is_the_same(config):
    def weights():
        torch.manual_seed(config["seed"])
        return build(config["model"]).state_dict()

    first, second = weights(), weights()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_folder_is_one_process_s_until_it_lets_go(tmp_path, monkeypatch):
    with held(tmp_path / "run"):
        with pytest.raises(HeldError, match="another process"):
            with held(tmp_path / "run"):
                pass
        monkeypatch.setenv("LOCAL_RANK", "1")  # a process of the same run, as Lightning starts it
        with held(tmp_path / "run"):
            pass
    monkeypatch.delenv("LOCAL_RANK")
    with held(tmp_path / "run"):
        assert not list((tmp_path / "run").iterdir())
