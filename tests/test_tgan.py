"""Laws of the published TGAN's parts, against its layers written out in numpy."""

from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from ode_vgan.decoder.tgan import TganDecoder
from ode_vgan.discriminator.tgan import TganCritic
from ode_vgan.errors import DivergedError, UserError
from ode_vgan.generator import Latents, draw_latents
from ode_vgan.losses.wasserstein import SingularValueClip, Wasserstein, clip_singular_values
from ode_vgan.temporal.rnn import RnnPath
from ode_vgan.unconditional import Noise, UnconditionalGenerator
from tests.tiny import REPOSITORY

CONF = REPOSITORY / "conf"


def published(group: str) -> dict:
    """Channel widths of the published part, from its yaml."""
    node = yaml.safe_load((CONF / group / "gordon2020" / "tgan.yaml").read_text())
    return {key: value for key, value in node.items() if key in ("width", "widths")}


def small_decoder(size: int) -> TganDecoder:
    return TganDecoder(size, content_dim=5, motion_dim=3, width=6, widths=[7, 4, 3, 2])


def small_critic(size: int, frames: int) -> TganCritic:
    return TganCritic(size, frames, widths=[3, 4, 5, 6])


@pytest.mark.parametrize("size", [64, 32, 16])
def test_the_decoder_makes_frames_of_its_size_in_range(size):
    frames = small_decoder(size)(torch.randn(2, 5), torch.randn(2, 4, 3))
    assert frames.shape == (2, 4, 3, size, size) and frames.abs().max() < 1


@pytest.mark.parametrize(("size", "frames"), [(64, 16), (64, 32), (32, 16), (32, 8), (16, 16), (16, 4)])
def test_the_critic_gives_one_number_a_clip(size, frames):
    critic = small_critic(size, frames)
    for clips in (2, 3):  # not 32 alone
        shown = torch.randn(clips, frames, 3, size, size)
        logits = critic(critic.views(shown, torch.Generator()))
        assert {name: tuple(one.shape) for name, one in logits.items()} == {"clip": (clips,)}


def test_the_published_decoder_has_its_parameters():
    maps = 2 * (100 * 4096 + 2 * 4096)  # a linear layer without bias and a batch norm each
    doublings = 16 * (512 * 256 + 256 * 128 + 128 * 64 + 64 * 32) + 2 * (256 + 128 + 64 + 32)
    colours = 32 * 3 * 9 + 3
    decoder = TganDecoder(64, content_dim=100, motion_dim=100, **published("decoder"))
    assert count(decoder) == maps + doublings + colours == 3_622_691


def test_the_published_critic_has_its_parameters():
    convolutions = 64 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 64 + 128 + 256 + 512
    norms = 2 * (128 + 256 + 512)  # none after the first
    critic = TganCritic(64, 16, **published("discriminator"))
    assert count(critic) == convolutions + norms + 512 * 16 + 1 == 11_033_281
    assert critic.layers[-1].weight.shape == (1, 512, 1, 4, 4)  # a plain 4 x 4 convolution


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_weights_start_as_published():
    decoder, critic = small_decoder(32), small_critic(32, 8)
    for layer in decoder.modules():
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            assert 0.009 < layer.weight.abs().max() <= 0.01
    wide = TganCritic(32, 8, widths=[32, 64, 64]).layers[2].weight  # 64 outputs, 32 inputs, 64 taps
    assert wide.std().item() == pytest.approx((2 * 2 / (64 * (32 + 64))) ** 0.5, rel=0.02)
    assert all(layer.bias is not None for layer in critic.layers if isinstance(layer, nn.Conv3d))


def filled(module: nn.Module) -> nn.Module:
    """The module in float64 with every number drawn, running statistics too."""
    draw = torch.Generator().manual_seed(1)
    for name, tensor in module.double().state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=draw, dtype=torch.float64) - (0 if "var" in name else 0.4))
    return module


def weights(layer: nn.Module) -> list[np.ndarray]:
    return [parameter.detach().numpy() for parameter in layer.parameters()]


def np_norm(x: np.ndarray, layer: nn.Module, training: bool) -> np.ndarray:
    """Batch norm over all axes but the second."""
    others = tuple(i for i in range(x.ndim) if i != 1)
    shape = (1, -1, *[1] * (x.ndim - 2))
    mean = x.mean(others) if training else layer.running_mean.numpy()
    var = x.var(others) if training else layer.running_var.numpy()
    gain, shift = weights(layer)
    return (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 1e-5) * gain.reshape(shape) + shift.reshape(shape)


def np_transposed(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Every input pixel adds its kernel, (in, out, k, k), to the output, which loses one pixel at each edge."""
    clips, _, height, width = x.shape
    k = kernel.shape[-1]
    out = np.zeros((clips, kernel.shape[1], (height - 1) * stride + k, (width - 1) * stride + k))
    for i, j in product(range(height), range(width)):
        at = (slice(None), slice(None), slice(i * stride, i * stride + k), slice(j * stride, j * stride + k))
        out[at] += np.einsum("bi,ioxy->boxy", x[:, :, i, j], kernel)
    return out[:, :, 1:-1, 1:-1]


def np_decoder(decoder: TganDecoder, w: np.ndarray, z: np.ndarray, training: bool) -> np.ndarray:
    clips, frames = z.shape[:2]
    maps = []
    for side, given in ((decoder.content, w), (decoder.motion, z.reshape(clips * frames, -1))):
        maps.append(np.maximum(np_norm(given @ weights(side[0])[0].T, side[1], training), 0))
    joined = np.concatenate([np.repeat(maps[0], frames, 0), maps[1]], 1).reshape(clips * frames, -1, 4, 4)
    layers = list(decoder.layers)
    for conv, norm in zip(layers[:-2:3], layers[1:-2:3], strict=True):
        joined = np.maximum(np_norm(np_transposed(joined, weights(conv)[0], 2), norm, training), 0)
    kernel, bias = weights(layers[-2])
    made = np.tanh(np_transposed(joined, kernel, 1) + bias[:, None, None])
    return made.reshape(clips, frames, *made.shape[1:])


@pytest.mark.parametrize("training", [False, True])
def test_the_decoder_is_its_equations(training):
    decoder = filled(small_decoder(16)).train(training)
    w, z = torch.randn(3, 5, dtype=torch.float64), torch.randn(3, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        for parameter in decoder.layers[-2].parameters():
            parameter.mul_(0.01)  # off the ends of tanh
        expected = np_decoder(decoder, w.numpy(), z.numpy(), training)
        found = decoder(w, z)
    assert expected.std() > 0.003 and np.abs(expected).max() < 0.99
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-7)  # the frames alone are rounded to float32


def np_critic(critic: TganCritic, x: np.ndarray, training: bool) -> np.ndarray:
    x = x.transpose(0, 2, 1, 3, 4)
    for layer in critic.layers[:-1]:
        if isinstance(layer, nn.Conv3d):
            kernel, bias = weights(layer)
            x = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (1, 1)])
            sides = [side // 2 - 1 for side in x.shape[2:]]
            out = np.zeros((len(x), len(kernel), *sides)) + bias[:, None, None, None]
            for t, i, j in product(range(4), repeat=3):
                ends = [slice(p, p + 2 * side, 2) for p, side in zip((t, i, j), sides, strict=True)]
                out += np.einsum("bctij,oc->botij", x[:, :, *ends], kernel[:, :, t, i, j])
            x = out
        elif isinstance(layer, nn.BatchNorm3d):
            x = np_norm(x, layer, training)
        else:
            x = np.where(x > 0, x, 0.2 * x)
    kernel, bias = weights(critic.layers[-1])
    return np.einsum("bctij,ctij->b", x, kernel[0]) + bias[0]


@pytest.mark.parametrize("training", [False, True])
def test_the_critic_is_its_equations(training):
    critic = filled(small_critic(16, 8)).train(training)
    x = torch.randn(3, 8, 3, 16, 16, dtype=torch.float64)
    expected = np_critic(critic, x.numpy(), training)
    with torch.no_grad():
        found = critic({"clip": x})["clip"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11)


def test_the_wasserstein_losses_are_exact():
    real, fake = torch.tensor([1.0, 4.0]), torch.tensor([3.0, -2.0])
    assert Wasserstein.critic(real, fake) == -2.0 and Wasserstein.generator(fake) == -0.5


@pytest.mark.parametrize("shape", [(6, 3, 2, 4), (12, 5), (1, 40), (8, 2, 4, 4, 4)])
def test_clipping_is_that_of_a_singular_value_decomposition(shape):
    weight = torch.randn(shape) * 0.6
    u, s, v = np.linalg.svd(weight.flatten(1).double().numpy(), full_matrices=False)
    assert s.max() > 1
    expected = (u * np.minimum(s, 1)) @ v
    np.testing.assert_allclose(clip_singular_values(weight).flatten(1).numpy(), expected, atol=2e-6)
    small = weight / (2 * s.max())
    assert torch.equal(clip_singular_values(small), small)  # nothing exceeds one: nothing moves


def test_a_weight_that_is_not_finite_is_refused_as_divergence():
    with pytest.raises(DivergedError, match="not finite"):
        clip_singular_values(torch.full((3, 4), torch.nan))


def test_the_clip_bounds_every_layer_of_the_critic_on_its_steps_alone():
    critic = small_critic(16, 8)
    norms = [layer for layer in critic.modules() if isinstance(layer, nn.BatchNorm3d)]
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(10)
        for norm in norms:
            norm.running_var.copy_(torch.linspace(0.01, 4, norm.num_features))
            norm.weight.copy_(torch.linspace(3, -1, norm.num_features))
    before = {name: tensor.clone() for name, tensor in critic.state_dict().items()}
    clip = SingularValueClip(every=5)
    clip(critic, 4)
    assert all(torch.equal(before[name], tensor) for name, tensor in critic.state_dict().items())
    clip(critic, 5)
    for layer in critic.modules():
        if isinstance(layer, nn.Conv3d):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1).double(), ord=2) <= 1 + 1e-5
    for norm in norms:
        deviation = norm.running_var.sqrt()
        old = torch.linspace(3, -1, norm.num_features)
        assert torch.equal(norm.weight, torch.minimum(torch.maximum(old, 0.01 * deviation), deviation))


def test_uniform_noise_is_the_normal_distribution_function_stretched():
    shares = [0.01, 0.25, 0.5, 0.8, 0.999]
    normal = torch.tensor([[NormalDist().inv_cdf(share) for share in shares]], dtype=torch.float64)
    expected = torch.tensor([[2 * share - 1 for share in shares]], dtype=torch.float64)
    torch.testing.assert_close(Noise("uniform", 5)(normal, None), expected)
    assert torch.equal(Noise("normal", 3)(normal, None), normal[:, :3])


def small_generator(noise: str, content_dim: int | None) -> UnconditionalGenerator:
    temporal = RnnPath(3, 1, noise_dim=2, text_dim=2)
    decoder = TganDecoder(16, content_dim=content_dim or 3, motion_dim=3, width=6, widths=[7, 4])
    options = {"noise": noise, "noise_dim": 3, "content_dim": content_dim}
    return UnconditionalGenerator(temporal, decoder, **options).eval()


def test_tgan_gives_its_decoder_the_noise_that_the_path_starts_from():
    generator, times, c = small_generator("uniform", None), torch.arange(4) * 0.1, torch.ones(2, 1)
    latents = draw_latents(2, generator.noise_dim)
    w, z = generator.path(latents, times, c)
    assert torch.equal(w, torch.erf(latents.motion / 2**0.5)) and torch.equal(z[:, 0], w)
    other = Latents(torch.zeros(2, 3), latents.motion, latents.seeds)
    assert torch.equal(generator(latents, times, c), generator(other, times, c))
    assert torch.equal(generator.render(latents, times, c), generator(latents, times, c))


def test_content_of_its_own_may_have_another_size_than_the_motion_noise():
    generator, times, c = small_generator("normal", 5), torch.arange(4) * 0.1, torch.ones(2, 1)
    latents = draw_latents(2, generator.noise_dim)
    w, z = generator.path(latents, times, c)
    assert generator.noise_dim == 5 and torch.equal(w, latents.content) and torch.equal(z[:, 0], latents.motion[:, :3])
    assert torch.equal(generator.shown(latents, times, c, torch.Generator()), generator(latents, times, c))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: small_decoder(24), "size=24"),
        (lambda: small_critic(128, 16), "size=128"),
        (lambda: small_critic(64, 12), "frames=12.*multiple of 16"),
        (lambda: small_critic(16, 2), "frames=2.*multiple of 4"),
        (lambda: TganCritic(64, 16, widths=[4, 4]), "needs 4"),
        (lambda: TganDecoder(32, 2, 2, width=4, widths=[4]), "needs 3"),
        (lambda: Noise("gaussian", 3), "uniform, normal"),
    ],
)
def test_what_the_layers_cannot_do_is_refused_in_one_line(make, told):
    with pytest.raises(UserError, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)
