"""What runs on a GPU, with tensors that have a shape and a device but no numbers: no GPU is needed.

An operation between a CUDA tensor and a forgotten CPU tensor fails here as it does there. Left to a
real GPU: the backward pass, bf16, the compiler.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from swin_cifar import ImageSet, create_model, predict_logits, train_config, training_batch
from swin_cifar.layers import WindowAttention
from swin_cifar.model import cached_mask
from swin_cifar.training import update_ema

RECIPE = train_config("mini")
pytestmark = pytest.mark.filterwarnings("ignore:CUDA is not available")  # autocast says so


def pretends():
    """Whether this torch can index a CUDA tensor without numbers: 2.6 asks for a driver even then."""
    try:
        with FakeTensorMode():
            torch.zeros(2, device="cuda")[:, None]
    except RuntimeError:
        return False
    return True


@pytest.fixture
def on_a_gpu():
    """-> two models `mini` and 600 pictures that believe to be on a GPU."""
    if not pretends():
        pytest.skip("this torch cannot pretend to have a GPU")
    models = create_model("mini"), create_model("mini")
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    cached_mask.cache_clear()
    with FakeTensorMode():
        for model in models:
            model._apply(lambda t: torch.empty(t.shape, dtype=t.dtype, device="cuda"))
        images = torch.zeros(600, 3, 32, 32, dtype=torch.uint8, device="cuda")
        labels = torch.zeros(600, dtype=torch.long, device="cuda")
        data = ImageSet("fake", tuple("abcdefghij"), (0.5,) * 3, (0.2,) * 3, images, labels)
        yield *models, data
    cached_mask.cache_clear()  # these masks have no numbers
    torch.__future__.set_overwrite_module_params_on_conversion(overwrite)


def a_batch(data):
    return training_batch(data, torch.arange(512, device="cuda"), RECIPE, torch.Generator())


def test_a_batch_is_made_on_the_gpu(on_a_gpu):
    for tensor, shape in zip(a_batch(on_a_gpu[2]), ((512, 3, 32, 32), (512, 10))):
        assert tensor.is_cuda and tensor.shape == shape


def test_the_model_answers_on_the_gpu_with_the_fused_attention(on_a_gpu, monkeypatch):
    model, ema_model, data = on_a_gpu
    monkeypatch.setattr(WindowAttention, "explicit_attention", lambda *args: pytest.fail("not fused"))
    images, _ = a_batch(data)
    model.train()
    assert model(images).is_cuda and model(images).shape == (512, 10)
    assert model(torch.zeros(2, 3, 37, 50, device="cuda")).is_cuda  # padded, with another mask
    update_ema(ema_model, model, 0.999, 5)
    assert predict_logits(ema_model, data).shape == (600, 10)


def test_a_forgotten_cpu_tensor_is_noticed(on_a_gpu, monkeypatch):
    make = torch.arange
    monkeypatch.setattr(torch, "arange", lambda *args, device=None, **kwargs: make(*args, **kwargs))
    with pytest.raises(RuntimeError, match="device"):
        training_batch(on_a_gpu[2], make(512, device="cuda"), RECIPE, torch.Generator())
