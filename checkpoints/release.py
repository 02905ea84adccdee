"""Publish a trained model, and write every table of results from the histories.

    python checkpoints/release.py checkpoints/runs/mini_cifar10.pt   # publish as checkpoints/mini_cifar10.pt
    python checkpoints/release.py                                    # only write the tables again

Published: the weights in half precision, the history as JSON, the curves, the SHA-256. The
tables stand between `<!-- NAME -->` and `<!-- end -->` in README.md and checkpoints/README.md.
"""

import json
import re
import statistics
import sys
from dataclasses import asdict, replace
from pathlib import Path

from study import RATES, REFERENCE, RUNGS, STUDIES, differences, load_study, mean_and_deviation
from swin_cifar import SwinTransformer, evaluate, load_checkpoint, load_data, save_checkpoint, train_config
from swin_cifar.cards import architecture, parameters, pictures, table
from swin_cifar.checkpoint import SUMS, read_sums, sha256
from swin_cifar.config import model_config
from swin_cifar.curves import plot_history
from swin_cifar.history import History

FOLDER = Path(__file__).parent
OF_MUON = "momentum", "matrix_lr_scale"  # fields of a recipe that nothing else reads
TOLERANCE = 0.001  # that half precision may cost, as a share of the test pictures


def publish(run, data_root="data"):
    """Copy the run at `run` into `checkpoints/`. Raises ValueError if half precision costs accuracy."""
    checkpoint = load_checkpoint(run)
    history = checkpoint.history
    if not (history and history.results.test):
        raise ValueError(f"{run} was not measured on test pictures: let its training end first")
    path = FOLDER / re.sub(r"-\d+\.pt$", ".pt", Path(run).name)  # runs of one name are numbered
    half = checkpoint.model.half()
    rounded = SwinTransformer(half.config)
    rounded.load_state_dict({name: tensor.float() for name, tensor in half.state_dict().items()})
    _, test = load_data(history.dataset, data_root)
    accuracy = evaluate(rounded, test).accuracy
    if abs(accuracy - history.accuracy("test")) > TOLERANCE:
        raise ValueError(f"in half precision {run} has {accuracy:.2%}, not {history.accuracy('test'):.2%}")
    others = {name: digest for name, digest in read_sums(FOLDER / SUMS).items() if name != path.name}
    _write_sums(others)  # a published file is written over only here
    save_checkpoint(path, half, checkpoint.dataset, history)
    plot_history(history).savefig(path.with_suffix(".png"), dpi=100)
    _write_sums({p.name: sha256(p) for p in sorted(FOLDER.glob("*.pt"))})


def _write_sums(sums):
    text = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    (FOLDER / SUMS).write_text(text, encoding="utf-8")


# --- tables -----------------------------------------------------------------------------


# The rows of the board, in order: a study of one recipe, or a published model.
BUDGETS = {
    "preset": "`nano` as it is, 15 epochs",
    "half-hour": "`nano`, 80 epochs",
    "long": "`nano`, 160 epochs",
    "nano": "`nano`, 160 epochs of AdamW (an earlier recipe; the notebooks look into it)",
    "fine": "as many parameters, patches of 2 pixels",
    "micro": "at most 2 million parameters",
    "mini": "at most 7.1 million parameters",
}


def board_table():
    """The board: what was reached, by which command, in how many minutes on what."""
    head = "what,command,parameters,epochs,time,device,seeds,validation,test accuracy"
    rows = [head.split(",")]
    for budget, words in BUDGETS.items():
        path = FOLDER / f"{budget}_cifar10.json"
        words += f": `{path.stem}`" if path.exists() else ""
        if budget in STUDIES:
            runs = load_study(budget, "nano", FOLDER / "studies").get(REFERENCE, [])
            rows += [_row(words, "nano", runs, budget)] if runs else []
        elif path.exists():
            rows.append(_row(words, budget, [History.load(path)]))
    return table(rows)


def _row(name, preset, histories, study=None):
    """`study`: what made the histories, where no option of `train` could: a model of another shape."""
    first = histories[0]
    seconds = statistics.mean(map(_undisturbed_seconds, histories))
    validation, test = _accuracies(histories)
    made_by = _made_by(preset, replace(first, recipe=replace(first.recipe, seed=0)), study)
    run = [
        parameters(first.model),
        len(first.epochs),
        f"{seconds / 60:.0f} min",
        first.device,
        len(histories),
    ]
    return [name, made_by, *map(str, run), _percent(validation), f"**{_percent(test)}**"]


def study_table(study, preset="nano"):
    """What each change is worth: gain in accuracy over the study's reference, in percentage points."""
    runs = load_study(study, preset, FOLDER / "studies")
    rows = [["change", "seeds", "validation", "test"]]
    gains = {part: differences(runs, part) for part in ("validation", "test")}
    worth = {variant: mean_and_deviation(values)[0] for variant, values in gains["validation"].items()}
    for variant in sorted(worth, key=worth.get):
        values = [gains[part][variant] for part in ("validation", "test")]
        rows.append([variant, str(len(values[0])), *(_gain(v) for v in values)])
    return (
        f"{table(rows)}\n\n{len(worth)} of the study's {len(STUDIES[study]) - 1} changes were tried so far."
    )


def ladder_table(study, preset="nano"):
    """From a plain Transformer to Swin: one row per model of the study."""
    rows = [["model", "parameters", "million operations", "seeds", "validation", "test"]]
    for name, histories in load_study(study, preset, FOLDER / "studies").items():
        facts = histories[0].results
        about = [f"{facts.parameters:,}", f"{facts.flops_per_image / 1e6:.1f}", str(len(histories))]
        rows.append([name, *about, *map(_percent, _accuracies(histories))])
    return table(rows)


def rates_table(preset="nano"):
    """Validation accuracy of the study "rates": a column for each rung, a row for each change of rates."""
    runs = load_study("rates", preset, FOLDER / "studies")
    rows = [["rates", *RUNGS]]
    for change in RATES:
        found = [runs.get(f"{idea}, {change}", []) for idea in RUNGS]
        if any(found):
            rows.append([change, *(_percent(_accuracies(each)[0]) if each else "" for each in found)])
    return table(rows)


def card(path):
    """The model card of a published checkpoint."""
    history = History.load(path.with_suffix(".json"))
    name = path.stem.removesuffix(f"_{history.dataset}")
    study, preset = (name, "nano") if name in STUDIES else (None, name)
    model = f"preset `{preset}`" if history.model == model_config(preset) else f"study `{study}`"
    seconds = _undisturbed_seconds(history)
    speed = len(history.epochs) * history.train_size / seconds
    facts = {
        "model": f"{model}: {architecture(history.model)}",
        "data": pictures(history),
        "made by": _made_by(preset, history, study),
        "on": f"{history.device}: {seconds / 60:.0f} min, {speed:,.0f} pictures a second; "
        f"torch {history.versions['torch']}",
        "accuracy": f"validation {history.accuracy('validation'):.2%}, "
        f"test **{history.accuracy('test'):.2%}**, measured at the end, with weights of 32 bits",
        "files": f"`{path.name}` (weights in 16 bits, {path.stat().st_size / 1e6:.1f} MB), `.json` (history, "
        "epoch by epoch), `.png` (curves)",
    }
    if history.results.temperature:
        facts["confidence"] = f"logits / {history.results.temperature:.2f}, fitted on the held-out pictures"
    rows = [["", ""], *([name, text] for name, text in facts.items())]
    return f"## {path.stem}\n\n{table(rows)}\n\n![Curves of this run]({path.stem}.png)"


def _made_by(preset, history, study=None):
    """The command that made a run of a preset or, where the model has another shape, a study."""
    if study and history.model != model_config(preset):
        return f"`python checkpoints/study.py {study}`"
    return f"`{command(preset, history.recipe)}`"


def command(preset, recipe):
    """The command line that trains `preset` with `recipe`."""
    usual = asdict(train_config(preset))
    changes = {field: value for field, value in asdict(recipe).items() if value != usual[field]}
    if recipe.optimizer == "adamw":
        changes = {field: value for field, value in changes.items() if field not in OF_MUON}
    options = "".join(f" --set {field}={json.dumps(value)}" for field, value in changes.items())
    return f"python -m swin_cifar train --preset {preset}{options}"


def _undisturbed_seconds(history):
    """What its epochs would have taken, had each taken as long as their median: without pauses."""
    return len(history.epochs) * statistics.median(epoch.seconds for epoch in history.epochs)


def _accuracies(histories):
    """-> validation, test: in percent, one of each per history."""
    return tuple([100 * h.accuracy(part) for h in histories] for part in ("validation", "test"))


def _percent(values):
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.2f}%" if deviation is None else f"{mean:.2f} ± {deviation:.2f}%"


def _gain(values):
    mean, deviation = mean_and_deviation(values)
    return f"{mean:+.2f}" if deviation is None else f"{mean:+.2f} ± {deviation:.2f}"


# --- into the pages ---------------------------------------------------------------------


def pages():
    """{path: its text with every table written anew}."""
    shipped = "\n\n".join(card(path) for path in sorted(FOLDER.glob("*.pt")))
    parts = {
        FOLDER.parent / "README.md": {"board": board_table()},
        FOLDER / "README.md": {
            "board": board_table(),
            "cards": shipped,
            "recipe": study_table("recipe"),
            "ladder": ladder_table("ladder"),
            "ladder-one-rate": ladder_table("ladder-one-rate"),
            "embedding-or-bias": ladder_table("embedding-or-bias"),
            "long": ladder_table("long"),
            "rates": rates_table(),
        },
    }
    return {path: _filled(path.read_text(encoding="utf-8"), texts) for path, texts in parts.items()}


def _filled(page, texts):
    for name, text in texts.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        page, count = re.subn(pattern, lambda m, text=text: f"{m[1]}{text}\n{m[2]}", page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"there are {count} places marked <!-- {name} -->, not one")
    return page


if __name__ == "__main__":
    for run in sys.argv[1:]:
        publish(run)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
