"""The interactive page: computes what PyTorch does, with every switch; asks no network; is used by hand."""

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from swin_cifar.__main__ import main
from swin_cifar.checkpoint import Checkpoint, load_checkpoint
from swin_cifar.config import SwinConfig
from swin_cifar.data import load_shapes10, normalize
from swin_cifar.explainer import build
from swin_cifar.inspection import walk
from swin_cifar.model import SwinTransformer, SwinTransformerBlock
from swin_cifar.pictures import to_tensor
from swin_cifar.variants import ablate

SHIPPED = build.HERE.parents[1] / "checkpoints" / "nano_cifar10.pt"
MEAN, STD = (0.5, 0.4, 0.6), (0.2, 0.3, 0.25)
CONFIGS = {
    "two stages": SwinConfig(32, 4, 3, 12, (2, 2), (3, 6), 4),
    "three stages": SwinConfig(24, 2, 3, 8, (2, 2, 2), (2, 2, 4), 3, 2.0, num_classes=4),
}


def large(config, seed=0):
    """A model whose bias, scores and branches all weigh much."""
    torch.manual_seed(seed)
    model = SwinTransformer(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias_table" in name:
                parameter.normal_(0, 2)
            elif "qkv.weight" in name:
                parameter.mul_(2)
            elif "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def checkpoint_of(model, name="pictures", classes=None):
    classes = classes or tuple(f"class {i}" for i in range(model.config.num_classes))
    return Checkpoint(model, {"name": name, "classes": classes, "mean": MEAN, "std": STD}, None, None)


# --- what it computes -------------------------------------------------------------------


@pytest.fixture(scope="module")
def javascript(tmp_path_factory):
    """-> function(model, runs, fits) that computes with the page's scripts, outside of a page."""
    node = shutil.which("node")
    if not node:
        pytest.skip("the page's model is run by Node.js, which is not installed")
    script = tmp_path_factory.mktemp("page") / "model.mjs"
    names = build.SCRIPTS[:3]
    assert names == ("model.js", "field.js", "resize.js")
    sources = [
        re.sub(r"^import .*?;\n", "", (build.HERE / name).read_text(encoding="utf-8"), flags=re.M)
        for name in names
    ]
    script.write_text("\n".join(sources), encoding="utf-8")

    def run(model=None, runs=(), fits=()):
        request = {
            "runs": [{**one, "picture": build.pack(one["picture"], "f4")} for one in runs],
            "fits": fits,
        }
        if model:
            request["model"] = json.loads(read_data(build.explain_page(checkpoint_of(model), {}), "model"))
            request["model"]["state"] = {
                name: build.pack(value, "f4") for name, value in model.state_dict().items()
            }
        command = [node, __file__.replace("test_explainer.py", "explainer_steps.mjs"), script]
        done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        return [{name: unpack(value) for name, value in one.items()} for one in answer["answers"]], [
            unpack(value) for value in answer["fitted"]
        ]

    return run


def unpack(value):
    if isinstance(value, dict):
        return torch.tensor(value["data"], dtype=torch.float32).view(value["shape"])
    return [unpack(one) for one in value] if isinstance(value, list) else value


def read_data(page, name):
    """What a script element of the page holds."""
    return re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)[1]


def logits_of(model, picture):
    with torch.no_grad():
        return model(normalize((picture[None] * 255), MEAN, STD))[0]


def block_paths(config):
    return [f"stages.{s}.blocks.{i}" for s, depth in enumerate(config.depths) for i in range(depth)]


@pytest.mark.parametrize("side", [None, 37, 9], ids=lambda side: f"side {side}")
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_step_is_that_of_pytorch(javascript, config, side):
    model, side = large(config), side or config.image_size
    picture = torch.rand(3, side, side)
    paths = block_paths(config)
    want = ["image", "embed.out", "norm", "mean", "logits", "probabilities"]
    want += [f"stages.{s}.merging.out" for s in range(1, len(config.depths))]
    steps = ("x", "norm1", "windows", "mask", "branch1", "middle", "out")
    steps += tuple(f"attention.{name}" for name in ("q", "k", "v", "scores", "bias", "attn", "out"))
    want += [f"{path}.{step}" for path in paths for step in steps]
    found = javascript(model, [{"picture": picture, "changes": {}, "want": want}])[0][0]

    with torch.no_grad():
        image = normalize(picture[None] * 255, MEAN, STD)
        expected = {"image": image[0], "embed.out": model.patch_embed(image)[0]}
        x = model.patch_embed(image)
        for s, stage in enumerate(model.stages):
            x = stage.downsample(x)
            if s:
                expected[f"stages.{s}.merging.out"] = x[0]
            for i, block in enumerate(stage.blocks):
                expected |= {f"stages.{s}.blocks.{i}.{name}": t for name, t in steps_of(block, x).items()}
                x = block(x)
        x = model.norm(x)
        expected |= {"norm": x[0], "mean": x.mean((1, 2))[0], "logits": model(image)[0]}
        expected["probabilities"] = expected["logits"].softmax(0)
    assert expected.keys() == set(want)
    for name, value in expected.items():
        if value is None:
            assert found[name] is None, name
        else:
            assert found[name].shape == value.shape, name
            assert (found[name] - value.float()).abs().max() < 1e-4, name


def steps_of(block, x):
    """Each step of a block, by PyTorch."""
    norm1 = block.norm1(x)
    windows, mask = block.to_windows(norm1)
    attention = block.attn
    heads = attention.num_heads
    q, k, v = attention.qkv(windows).unflatten(-1, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5)[:, 0]
    out, attn = attention.explicit_attention(windows, mask)
    branch1 = block.window_attention(norm1)
    return {
        "x": x[0], "norm1": norm1[0], "windows": windows[0], "mask": mask,
        "attention.q": q, "attention.k": k, "attention.v": v,
        "attention.scores": q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5,
        "attention.bias": attention.relative_position_bias(),
        "attention.attn": attn[0], "attention.out": out[0],
        "branch1": branch1[0], "middle": (x + branch1)[0], "out": block(x)[0],
    }  # fmt: skip


# --- each switch, made in PyTorch as well -----------------------------------------------


def blocks_of(model):
    return [block for block in model.modules() if isinstance(block, SwinTransformerBlock)]


def flip_mask(model):
    for block in blocks_of(model):
        right = block.to_windows

        def wrong(x, right=right):
            windows, mask = right(x)
            # As an added ±100 does: a query with forbidden keys sees them alone.
            return windows, mask if mask is None else torch.where(mask.all(2, keepdim=True), mask, ~mask)

        block.to_windows = wrong


def no_content(model):
    for block in blocks_of(model):
        C = block.attn.qkv.in_features
        block.attn.qkv.weight.data[:C] = 0  # the queries
        block.attn.qkv.bias.data[:C] = 0


def head_off(model):
    attn = blocks_of(model)[1].attn
    d = attn.qkv.in_features // attn.num_heads
    attn.proj.weight.data[:, d : 2 * d] = 0


def mean_token(model):
    def replace(block, inputs):
        x = inputs[0].clone()
        x[0, 2, 1] = inputs[0].mean((1, 2))[0]
        return (x,)

    blocks_of(model)[1].register_forward_pre_hook(replace)


def other_window(M):
    def change(model):
        for block in blocks_of(model):
            trained = block.window_size
            offsets = torch.arange(1 - M, M).clamp(1 - trained, trained - 1) + trained - 1
            rows = (offsets[:, None] * (2 * trained - 1) + offsets).flatten()
            other = SwinTransformerBlock(
                block.attn.qkv.in_features, block.attn.num_heads, M, M // 2 if block.shift_size else 0
            )
            block.attn.relative_position_bias_table.data = block.attn.relative_position_bias_table[rows]
            block.attn.relative_position_index = other.attn.relative_position_index
            block.attn.window_size = block.window_size = M
            block.shift_size = other.shift_size

    return change


SWITCHES = {
    "shift off": ({"all": {"shift": "off"}}, lambda model: ablate(model, "shift")),
    "mask off": ({"all": {"mask": "off"}}, lambda model: ablate(model, "mask")),
    "mask flipped": ({"all": {"mask": "flipped"}}, flip_mask),
    "bias off": ({"all": {"bias": "off"}}, lambda model: ablate(model, "bias")),
    "content off": ({"all": {"content": "off"}}, no_content),
    "a head off": ({"of": {"1": {"headOff": 1}}}, head_off),
    "a token replaced": ({"of": {"1": {"replaced": [2, 1]}}}, mean_token),
    "smaller windows": ({"all": {"windowSize": 2}}, other_window(2)),
    "larger windows": ({"all": {"windowSize": 5}}, other_window(5)),
    "two at once": (
        {"all": {"mask": "off", "bias": "off"}},
        lambda model: ablate(model, "mask", "bias"),
    ),
}


@pytest.mark.parametrize("side", [32, 38])
@pytest.mark.parametrize(("changes", "in_pytorch"), SWITCHES.values(), ids=SWITCHES)
def test_a_switch_is_the_same_change_in_pytorch(javascript, changes, in_pytorch, side):
    picture = torch.rand(3, side, side)
    model = large(CONFIGS["two stages"])
    runs = [{"picture": picture, "changes": c, "want": ["logits"]} for c in ({}, changes)]
    plain, found = (answer["logits"] for answer in javascript(model, runs)[0])
    assert (plain - logits_of(model, picture)).abs().max() < 1e-4
    with torch.no_grad():
        in_pytorch(model)
    assert (found - logits_of(model, picture)).abs().max() < 1e-4
    assert (found - plain).abs().max() > 1e-3, "a switch that changes nothing"


def test_what_reaches_a_token_is_what_changes_it(javascript):
    """Against PyTorch's gradient: pixels that have one are those that reach; padded, merged."""
    model, side = large(CONFIGS["two stages"]), 44
    picture = torch.rand(3, side, side)
    for block, token in ((0, (2, 5)), (1, (3, 4)), (1, (10, 4)), (2, (0, 1)), (3, (4, 2))):
        run = {"picture": picture, "changes": {}, "want": [], "reach": {"block": block, "token": token}}
        found = javascript(model, [run])[0][0]["reach"][-1]
        image = normalize(picture[None] * 255, MEAN, STD).requires_grad_()
        _, _, out = list(walk(model, image))[block]
        (gradient,) = torch.autograd.grad(out[0, token[0], token[1]].square().sum(), image)
        tokens = F.max_pool2d(gradient.abs().amax(1), model.config.patch_size)[0] > 0
        assert torch.equal(found.bool(), tokens), block
        assert block > 1 or not tokens.all()


def test_a_replaced_token_is_reached_by_all(javascript):
    model = large(CONFIGS["two stages"])
    run = {"picture": torch.rand(3, 32, 32), "changes": {"of": {"1": {"replaced": [2, 1]}}}, "want": []}
    for token, everything in (((2, 2), True), ((7, 4), False)):
        found = javascript(model, [run | {"reach": {"block": 1, "token": token}}])[0][0]["reach"][-1]
        assert found.bool().all() == everything


@pytest.mark.parametrize("size", [(32, 32), (60, 45), (33, 200), (500, 375), (7, 5), (31, 31)])
def test_a_picture_is_cut_and_shrunk_as_predict_does_it(javascript, size):
    width, height = size
    rng = np.random.default_rng(width)
    # Far from black and white, where it matters which axis comes first: that differs between Pillows.
    small = rng.integers(80, 176, (max(height // 5, 2), max(width // 5, 2), 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize(size, Image.Resampling.NEAREST)
    data = np.dstack([np.array(picture), np.full((height, width), 255)]).flatten().tolist()
    fit = {"width": width, "height": height, "data": data, "size": 32}
    (found,) = javascript(fits=[fit])[1]
    difference = (found - to_tensor(picture, 32)).abs()
    assert difference.max() <= 1 and difference.mean() < 0.1


def test_what_is_transparent_is_laid_on_white(javascript):
    data = [200, 0, 0, 0] * 64 + [200, 0, 0, 255] * 64
    (found,) = javascript(fits=[{"width": 16, "height": 8, "data": data, "size": 8}])[1]
    assert (found[:, :2] == 255).all() and (found[0, -2:] == 200).all()


# --- the page ---------------------------------------------------------------------------


def test_the_page_holds_everything_and_asks_for_nothing():
    classes = ("</script><b>", "猫", "{name}", "&amp;")
    checkpoint = checkpoint_of(large(CONFIGS["three stages"]), classes=classes)
    page = build.explain_page(checkpoint, {"one": torch.zeros(3, 24, 24, dtype=torch.uint8)})
    data = json.loads(read_data(page, "model"))
    assert tuple(data["classes"]) == classes and list(data["pictures"]) == ["one"]
    assert (
        not re.search(r"(src|href)=[\"']?(https?:)?//", page)
        and "import " not in page.split("</style>")[1].split("// ===")[0]
    )
    assert "<!-- " not in page and page.count("</script>") == 3


def test_half_precision_is_kept_only_where_nothing_is_lost():
    exact, other = torch.tensor([0.5, -1.25, 3.0]), torch.tensor([0.1, 1.0])
    assert [build.pack(t)["kind"] for t in (exact, other)] == ["f2", "f4"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (SwinConfig(32, 4, 1, 12, (1,), (3,), 4), "3 channels"),
        (SwinConfig(num_classes=40_000), "at most 10,000,000"),
    ],
    ids=["grey", "large"],
)
def test_what_no_page_can_show_is_refused(config, says):
    with pytest.raises(ValueError, match=says):
        build.explain_page(checkpoint_of(SwinTransformer(config)))


def test_pictures_of_other_sizes_are_scaled():
    page = build.explain_page(
        checkpoint_of(large(CONFIGS["two stages"])), {"a": torch.zeros(3, 50, 40, dtype=torch.uint8)}
    )
    picture = base64.b64decode(json.loads(read_data(page, "model"))["pictures"]["a"])
    assert picture == bytes(3 * 32 * 32)


def test_both_languages_say_the_same_things():
    words = json.loads((build.HERE / "strings.json").read_text(encoding="utf-8"))
    for key, both in words.items():
        assert both.keys() == {"en", "zh"} and all(both.values()), key
        places = [sorted(re.findall(r"\{(\w+)\}", text)) for text in both.values()]
        assert places[0] == places[1], key
    source = "\n".join((build.HERE / name).read_text(encoding="utf-8") for name in build.SCRIPTS)
    used = set(re.findall(r"\b(?:say|tokenChart|card|notify)\(\"([\w.-]+)\"", source))
    assert len(used) > 60 and used <= words.keys(), used - words.keys()


def test_each_script_stands_after_those_that_it_imports():
    for place, name in enumerate(build.SCRIPTS):
        source = (build.HERE / name).read_text(encoding="utf-8")
        for target in re.findall(r'^import .* from "(.*)";$', source, re.MULTILINE):
            path = (build.HERE / name).parent.joinpath(target).resolve().relative_to(build.HERE.resolve())
            assert path.as_posix() in build.SCRIPTS[:place], f"{name} imports {target}"
    there = {path.relative_to(build.HERE).as_posix() for path in build.HERE.rglob("*.js")}
    assert there == set(build.SCRIPTS)


def test_the_command_writes_a_page_and_opens_it(tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    out = tmp_path / "new" / "page.html"
    command = ["explain", str(SHIPPED), "--out", str(out), "--data-root", str(tmp_path)]
    assert main(command) == 0 and opened == [out.as_uri()]
    assert "MB" in capsys.readouterr().out and out.stat().st_size < 3e6
    assert main([*command, "--no-browser"]) == 0 and len(opened) == 1
    assert main(["explain", str(tmp_path / "none.pt"), "--out", str(out)]) == 1


def test_where_cifar10_is_its_first_test_pictures_are_on_the_page(tmp_path, monkeypatch):
    asked = []
    found = load_shapes10(10, 20)  # in CIFAR-10's place
    monkeypatch.setattr(
        "swin_cifar.__main__.load_cifar10", lambda root, download: asked.append(download) or found
    )
    out = tmp_path / "page.html"
    assert main(["explain", str(SHIPPED), "--out", str(out), "--no-browser"]) == 0
    pictures = json.loads(read_data(out.read_text(encoding="utf-8"), "model"))["pictures"]
    assert len(pictures) == 6 + 12 and f"test 0: {found[1].classes[found[1].labels[0]]}" in pictures
    assert asked == [False]  # nothing is fetched for a page


# --- in a browser -----------------------------------------------------------------------


def odd_checkpoint():
    """A hundred classes, names that are code, long or not Latin; a window that does not divide the map."""
    names = ["<marquee>", "قطة", "一只很长很长很长的猫的名字" * 4, "&amp; {name}", "constructor"]
    classes = names + [f"class number {i} with a long, long name" for i in range(95)]
    config = SwinConfig(48, 4, 3, 16, (2, 2), (2, 4), 10, num_classes=100)
    return checkpoint_of(large(config), name="<b>", classes=tuple(classes))


@pytest.fixture(scope="module")
def seen(in_browser, tmp_path_factory):
    """What a reader meets on the page of the shipped model."""
    folder = tmp_path_factory.mktemp("explainer")
    checkpoint = load_checkpoint(SHIPPED)
    pictures = torch.rand(50, 3, 32, 32)
    (folder / "pictures.json").write_text(json.dumps(pictures.flatten(1).tolist()), encoding="utf-8")
    files = folder / "files"
    files.mkdir()
    (files / "empty.png").touch()
    (files / "words.png").write_text("no picture", encoding="utf-8")
    (files / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    Image.new("1", (6000, 5001)).save(files / "huge.png")
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(files / "deep.png")  # 16 bits
    frames = [Image.new("P", (20, 10), colour) for colour in (0, 1)]
    frames[0].save(files / "moves.gif", save_all=True, append_images=frames[1:])
    good = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    good.save(files / "picture.png")
    page = folder / "page.html"
    page.write_text(build.explain_page(checkpoint), encoding="utf-8")
    found = in_browser("explainer_page.mjs", page.as_uri(), folder)
    normal = normalize(255 * pictures, checkpoint.dataset["mean"], checkpoint.dataset["std"])
    with torch.no_grad():
        expected = checkpoint.model(normal)
    return found | {"expected": expected, "good": to_tensor(good, 32)}


@pytest.fixture(scope="module")
def places(in_browser, tmp_path_factory):
    """Where a reader goes, and how: by addresses, by Back, by Tab; and what an odd model looks like."""
    folder = tmp_path_factory.mktemp("places")
    for name, checkpoint in (("page", load_checkpoint(SHIPPED)), ("odd", odd_checkpoint())):
        (folder / f"{name}.html").write_text(build.explain_page(checkpoint), encoding="utf-8")
    return in_browser("explainer_places.mjs", (folder / "page.html").as_uri(), folder)


def test_the_page_answers_as_pytorch_does(seen):
    assert (torch.tensor(seen["logits"]) - seen["expected"]).abs().max() < 1e-4


def test_nothing_fails_and_nothing_is_asked_for(seen, places):
    for one in (seen, places):
        assert one["errors"] == [] and one["requests"] == []


def test_every_step_is_reached_by_the_keyboard(seen):
    assert seen["steps"] == [
        "patches", "block 0", "block 1, shifted", "merging 1", "block 2", "block 3", "head", "reach",
    ]  # fmt: skip


def test_tokens_and_keys_are_chosen_and_said(seen):
    assert seen["token"] == [2, 5]
    assert seen["key"] == 5 and re.fullmatch(r"q · k / √d -?\d+\.\d{4}, key \(\d,\s\d\)", seen["tip"])
    assert seen["pair"].startswith("query (2,\xa05), key (3,\xa03):")
    assert 0.9 < seen["roll"] < 1


def test_each_switch_shows_both_answers_and_can_be_undone(seen):
    for what, answer in seen["answers"].items():
        before, after = re.fullmatch(r"As trained: (.*)\n+Now: (.*)", answer).groups()
        assert f"Answer: {before}" == seen["plain"], what
    changed = [answer for answer in seen["answers"].values() if len(set(re.findall(r"\d+\.\d%", answer))) > 3]
    assert len(changed) >= 6 and "=off" not in seen["address"]
    assert seen["padded"] == "10 × 10 × 48"


def test_an_address_leads_to_its_state(seen):
    assert seen["opened"] == [2, [3, 1], "off", "zh"]
    assert seen["followed"] == [[0, 0], "on", "zh"]  # what an address leaves out is as at the start
    assert seen["wrong"] == [3, [9, 0], "on", "patches", 64, "airplane", -1, -1]


def test_back_leads_to_the_place_before(places):
    assert places["places"] == [
        ["merging", [1, 1], "off", "dark"],
        ["block", [2, 3], "on", "dark"],
        ["merging", [1, 1], "off", "dark"],
        ["merging", [1, 1], "off", "dark"],
    ]


def test_a_class_is_chosen_and_kept_in_the_address(places):
    assert places["label"] == places["sameLabel"] >= 0


def test_while_the_map_rolls_nothing_else_is_drawn(places):
    assert places["drawnAgain"] == [255, 255, 0]
    assert places["rolled"] == [0.3, True]


def test_who_wants_no_motion_sees_jumps(places):
    assert set(places["jumps"]) <= {0, 0.5, 1} and 1 in places["jumps"]


def test_tab_reaches_everything_in_order(places):
    order = places["order"]
    assert len(order["expected"]) > 30 and order["tabs"] == order["expected"]
    assert order["unnamed"] == [] and order["unseen"] == []


def test_letters_and_frames_stand_out():
    """WCAG 2.2: 4.5 for text, 3 for what a control or a bar is known by."""
    css = (build.HERE / "style.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w+);", css.split(start)[1].split("}")[0]))
        for start in (":root {", '[data-theme="dark"] {')
    )
    light["notice"], dark["notice"] = re.findall(r"#notice \{ color: (#\w+);", css)
    (light["focus"],) = (dark["focus"],) = set(re.findall(r"outline: 3px solid (#\w+)", css))
    for theme in (light, dark):
        for back in (theme["back"], theme["card"]):
            for name in ("ink", "soft", "notice"):
                assert contrast(theme[name], back) >= 4.5, name
            for name in ("edge", "accent", "focus"):
                assert contrast(theme[name], back) >= 3, name
        assert contrast(theme["accent"], theme["line"]) >= 3  # a bar on its track


def contrast(*colours):
    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)


def test_the_focus_stays_where_it_was(seen):
    assert seen["focus"] == ["lang", "mask", "reset", "picture-frog"]


def test_own_pictures_are_read_and_bad_files_are_one_line(seen):
    notices = seen["notices"]
    assert "is empty" in notices["empty.png"] and "too large" in notices["huge.png"]
    assert "no picture" in notices["words.png"] and "no picture" in notices["phone.heic"]
    assert notices["deep.png"] == notices["moves.gif"] == notices["picture.png"] == ""
    assert "no picture" in notices["drop"] and notices["paste"] == notices["drop"]
    assert notices["camera"].startswith("No camera")
    found = torch.tensor(seen["own"]).view(3, 32, 32)
    assert (found - seen["good"]).abs().max() <= 1
    assert seen["drawn"] > 4


def test_a_click_is_answered_at_once(seen):
    """Generous: other programs may run beside it."""
    print(seen["milliseconds"])
    assert seen["milliseconds"]["forward"] < 400 and seen["milliseconds"]["click"] < 1000


def test_nothing_reaches_out_of_the_window(places):
    assert places["wide"] == {}


def test_odd_models_are_shown(places):
    for hash, (fits, window, elements, answer) in places["odd"].items():
        assert fits and window == "10" and elements == 0 and "%" in answer, hash


@pytest.mark.slow
def test_a_stock_firefox_computes_and_shows_the_same(tmp_path):
    """By the driver in explainer_firefox.py; left out where there is no Firefox."""
    executable = shutil.which("firefox") or shutil.which("firefox-esr")
    if not executable:
        pytest.skip("no Firefox is installed")
    driver = pytest.importorskip("explainer_firefox")
    model = large(CONFIGS["two stages"])
    page = tmp_path / "page.html"
    page.write_text(build.explain_page(checkpoint_of(model)), encoding="utf-8")
    picture = torch.rand(3, 32, 32)
    steps = ["logits", "embed.out", "stages[0].blocks[1].attention.attn", "stages[1].merging.out"]
    (tmp_path / "profile").mkdir()
    with driver.Firefox(executable, tmp_path / "profile") as firefox:
        firefox.open(page.as_uri())
        firefox.wait("document.body.dataset.ready === 'yes'")
        numbers = json.dumps(picture.flatten().tolist())
        run = f"swin.swinTransformer(swin.tensor([3, 32, 32], Float32Array.from({numbers})), swin.page.model)"
        data = ", ".join(f"Array.from(run.{step}.data)" for step in steps)
        found = firefox.evaluate(f"((run) => [{data}])({run})")
        titles = []
        for _ in range(8):
            titles.append(firefox.evaluate("document.title.split(': ')[1]"))
            firefox.press("#way [aria-current=step]", "ArrowRight")
        firefox.evaluate("history.back()")
        firefox.wait("swin.state.step === 'head'")
        firefox.click("#step-block1")
        firefox.click("#view canvas", 0.7, 0.3)
        firefox.press("canvas[aria-label^='Scores plus bias']", "ArrowDown")
        token, tip = firefox.evaluate("[swin.state.token, document.getElementById('tip').innerText]")
        firefox.press("#mask", "ArrowDown")
        firefox.press("#roll", "ArrowLeft")
        changed = firefox.evaluate("[swin.state.mask, swin.state.roll]")
        firefox.evaluate(
            "(document.dispatchEvent(new DragEvent('drop', { dataTransfer: new DataTransfer() })), 0)"
        )
        notice = firefox.evaluate("document.getElementById('notice').innerText")
    with torch.no_grad():
        image = normalize(picture[None] * 255, MEAN, STD)
        first = model.patch_embed(image)
        second = model.stages[0].blocks[0](first)
        block = model.stages[0].blocks[1]
        attn = block.attn.explicit_attention(*block.to_windows(block.norm1(second)))[1]
        merged = model.stages[1].downsample(block(second))
        for step, values, expected in zip(steps, found, (model(image), first, attn, merged)):
            assert (torch.tensor(values) - expected.flatten()).abs().max() < 1e-4, step
    assert titles == [
        "patches", "block 0", "block 1, shifted", "merging 1", "block 2", "block 3", "head", "reach",
    ]  # fmt: skip
    assert token == [2, 5] and "key" in tip
    assert changed == ["off", 0.99] and "no picture" in notice
    assert firefox.errors == [] and all(url.startswith(("file:", "data:")) for url in firefox.requests)
