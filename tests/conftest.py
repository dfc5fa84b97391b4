"""What holds for every test: no network, one thread, nothing written to the user's own cache."""

import os

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", WANDB_MODE="offline", WANDB_SILENT="true")
os.environ.update(HYDRA_FULL_ERROR="1", MPLBACKEND="Agg", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: more threads only wait for each other

import pytest  # noqa: E402
import torch  # noqa: E402

import ode_vgan  # noqa: E402, F401  before Lightning: it mends a torchvision without compiled operators
from ode_vgan.embed.cache import cache_folder  # noqa: E402

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Embeddings and features are cached in a folder of this test run; weights that are here may be looked at."""
    os.environ.setdefault("ODE_VGAN_WEIGHTS", str(cache_folder() / "weights"))
    os.environ["ODE_VGAN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def seeded():
    """Each test starts from torch's seed 0, whatever ran before it."""
    torch.manual_seed(0)
