"""The Swin Transformer in small files, trained on CIFAR-10: the package behind the notebooks."""

from swin_cifar.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from swin_cifar.config import SwinConfig, TrainConfig, model_config, train_config
from swin_cifar.data import (
    DataError,
    ImageSet,
    channel_statistics,
    load_cifar10,
    load_cifar100,
    load_data,
    load_fashion_mnist,
    load_folder,
    load_shapes10,
    mixup_cutmix,
    normalize,
    random_crop_flip,
    training_batch,
)
from swin_cifar.export import Exported, ExportError, export_checkpoint
from swin_cifar.history import History, Metrics
from swin_cifar.inspection import attention_maps, influence, rollout
from swin_cifar.layers import MLP, DropPath, PatchEmbed, PatchMerging, WindowAttention
from swin_cifar.model import SwinStage, SwinTransformer, SwinTransformerBlock, create_model
from swin_cifar.others import from_other
from swin_cifar.pictures import PictureError
from swin_cifar.predict import predict, predict_logits
from swin_cifar.pretrained import WeightsError, pretrained_model
from swin_cifar.run import TrainingDiverged
from swin_cifar.training import evaluate, fit, learning_rate, train_and_test
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
__all__ = [
    "MLP", "Checkpoint", "CheckpointError", "DataError", "DropPath", "ExportError", "Exported",
    "History", "ImageSet", "Metrics",
    "PatchEmbed", "PatchMerging", "PictureError", "SwinConfig", "SwinStage", "SwinTransformer",
    "SwinTransformerBlock", "TrainConfig", "TrainingDiverged", "WeightsError", "WindowAttention",
    "attention_maps", "channel_statistics", "create_model", "evaluate", "export_checkpoint", "fit",
    "from_other", "influence", "learning_rate", "load_checkpoint", "load_cifar10", "load_cifar100",
    "load_data", "load_fashion_mnist", "load_folder", "load_official_weights", "load_shapes10",
    "load_torchvision_weights", "mixup_cutmix", "model_config", "msa_multiply_adds", "normalize",
    "official_state_dict", "predict", "predict_logits", "pretrained_model", "random_crop_flip",
    "relative_position_index", "rollout", "save_checkpoint", "shifted_window_mask",
    "torchvision_state_dict", "train_and_test", "train_config", "training_batch",
    "window_msa_multiply_adds", "window_partition", "window_reverse",
]  # fmt: skip
