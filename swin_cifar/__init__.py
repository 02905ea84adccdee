"""The Swin Transformer in small files, trained on CIFAR-10: the package behind the notebooks."""

from swin_cifar.checkpoint import Checkpoint, CheckpointError, History, load_checkpoint, save_checkpoint
from swin_cifar.config import SwinConfig, TrainConfig, model_config, train_config
from swin_cifar.data import (
    ImageSet,
    channel_statistics,
    load_cifar10,
    load_data,
    load_shapes10,
    mixup_cutmix,
    normalize,
    random_crop_flip,
)
from swin_cifar.layers import MLP, DropPath, PatchEmbed, PatchMerging, WindowAttention
from swin_cifar.model import SwinStage, SwinTransformer, SwinTransformerBlock, create_model
from swin_cifar.training import Metrics, evaluate, fit, learning_rate, predict_logits
from swin_cifar.weights import (
    load_official_weights,
    load_torchvision_weights,
    official_state_dict,
    torchvision_state_dict,
)
from swin_cifar.windows import (
    msa_multiply_adds,
    relative_position_index,
    shifted_window_mask,
    window_msa_multiply_adds,
    window_partition,
    window_reverse,
)

__version__ = "0.1.0"
