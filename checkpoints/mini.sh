#!/usr/bin/env bash
# All of `mini` that waits for a GPU but its ladder, in one go: notebook 09 in its full size trains it and keeps its
# outputs; the model, its history and card are published; the speed is measured, and notebook 13 keeps
# the outputs of the GPU. Look at the changes with `git diff` before you commit them.
set -euo pipefail
cd "$(dirname "$0")/.."

export PYTHONPATH="$PWD"                                           # installed or not
export PYTHONWARNINGS="ignore:TensorFloat32 tensor cores"          # else saved in notebook 13
python -c 'import torch, sys; sys.exit(None if torch.cuda.is_available() else "this needs an NVIDIA GPU")'
python -c 'import swin_cifar; swin_cifar.load_cifar10()'           # not the built-in pictures
python -m pip install --quiet timm || echo "bench goes without timm"
SWIN_CIFAR_RUN=full python notebooks/tools/execute.py notebooks/09_train.ipynb
python checkpoints/release.py "$(ls -t checkpoints/runs/mini_cifar10*.pt | head -n 1)"
python -m swin_cifar bench --preset mini --out checkpoints/mini_bench.json
SWIN_CIFAR_RUN=full python notebooks/tools/execute.py notebooks/13_faster.ipynb
