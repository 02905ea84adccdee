"""A checkpoint for other programs: ONNX, torch.export, safetensors, timm, torchvision; with a model card."""

import copy
import importlib
import io
import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from swin_cifar.cards import metadata, model_card
from swin_cifar.checkpoint import FORMAT, SAFETENSORS_KEY, load_checkpoint
from swin_cifar.layers import FastLinear
from swin_cifar.system import first_line, write_atomically
from swin_cifar.weights import (
    timm_arguments,
    timm_state_dict,
    torchvision_arguments,
    torchvision_state_dict,
    what_is_padded,
)

OPSET = 18  # of ONNX: the oldest that PyTorch's exporter writes itself, so the most programs read it
BATCHES = (1, 2, 7)  # of the pictures on which an export is compared


class ExportError(RuntimeError):
    """A model cannot be exported; the message says why and what to do."""


@dataclass
class Exported:
    """What `export_checkpoint` wrote, and how far its answers are from the model's."""

    path: Path
    card: Path
    difference: float  # the largest, of logits
    largest: float  # of the model's logits, without sign
    note: str  # what the file is; for another library's weights the Python that makes its model


@dataclass
class _Made:
    content: bytes  # of the file
    answer: Callable[[Tensor], Tensor]  # the model in it, read again: pictures to logits
    imports: str  # of the Python in the card
    code: str  # there, from pictures `x` (B, C, h, w) to `logits`, both of NumPy
    note: str  # what the file is, for the card


def export_checkpoint(checkpoint: str | Path, target: str, out: str | Path) -> Exported:
    """Write the model of a checkpoint for another program, and a card beside it, `out` with `.md`.

    `target`: a name in TARGETS. The file takes float32 pictures (B, C, h, w) of the model's own size,
    normalised with its mean and std, and gives logits, of any B. It is read again and compared with the
    model before anything is written. Raises ValueError for an unknown target, a name with another ending
    and a file that exists; ExportError for a library that is not there, a model that does not fit the
    target and answers that differ; what `load_checkpoint` raises, and OSError.
    """
    if target not in TARGETS:
        raise ValueError(f"unknown target {target!r}; there are: {', '.join(TARGETS)}")
    make, ending, libraries, limit = TARGETS[target]
    out = Path(out).expanduser()
    card = out.with_name(f"{out.name}.md")
    if out.suffix != (suffix := Path("x" + ending).suffix):
        raise ValueError(f"the name of a file for {target} ends in {suffix}, got {out}")
    _check_free(out, card)
    if missing := " ".join(library for library in libraries if not _is_there(library)):
        raise ExportError(f"to export to {target} install {missing}: python -m pip install {missing}")
    saved = load_checkpoint(checkpoint)
    made = make(saved, out.name)
    difference, largest = _compare(saved.model, made.answer, limit)
    compared = (
        f"with the checkpoint, on random pictures in batches of {BATCHES}: logits differ by {difference:.1e} "
        f"at most, and reach {largest:.3g}"
    )
    text = model_card(out.name, saved, made.note, compared, made.imports, made.code)
    _check_free(out, card)  # the export may have taken a while
    write_atomically(card, text.encode())
    try:
        write_atomically(out, made.content)
    except BaseException:
        card.unlink()
        raise
    return Exported(out, card, difference, largest, made.note)


def default_name(checkpoint: str | Path, target: str) -> str:
    """The name of an exported file, from the checkpoint's."""
    return Path(checkpoint).stem + TARGETS[target][1]


# --- the targets ------------------------------------------------------------------------


def _onnx(saved, name):
    import onnx
    import onnxruntime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _program(saved), dynamo=True, verbose=False, opset_version=OPSET, input_names=["images"],
            output_names=["logits"],
        )  # fmt: skip
    proto = program.model_proto
    proto.graph.ClearField("value_info")  # names the batch size after PyTorch's own symbol
    for part in (proto.graph, *proto.graph.node):
        part.ClearField("metadata_props")
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    said = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata(saved).items()}
    onnx.helper.set_model_props(proto, said)
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return _Made(
        content,
        lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0]),
        "import onnxruntime",
        f"logits = onnxruntime.InferenceSession({name!r}).run(None, {{'images': x}})[0]\n",
        f"a graph of ONNX, opset {OPSET}. Classes, mean, std and size are in its metadata as JSON.",
    )


def _torch_export(saved, name):
    file = io.BytesIO()
    said = json.dumps(metadata(saved))
    torch.export.save(_program(saved), file, extra_files={"swin_cifar.json": said})
    content = file.getvalue()
    return _Made(
        content,
        torch.export.load(io.BytesIO(content)).module(),
        "import torch",
        f"model = torch.export.load({name!r}).module()\n"
        "logits = model(torch.from_numpy(x)).detach().numpy()\n",
        f"a program of torch.export, for the CPU, by torch {torch.__version__}: an older torch may not read "
        "it. Classes, mean, std and size are in its extra file `swin_cifar.json`.",
    )


def _safetensors(saved, name):
    from safetensors.torch import save

    history = saved.history.to_dict() if saved.history else None
    said = {"format": FORMAT, "config": asdict(saved.model.config), "dataset": saved.dataset}
    said = json.dumps(said | {"history": history, "training": None})
    weights = {key: tensor.contiguous() for key, tensor in saved.model.state_dict().items()}
    content = save(weights, metadata={"format": "pt", SAFETENSORS_KEY: said})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        path.write_bytes(content)
        loaded = load_checkpoint(path)
    return _Made(
        content,
        loaded.model,
        "import torch\nfrom swin_cifar import load_checkpoint",
        f"model = load_checkpoint({name!r}).model\nlogits = model(torch.from_numpy(x)).detach().numpy()\n",
        "the weights under the names of swin_cifar; architecture, classes, mean, std and history in the "
        f"metadata as JSON, under `{SAFETENSORS_KEY}`. `train --from`, `predict`, `evaluate` take it too.",
    )


def _timm(saved, name):
    return _in_library(saved, name, "timm.models.swin_transformer", timm_arguments, timm_state_dict)


def _torchvision(saved, name):
    if (channels := saved.model.config.in_channels) != 3:
        raise ExportError(
            f"torchvision's Swin takes pictures of 3 channels, not of {channels}: export to timm"
        )
    where = "torchvision.models.swin_transformer"
    return _in_library(saved, name, where, torchvision_arguments, torchvision_state_dict)


def _in_library(saved, name, where, arguments, renamed):
    """A state dict for a library's SwinTransformer, which is in the module `where`."""
    library, arguments = where.partition(".")[0], arguments(saved.model.config)
    if padded := what_is_padded(saved.model.config):
        raise ExportError(
            f"{padded}: there {library} attends to the padding or shrinks the window, and would answer "
            "otherwise than this model. Export to onnx, torch-export or safetensors"
        )
    file = io.BytesIO()
    torch.save(renamed(saved.model), file)
    theirs = importlib.import_module(where).SwinTransformer(**arguments)
    try:
        theirs.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    except RuntimeError as error:  # an old version with other names
        raise ExportError(f"this version of {library} takes other weights: {first_line(error)}") from None
    call = f"{where}.SwinTransformer({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
    return _Made(
        file.getvalue(),
        theirs.eval(),
        f"import torch\nimport {where}",
        f"model = {call}\nmodel.load_state_dict(torch.load({name!r}, weights_only=True))\n"
        "logits = model.eval()(torch.from_numpy(x)).detach().numpy()\n",
        f"a state dict of {library} {importlib.import_module(library).__version__}, for `{call}`",
    )


TARGETS = {  # name: how it is made, the end of the file's name, libraries, limit to the largest difference
    "onnx": (_onnx, ".onnx", ("onnx", "onnxscript", "onnxruntime"), 1e-4),
    "torch-export": (_torch_export, ".pt2", (), 1e-4),
    "safetensors": (_safetensors, ".safetensors", ("safetensors",), 0.0),
    "timm": (_timm, "-timm.pth", ("timm",), 1e-5),
    "torchvision": (_torchvision, "-torchvision.pth", ("torchvision",), 1e-5),
}


# --- helpers ----------------------------------------------------------------------------


def _check_free(*paths):
    if taken := [path for path in paths if path.exists()]:
        raise ValueError(f"{taken[0]} exists already: choose another --out")


def _is_there(library):
    try:
        return importlib.import_module(library)
    except ImportError:
        return None


def _program(saved):
    """The model for pictures of its own size, in batches of any number.

    Of that size alone: where windows are padded, shifted and masked follows from it, so torch.export
    lets height and width vary only where none of it can change.
    """
    model, config = copy.deepcopy(saved.model), saved.model.config
    for module in model.modules():
        if isinstance(module, FastLinear):
            module.__class__ = nn.Linear  # the same graph, whatever processor it is written on
    images = torch.zeros(2, config.in_channels, config.image_size, config.image_size)
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(model, (images,), dynamic_shapes={"images": batch}, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths on this machine
    return program


@torch.no_grad()
def _compare(model, answer, limit):
    """-> the largest difference on random pictures, and the largest logit. Raises ExportError."""
    side, generator = model.config.image_size, torch.Generator().manual_seed(0)
    pairs = []
    for B in BATCHES:
        images = torch.randn(B, model.config.in_channels, side, side, generator=generator)
        pairs.append((answer(images), model(images)))
    found, expected = (torch.cat(logits) for logits in zip(*pairs))
    difference, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    if not difference <= limit * largest:  # nor NaN. In proportion: an untrained head's logits are small
        raise ExportError(
            f"nothing was written: the exported model's logits differ by {difference:.1e}, where the model's "
            f"reach {largest:.1e}; {limit * largest:.1e} is allowed"
        )
    return difference, largest
