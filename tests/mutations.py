"""Plant known bugs in a copy of the package, one at a time, and see that the tests notice each.

    python tests/mutations.py

Prints one line per bug and exits with 1 if any goes unnoticed.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
OF_THE_MODEL = (
    "layers",
    "windows",
    "model",
    "weights",
    "inspection",
    "reach",
)  # a bug in one may show in any
OF_TRAINING = ("training", "run", "predict", "pictures", "history")
COPIED = ("swin_cifar", "tests", "notebooks/course", "checkpoints/study.py", "checkpoints/release.py",
          "checkpoints/studies", "checkpoints/nano_cifar10.pt", "checkpoints/SHA256SUMS",
          "pyproject.toml")  # fmt: skip

# Every bug gets a process of its own, forked where that is possible from one that has imported these already:
# that takes longer than most of the tests.
FORKS = "forkserver" in multiprocessing.get_all_start_methods()
PROCESSES = multiprocessing.get_context("forkserver" if FORKS else "spawn")
if FORKS:
    PROCESSES.set_forkserver_preload(["torch", "torchvision", "matplotlib.figure", "pytest"])

# bug: (file, what is there, what is put there instead)
MUTATIONS = {
    # The copy itself must pass all of these tests.
    "none": ("swin_cifar/layers.py", "import torch\n", "import torch\n"),
    "mask dropped": (
        "swin_cifar/layers.py",
        'attn_bias.masked_fill(~mask[:, None], float("-inf"))',
        "attn_bias.expand(len(mask), -1, -1, -1)",
    ),
    "mask's sign flipped": (
        "swin_cifar/layers.py",
        "masked_fill(~mask[:, None],",
        "masked_fill(mask[:, None],",
    ),
    "shift not undone": ("swin_cifar/model.py", "x = x.roll(shift, dims=(1, 2))", "pass"),
    "roll before padding": (
        "swin_cifar/model.py",
        """        if padded:
            x = F.pad(x, (0, 0, 0, Wp - W, 0, Hp - H))  # channels, right, below
        if shifted:
            x = x.roll((-shift_h, -shift_w), dims=(1, 2))
""",
        """        if shifted:
            x = x.roll((-shift_h, -shift_w), dims=(1, 2))
        if padded:
            x = F.pad(x, (0, 0, 0, Wp - W, 0, Hp - H))
""",
    ),
    "dy and dx swapped": ("swin_cifar/windows.py", "dy * (2 * M - 1) + dx", "dx * (2 * M - 1) + dy"),
    "bias table shared across heads": (
        "swin_cifar/layers.py",
        "return bias.permute(2, 0, 1)",
        "return bias.permute(2, 0, 1)[:1].expand(self.num_heads, -1, -1)",
    ),
    "DropPath on in evaluation": (
        "swin_cifar/layers.py",
        "if not self.training or self.drop_prob == 0:",
        "if self.drop_prob == 0:",
    ),
    "a window that covers the map is shifted": (
        "swin_cifar/windows.py",
        "return (shift_size if H > window_size else 0), (shift_size if W > window_size else 0)",
        "return shift_size, shift_size",
    ),
    "PatchMerging gathers row by row": (
        "swin_cifar/layers.py",
        "x.permute(0, 1, 3, 4, 2, 5).flatten(3)",
        "x.permute(0, 1, 3, 2, 4, 5).flatten(3)",
    ),
    # Some public code pads both sides if either is not a multiple, by a whole patch where none is needed.
    "PatchEmbed pads 32 x 30 to 36 x 32": (
        "swin_cifar/layers.py",
        "F.pad(images, (0, -w % self.patch_size, 0, -h % self.patch_size))",
        "F.pad(images, (0, self.patch_size - w % self.patch_size, 0, self.patch_size - h % self.patch_size))",
    ),
    "padding attended to": (
        "swin_cifar/windows.py",
        "labels.masked_fill((rows < 0)[:, None] | (cols < 0)[None, :], -1)",
        "labels",
    ),
    "scores not scaled": ("swin_cifar/layers.py", "(q * q.shape[-1] ** -0.5)", "q"),
    "mask only along the height": (
        "swin_cifar/windows.py",
        "2 * rows[:, None] + cols[None, :]",
        "rows[:, None] + 0 * cols",
    ),
    "partition without the transpose": (
        "swin_cifar/windows.py",
        "return x.transpose(2, 3).reshape(B, (H // M) * (W // M), M * M, C)",
        "return x.reshape(B, (H // M) * (W // M), M * M, C)",
    ),
    "attention maps at shifted places": (
        "swin_cifar/inspection.py",
        ".view(1, H, W, 1)\n",
        ".view(1, H, W, 1).roll((1, 1), dims=(1, 2))\n",
    ),
    "rollout from queries to keys the wrong way round": (
        "swin_cifar/inspection.py",
        "attn.transpose(2, 3) @ windows",
        "attn @ windows",
    ),
    "another library's model taken without a look at its answers": (
        "swin_cifar/others.py",
        "off <= TOLERANCE * largest",
        "off >= 0",
    ),
    "reach without the shift": (
        "notebooks/course/reach.py",
        "shift_per_axis(H, W, block.window_size, block.shift_size)",
        "shift_per_axis(H, W, block.window_size, 0)",
    ),
    "flip that mirrors everything or nothing": (
        "swin_cifar/data.py",
        "_rand(B, generator, images.device) < 0.5",
        "_rand(1, generator, images.device).expand(B) < 0.5",
    ),
    "CutMix with the label's share of another box": (
        "swin_cifar/data.py",
        "weight.mean((1, 2))",
        "lam.flatten()",
    ),
    "no warm-up": (
        "swin_cifar/training.py",
        "return recipe.learning_rate * (step + 1) / (warmup + 1)",
        "return recipe.learning_rate",
    ),
    "bias tables decay": (
        "swin_cifar/training.py",
        "decay, scale = 0.0, recipe.table_lr_scale",
        "scale = recipe.table_lr_scale",
    ),
    "Muon without Nesterov's momentum": (
        "swin_cifar/training.py",
        'weight.grad.lerp(state["average"], momentum)',
        'state["average"]',
    ),
    "a schedule for all groups alike": (
        "swin_cifar/training.py",
        'lr * group.get("lr_scale", 1.0)',
        "lr",
    ),
    "never fewer threads": ("swin_cifar/system.py", "on_all > self.GAIN", "False and on_all > self.GAIN"),
    "bf16 where it is emulated": (
        "swin_cifar/system.py",
        "min(seconds[torch.bfloat16]) < min(seconds[torch.float32])",
        "True",
    ),
    "evaluated in training mode": ("swin_cifar/predict.py", "    model.eval()\n", ""),
    "gradients not set to zero": ("swin_cifar/training.py", "    optimizer.zero_grad()\n", ""),
    "averaged weights follow the wrong share": (
        "swin_cifar/training.py",
        "list(model.parameters()), 1 - decay)",
        "list(model.parameters()), decay)",
    ),
    "the same order in each epoch": (
        "swin_cifar/run.py",
        'seed_for(seed, "order", epoch)',
        'seed_for(seed, "order", 0)',
    ),
    "a resumed run forgets the optimizer": (
        "swin_cifar/run.py",
        'self.optimizer.load_state_dict(state["optimizer"])',
        "pass",
    ),
    "a resumed epoch forgets what came before": (
        "swin_cifar/run.py",
        'state["step"], state["sums"]',
        'state["step"], self.sums',
    ),
    "evaluation leaves the model in eval mode": (
        "swin_cifar/predict.py",
        "            module.training = training\n",
        "            pass\n",
    ),
    "a step forgets its own seed": (
        "swin_cifar/run.py",
        'seed_for(self.recipe.seed, "augmentation", step)',
        'seed_for(self.recipe.seed, "augmentation", 0)',
    ),
    "all processes take the same pictures": (
        "swin_cifar/distributed.py",
        "batch[rank() :: world_size()]",
        "batch[: len(batch) // world_size()]",
    ),
    "the ladder's model without shift has one": ("swin_cifar/variants.py", "block.shift_size = 0", "pass"),
    "gains over another seed": (
        "checkpoints/study.py",
        "100 * (h.accuracy(part) - reference[h.recipe.seed])",
        "100 * (h.accuracy(part) - next(iter(reference.values())))",
    ),
    # The page's model is JavaScript; Node.js runs its tests.
    "page: mask dropped": (
        "swin_cifar/explainer/model.js",
        "if (mask && !mask.data[(w * N + i) * N + j]) row[j] = -Infinity;",
        "",
    ),
    "page: roll not undone": (
        "swin_cifar/explainer/model.js",
        "crop(roll(windowReverse(windows, M, Hp, Wp), -up, -left), H, W)",
        "crop(windowReverse(windows, M, Hp, Wp), H, W)",
    ),
    "page: dy and dx swapped": (
        "swin_cifar/explainer/model.js",
        "dy * (2 * trained - 1) + dx",
        "dx * (2 * trained - 1) + dy",
    ),
    "page: scores not scaled": ("swin_cifar/explainer/model.js", "sum / Math.sqrt(d)", "sum"),
    "page: PatchMerging gathers row by row": (
        "swin_cifar/explainer/model.js",
        "        [1, 0],\n        [0, 1],\n",
        "        [0, 1],\n        [1, 0],\n",
    ),
    "page: padding attended to": (
        "swin_cifar/explainer/model.js",
        "rows[y] < 0 || cols[x] < 0 ? -1 : 2 * rows[y] + cols[x]",
        "2 * Math.max(rows[y], 0) + Math.max(cols[x], 0)",
    ),
    "page: a window that covers the map is shifted": (
        "swin_cifar/explainer/model.js",
        "[H > M ? shift : 0, W > M ? shift : 0]",
        "[shift, shift]",
    ),
    "page: mask flipped where nothing is forbidden": (
        "swin_cifar/explainer/model.js",
        "if (row.includes(0)) row",
        "row",
    ),
    "page: reach without the mask": (
        "swin_cifar/explainer/field.js",
        " && mayAttend(steps, w, i, j)",
        "",
    ),
    "page: GELU by its tanh formula": (
        "swin_cifar/explainer/model.js",
        "(x * (1 + erf(x / Math.SQRT2))) / 2",
        "(x * (1 + Math.tanh(0.7978845608 * (x + 0.044715 * x ** 3)))) / 2",
    ),
    "page: shrunk without a wider filter": (
        "swin_cifar/explainer/resize.js",
        "Math.max(scale, 1)",
        "1",
    ),
}  # fmt: skip


def tests_for(file):
    """-> lists of test files, to run one after the other until a bug in `file` is noticed: its own first."""
    if "explainer" in Path(file).parts:
        return [["tests/test_explainer.py"]]
    name = Path(file).stem
    group = next((names for names in (OF_THE_MODEL, OF_TRAINING) if name in names), ())
    others = [other for other in group if other != name]
    existing = [
        [path for each in names if (ROOT / (path := f"tests/test_{each}.py")).exists()]
        for names in ([name], others)
    ]
    return [paths for paths in existing if paths]


def copy_to(folder):
    """Copy what the tests of the package need."""
    for name in COPIED:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)


def run_tests(folder, tests, which):
    """-> the exit code of pytest in `folder`, and what it printed."""
    report = folder / "report.txt"
    process = PROCESSES.Process(target=_pytest, args=(folder, report, [*which, *tests]))
    process.start()
    process.join()
    return process.exitcode, report.read_text(encoding="utf-8")


def _pytest(folder, report, arguments):
    with open(report, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = sys.path[0] = str(folder)
    import pytest

    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *arguments]))


def main():
    unnoticed = 0
    for bug, (file, old, new) in MUTATIONS.items():
        if bug.startswith("page:") and not shutil.which("node"):
            print(f"left out, without Node.js: {bug}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            copy_to(Path(folder))
            path = Path(folder) / file
            source = path.read_text(encoding="utf-8")
            if source.count(old) != 1:
                sys.exit(f"{bug}: {file} no longer holds exactly once: {old}")
            path.write_text(source.replace(old, new), encoding="utf-8")
            # Processes that train together are tested by nothing fast.
            which = [] if file == "swin_cifar/distributed.py" else ["-m", "not slow"]
            files = {name for name, _, _ in MUTATIONS.values()}
            everything = sorted({test for name in files for tests in tests_for(name) for test in tests})
            for tests in [everything] if bug == "none" else tests_for(file):
                code, printed = run_tests(Path(folder), tests, which)
                if code:
                    break
        failed = [line for line in printed.splitlines() if line.startswith(("FAILED", "ERROR"))]
        if bug == "none":
            if code:
                sys.exit(f"the tests fail without any planted bug: {printed}")
            continue
        noticed = code == 1 and failed
        unnoticed += not noticed
        by = failed[0].split(" ")[1].split("::")[-1] if failed else printed[-500:]
        print(f"{'noticed' if noticed else 'UNNOTICED'}: {bug}, by {by}", flush=True)
    planted = len(MUTATIONS) - 1
    print(f"{planted - unnoticed} of {planted} planted bugs noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
