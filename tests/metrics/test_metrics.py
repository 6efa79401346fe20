"""The measures, against closed forms, brute force, a peer, and pictures broken on purpose."""

import hashlib
import io
import json
import math
import pickle
import sys
from dataclasses import asdict, replace

import broken_sets
import measure_metrics
import pytest
import torch
import train_judge
from safetensors import safe_open
from torch.testing import assert_close
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3

from tigerdiff.data import downloads as _downloads
from tigerdiff.data.tensors import to_float
from tigerdiff.metrics import distances as metrics
from tigerdiff.metrics import inception as _inception
from tigerdiff.metrics.distances import (
    KernelDistance,
    crops,
    frechet,
    frechet_distance,
    image_features,
    kernel_distance,
    nearest,
    nearest_neighbours,
    squared_mmd,
)
from tigerdiff.metrics.eyes import eye_difference
from tigerdiff.metrics.judge import WEIGHTS, Judge, shipped_judge
from tigerdiff.metrics.prompts import judge, log_probability, prompt_accuracy, share_shown
from tigerdiff.tigers.paint import paint, procedural_tigers
from tigerdiff.tigers.tiger import CHOICES, RANGES, Tiger

NAMES = [*CHOICES, *RANGES]
CARD = json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))


def normal(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def with_moments(n, mean, root, seed):
    """Features (n, D) whose mean and unbiased covariance are exactly mean and root @ root.T."""
    z = normal(n, len(mean), seed=seed)
    z = z - z.mean(0)
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(z.T @ z / (n - 1)), z.T, upper=False
    )
    return (torch.as_tensor(root, dtype=torch.float64) @ white).T + torch.as_tensor(mean)


def noise_pictures(n, seed, low=0, size=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)


def flat(images):
    return (images.flatten(1).float() - 127.5) / 64


@pytest.fixture(scope="module")
def fresh():
    return procedural_tigers(1024, 64, seed=31)


# Fréchet


def test_frechet_of_diagonal_gaussians_is_the_closed_form():
    sigma_a, sigma_b = torch.tensor([[1, 2, 0.5], [3, 0.1, 0.5]], dtype=torch.float64)
    a = with_moments(40, [1.0, 0.0, -2.0], torch.diag(sigma_a), seed=1)
    b = with_moments(30, [0.0, 4.0, -2.0], torch.diag(sigma_b), seed=2)
    expected = 1 + 16 + (sigma_a - sigma_b).square().sum().item()
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_gaussians_that_do_not_commute_is_the_closed_form():
    root_a, root_b = torch.tensor([[1.0, 0.0], [2.0, 0.5]]), torch.tensor([[0.3, -1.0], [0.0, 3.0]])
    a, b = with_moments(9, [0.0, 0.0], root_a, seed=3), with_moments(8, [1.0, 1.0], root_b, seed=4)
    cov_a, cov_b = (root_a @ root_a.T).double(), (root_b @ root_b.T).double()
    product = cov_a @ cov_b  # for 2 x 2, tr M^(1/2) = (tr M + 2 det(M)^(1/2))^(1/2)
    trace = math.sqrt(product.trace() + 2 * math.sqrt(torch.linalg.det(product)))
    expected = 2 + (cov_a.trace() + cov_b.trace()).item() - 2 * trace
    assert frechet(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_with_fewer_pictures_than_features():
    sigma_a, sigma_b = torch.tensor([[1, 2, 0.5], [0.2, 1, 4]], dtype=torch.float64)
    turn = torch.linalg.qr(normal(60, 60, seed=0)).Q[:3]  # three dimensions of sixty
    a = with_moments(10, [0.0, 0.0, 3.0], torch.diag(sigma_a), seed=1) @ turn
    b = with_moments(7, [0.0, 0.0, 0.0], torch.diag(sigma_b), seed=2) @ turn
    expected = 9 + (sigma_a - sigma_b).square().sum().item()
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_is_a_distance_that_turning_and_shifting_leave_alone():
    a, b = normal(50, 20, seed=1), 2 * normal(15, 20, seed=2) + 1
    turn = torch.linalg.qr(normal(20, 20, seed=3)).Q
    d = frechet(a, b)
    assert frechet(b, a) == pytest.approx(d, rel=1e-10)
    assert frechet(a @ turn + 5, b @ turn + 5) == pytest.approx(d, rel=1e-10)
    assert frechet(3 * a, 3 * b) == pytest.approx(9 * d, rel=1e-10)
    assert frechet(a.flip(0), b) == pytest.approx(d, rel=1e-10)
    for x in (a, b):
        assert 0 <= frechet(x, x) < 1e-9


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_frechet_is_torchmetrics_own():
    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, images):
            return images.flatten(1).double() / 100

    a, b = noise_pictures(300, 0, size=2), noise_pictures(200, 1, low=40, size=2)
    peer = FrechetInceptionDistance(feature=Flat(), normalize=False).set_dtype(torch.float64)
    peer.inception.num_features = 12
    peer.update(a, real=True)
    peer.update(b, real=False)
    ours = frechet_distance(a, b, features=Flat())
    assert ours == pytest.approx(peer.compute().item(), rel=1e-6)


def test_extrapolation_removes_the_bias_of_few_pictures():
    draws = [(noise_pictures(150, 2 * k), noise_pictures(150, 2 * k + 1)) for k in range(60)]
    plain = torch.tensor([frechet_distance(a, b, features=flat) for a, b in draws])
    straight = torch.tensor(
        [frechet_distance(a, b, features=flat, extrapolate=True) for a, b in draws]
    )
    error = straight.std() / 60**0.5
    assert plain.min() > 0
    assert abs(straight.mean()) < 4 * error
    assert abs(straight.mean()) < plain.mean() / 4


def test_the_bias_falls_as_one_over_n():
    a, b = normal(64_000, 8, seed=1), normal(64_000, 8, seed=2)
    few, many = (
        sum(frechet(x, y) for x, y in zip(a.split(n), b.split(n))) / (64_000 / n)
        for n in (100, 400)
    )
    assert few / many == pytest.approx(4, rel=0.08)


# Kernel


def test_squared_mmd_is_the_double_sum_without_the_diagonal():
    a, b = normal(5, 4, seed=1), normal(7, 4, seed=2) + 0.5

    def k(x, y):
        return (sum(p * q for p, q in zip(x.tolist(), y.tolist())) / 4 + 1) ** 3

    def mean(pairs):
        values = [k(x, y) for x, y in pairs]
        return sum(values) / len(values)

    expected = (
        mean([(a[i], a[j]) for i in range(5) for j in range(5) if i != j])
        + mean([(b[i], b[j]) for i in range(7) for j in range(7) if i != j])
        - 2 * mean([(x, y) for x in a for y in b])
    )
    assert squared_mmd(a, b) == pytest.approx(expected, rel=1e-12)


def test_squared_mmd_is_unbiased_and_finds_the_closed_form():
    # In one dimension the kernel compares three moments: 3 dm1^2 + 3 dm2^2 + dm3^2.
    for shift in (0.0, 0.5):
        x, y = normal(4000, 6, 1, seed=5), normal(4000, 9, 1, seed=6) + shift
        draws = torch.tensor([squared_mmd(a, b) for a, b in zip(x, y)])
        expected = 3 * shift**2 + 3 * shift**4 + (shift**3 + 3 * shift) ** 2
        assert abs(draws.mean() - expected) < 4 * draws.std() / 4000**0.5


def test_kernel_distance_is_0_on_average():
    draws = [
        kernel_distance(
            noise_pictures(60, 2 * k), noise_pictures(80, 2 * k + 1), features=flat, seed=k
        )
        for k in range(400)
    ]
    distance, error = torch.tensor(draws, dtype=torch.float64).T
    assert abs(distance.mean()) < 4 * distance.std() / 400**0.5
    assert error.square().mean().sqrt() == pytest.approx(distance.std().item(), rel=0.15)


def test_kernel_distance_sees_every_picture_once_and_its_seed():
    a, b = noise_pictures(400, 0), noise_pictures(440, 1, low=100)
    first = kernel_distance(a, b, features=flat)
    assert isinstance(first, KernelDistance) and first.distance > 5 * first.standard_error
    assert first == kernel_distance(a, b, features=flat, seed=0)
    assert first != kernel_distance(a, b, features=flat, seed=1)
    seen = torch.cat(metrics._dealt(torch.arange(44.0)[:, None], 10, 3))
    assert sorted(seen.flatten().tolist()) == list(range(44))


# Neighbours and prompts, on numbers made by hand


def test_nearest_finds_planted_copies():
    known = normal(700, 30, seed=1)  # more than one batch
    places = torch.randperm(700, generator=torch.Generator().manual_seed(2))
    found = nearest(known[places] + 1e-3, known)
    assert torch.equal(found.reference, places)
    assert found.score.max() < 0.01
    new = nearest(normal(300, 30, seed=3), known)
    brute = (normal(300, 30, seed=3)[:, None] - known).norm(dim=2).min(1)
    assert torch.equal(new.reference, brute.indices)
    torch.testing.assert_close(new.distance, brute.values)
    apart = (known[:, None] - known).norm(dim=2).fill_diagonal_(torch.inf).min(1).values
    torch.testing.assert_close(new.score, brute.values / apart.median())
    assert new.score.median().item() == pytest.approx(1, abs=0.05)


def test_nearest_refuses_references_that_are_doubles():
    double = normal(60, 3, seed=1).repeat(2, 1)
    with pytest.raises(ValueError, match="exact double: leave the doubles out"):
        nearest(normal(2, 3, seed=2), double)


def test_share_shown_counts_what_was_asked_only():
    answers = {name: [words[0], words[1], words[1]] for name, words in CHOICES.items()}
    answers |= {name: torch.tensor([-0.5, 0.0, 0.5]) for name in RANGES}
    asked = [
        {"fur": "orange", "gaze_x": -0.35},
        {"fur": "orange", "mouth": "open"},
        {"fur": "white", "gaze_x": 0.75},
    ]
    shares = share_shown(answers, asked)
    assert shares == {"fur": pytest.approx(2 / 3), "mouth": 1.0, "gaze_x": 0.5}
    assert share_shown(answers, [{}, {}, {}]) == {}


# The judge that is shipped


def test_the_judge_is_the_one_its_card_describes():
    assert WEIGHTS.stat().st_size == CARD["bytes"] < 2e6
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == CARD["sha256"]
    with safe_open(WEIGHTS, "pt") as file:
        header = file.metadata()
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    assert CARD["command"].startswith("python tools/train_judge.py")
    shared = ("command", "seed", "steps", "pictures_seen", "hardware", "date")
    assert {name: header[name] for name in shared} == {name: str(CARD[name]) for name in shared}


def test_the_judge_reads_fresh_tigers(fresh):
    found = prompt_accuracy(*fresh)
    assert list(found) == NAMES
    assert found["fur"] >= 0.99 and found["backdrop"] >= 0.99
    assert found["mouth"] >= 0.97 and found["age"] >= 0.97
    for name, share in CARD["tested"][0]["accuracy"].items():
        error = math.sqrt(share * (1 - share) * (1 / 1024 + 1 / CARD["tested"][0]["n"]))
        assert abs(found[name] - share) < 4 * error + 2e-3
    answers, (_, tigers) = judge(fresh[0]), fresh
    for name, expected in CARD["tested"][0]["rms_error"].items():
        truth = torch.tensor([getattr(tiger, name) for tiger in tigers])
        error = (answers[name] - truth).square().mean().sqrt().item()
        assert error == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize(("size", "least"), [(32, 0.9), (128, 0.97)])
def test_the_judge_reads_other_sizes(size, least):
    found = prompt_accuracy(*procedural_tigers(128, size, seed=32))
    assert min(found[name] for name in ("fur", "backdrop", "mouth", "age")) >= least


def test_whoever_loads_the_judge_first_the_next_caller_gets_gradients():
    shipped_judge.cache_clear()
    with torch.inference_mode():
        shipped_judge(torch.device("cpu"))
    x = torch.zeros(1, 3, 64, 64, requires_grad=True)
    log_probability(x, fur="white").sum().backward()
    assert x.grad.abs().sum() > 0


def test_log_probability(fresh):
    """It is the judge's own answer, several words multiply, and its gradient is the slope."""
    images = fresh[0][:6]
    logits, x = shipped_judge(images.device)(images), to_float(images)
    asked = {"fur": "white", "mouth": "open"}
    likely = [logits[name].softmax(1)[:, CHOICES[name].index(asked[name])] for name in asked]
    expected = likely[0].log() + likely[1].log()
    assert_close(log_probability(x, fur="white", mouth="open"), expected, rtol=1e-3, atol=1e-3)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(log_probability(x, mouth="open").sum(), x)
    step = 1e-2 * slope / slope.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    with torch.no_grad():
        rise = log_probability(x + step, mouth="open") - log_probability(x - step, mouth="open")
    assert_close(rise, 2 * (slope * step).sum((1, 2, 3)), rtol=0.05, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (lambda x: x, {}, "^words must name some of fur, backdrop"),
        (lambda x: x, {"gaze_x": "left"}, "^words must name some of fur, backdrop"),
        (lambda x: x, {"fur": "pink"}, "fur 'pink': it must be one of orange, white"),
        (lambda x: x.byte(), {"fur": "white"}, r"^images must be float \(N, 3, S, S\)"),
        (lambda x: x[0], {"fur": "white"}, r"^images must be float \(N, 3, S, S\)"),
    ],
)
def test_log_probability_of_what_cannot_be_judged(change, words, message):
    with pytest.raises(ValueError, match=message):
        log_probability(change(torch.zeros(2, 3, 16, 16)), **words)


def test_prompt_accuracy_falls_when_something_else_was_asked(fresh):
    images, tigers = fresh[0][:200], fresh[1][:200]
    other = {"closed": "open", "open": "roaring", "roaring": "closed"}
    wrong = [replace(tiger, mouth=other[tiger.mouth]) for tiger in tigers[:50]]
    found = prompt_accuracy(images, [*wrong, *tigers[50:]])
    assert found["mouth"] == pytest.approx(0.75, abs=0.02)
    assert found["fur"] > 0.98
    words = [{"fur": tiger.fur} for tiger in tigers]
    assert prompt_accuracy(images, words) == {"fur": found["fur"]}
    full = [{name: asdict(tiger)[name] for name in NAMES} for tiger in tigers]
    assert prompt_accuracy(images, full) == prompt_accuracy(images, tigers)


def test_features_are_whitened_and_the_same_in_any_batch(fresh):
    features = image_features(fresh[0])
    assert features.shape == (1024, 128) and features.dtype == torch.float64
    assert features.mean(0).abs().max() < 0.2
    variances = torch.linalg.eigvalsh(torch.cov(features.T))
    assert variances.min() > 0 and variances.max() < 2 and 40 < variances.sum() < 140
    alone = image_features(fresh[0][300:303])
    torch.testing.assert_close(alone, features[300:303], atol=1e-3, rtol=0)


def test_the_shipped_form_of_a_trained_judge_is_the_same_function(monkeypatch):
    monkeypatch.setattr(train_judge, "CHUNK", 64)
    torch.manual_seed(0)
    trained = Judge(torch.nn.BatchNorm2d)
    images, tigers = procedural_tigers(64, 64, seed=34)
    for _ in range(20):
        trained(images)  # the normalisation learns its statistics
    trained.eval()
    plain = train_judge.folded(trained, seed=0)
    assert not [x for x in plain.modules() if isinstance(x, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        before, after = trained(images), plain(images)
    for name in NAMES:
        assert (after[name] - before[name]).abs().max() < 0.1 * before[name].std(0).min()
    choices, ranges = train_judge.labels(tigers)
    for i, tiger in enumerate(tigers):
        assert [words[k] for words, k in zip(CHOICES.values(), choices[i])] == [
            getattr(tiger, name) for name in CHOICES
        ]
        for (name, (low, high)), x in zip(RANGES.items(), ranges[i].tolist()):
            assert low + (high - low) * (x + 1) / 2 == pytest.approx(getattr(tiger, name), abs=1e-5)


@pytest.mark.slow
def test_every_break_is_seen_and_the_stronger_the_farther(fresh):
    n = 512
    real, again = image_features(fresh[0]).split(n)
    sets = broken_sets.broken_sets(fresh[0][:n], n, 64, seed=33)
    rows = {name: measure_metrics.measured(image_features(x), real) for name, x in sets}
    same = [measure_metrics.measured(again, real), rows.pop("fresh tigers")]
    copied = rows.pop("real ones learned by heart")
    noise = max(row["kernel_standard_error"] for row in same)
    assert all(abs(row["kernel"]) < 4 * noise for row in same)
    bias = max(row["frechet"] for row in same)
    for name, row in rows.items():
        assert row["frechet"] > 1.1 * bias, name
        # A kernel distance so small takes more pictures to see.
        assert row["kernel"] > (4 if name in broken_sets.SPOILED else 1) * noise, name
    kinds = {}
    for name in broken_sets.SPOILED:
        kinds.setdefault(name.split()[0], []).append(name)
    kinds |= {"resolution": ["half the resolution", "a quarter of the resolution"]}
    kinds |= {"fur": ["no white fur", "orange fur only"]}
    assert sum(len(names) > 1 for names in kinds.values()) >= 7
    for names in kinds.values():
        for distance in ("frechet", "kernel"):
            values = [rows[name][distance] for name in names]
            assert values == sorted(values), names
    # What is learned by heart looks better than real to the distances; its neighbours give it away.
    assert copied["frechet"] < bias and copied["kernel"] < 4 * noise
    assert copied["copies"] > 0.95
    assert rows["64 real ones again and again"]["copies"] == 1
    assert all(row["copies"] < 0.05 and 0.8 < row["nearest_score"] < 1.25 for row in same)


def test_crops_see_what_whole_pictures_hide():
    images, _ = procedural_tigers(96, 256, seed=35)
    real, other = images.split(48)
    small = torch.nn.functional.interpolate(other.float(), scale_factor=0.5, mode="area")
    soft = torch.nn.functional.interpolate(small, 256, mode="bilinear").round().to(torch.uint8)

    def far(cut):
        return frechet_distance(cut(real), cut(soft)) / frechet_distance(cut(real), cut(other))

    assert far(lambda x: x) < 1.1 and far(crops) > 1.4
    cut = crops(images, 40, each=2, seed=1)
    assert cut.shape == (192, 3, 40, 40) and torch.equal(cut, crops(images, 40, each=2, seed=1))
    assert not torch.equal(cut, crops(images, 40, each=2, seed=2))
    assert torch.equal(crops(images, 256, each=1), images)
    for wrong, sentence in (
        ({"size": 257}, "size must be a whole number from 1 to 256"),
        ({"each": 0}, "each must be"),
    ):
        with pytest.raises(ValueError, match=sentence):
            crops(images, **wrong)


def test_eyes_that_differ_are_seen(fresh):
    images, tigers = fresh[0][:100], fresh[1][:100]
    floor = eye_difference(images)
    assert floor.shape == (100,) and 0.04 < floor.mean() < 0.08 and floor.quantile(0.95) < 0.15
    blurred = torch.nn.functional.avg_pool2d(images.float(), 9, 1, 4).to(torch.uint8)
    following = dict(zip(CHOICES["fur"], CHOICES["fur"][1:] + CHOICES["fur"][:1]))
    moved = [replace(x, y=x.y + (0.1 if x.y < 0.02 else -0.1)) for x in tigers]
    coloured = [replace(x, fur=following[x.fur]) for x in tigers]
    for other, factor in ((blurred, 1.8), (paint(moved, 64), 2), (paint(coloured, 64), 2.3)):
        wrong = images.clone()
        for i, tiger in enumerate(tigers):
            middle = round(32 * (tiger.x + 1) + 3 * tiger.turn)
            wrong[i, :, :36, middle:] = other[i, :, :36, middle:]
        assert eye_difference(wrong).mean() > factor * floor.mean()
    with pytest.raises(ValueError, match="^images must be uint8"):
        eye_difference(images.float())


def test_nearest_neighbours_names_the_picture_that_was_copied(fresh):
    real, new = fresh[0][:300], fresh[0][300:330]
    found = nearest_neighbours(torch.cat([real[[7, 250]], new]), real)
    assert found.reference[:2].tolist() == [7, 250]
    assert found.score[:2].max() < 1e-3 < 0.5 < found.score[2:].min()


# Inception, without its weights at hand


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A cache of its own; nothing can be downloaded but what the test puts into `sent`."""
    sent = []

    def download(url, **limits):
        assert url == _inception.URL and limits["max_bytes"] < 2e8 and limits["max_seconds"] > 0
        if not sent:
            raise ConnectionError(f"{url} could not be downloaded: it took too long")
        return sent[0]

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(_downloads, "download", download)
    _inception.inception.cache_clear()
    yield sent
    _inception.inception.cache_clear()


def test_inception_without_torchmetrics_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    _inception.inception.cache_clear()
    a = noise_pictures(4, 0, size=8)
    with pytest.raises(ImportError, match=r'needs torch_fidelity: pip install "tigerdiff\[incepti'):
        frechet_distance(a, a, features="inception")


def test_inception_without_weights_is_one_sentence(weights, tmp_path):
    a = noise_pictures(4, 0, size=8)
    with pytest.raises(ConnectionError, match=r"took too long; put weights-.*\.pth into .*by hand"):
        frechet_distance(a, a, features="inception")
    weights.append(b"something else")
    with pytest.raises(ValueError, match="not send the known file .the SHA-256 differs.; put weig"):
        kernel_distance(a, a, features="inception", subsets=2)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_inception_never_unpickles_code(weights, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return print, ("exploded",)

    weights.append(pickle.dumps(Bomb(), protocol=2))
    monkeypatch.setattr(_inception, "SHA256", hashlib.sha256(weights[0]).hexdigest())
    with pytest.raises(pickle.UnpicklingError, match="[Ww]eights.only"):
        image_features(noise_pictures(2, 0, size=8), "inception")


def test_inception_features_are_those_of_torchmetrics(weights, monkeypatch):
    file = io.BytesIO()
    torch.save({}, file)
    file.seek(0)
    with monkeypatch.context() as patch:
        patch.setattr(NoTrainInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        peer = NoTrainInceptionV3("inception-v3-compat", ["2048"], file)
    file = io.BytesIO()
    torch.save(peer.state_dict(), file, _use_new_zipfile_serialization=False)  # as the real one is
    weights.append(file.getvalue())
    monkeypatch.setattr(_inception, "SHA256", hashlib.sha256(weights[0]).hexdigest())
    images = noise_pictures(3, 0, size=32)
    ours = image_features(images, "inception")
    assert ours.shape == (3, 2048)
    torch.testing.assert_close(ours, peer(images).double())
    weights.clear()  # the second time it is on the disk
    _inception.inception.cache_clear()
    assert torch.equal(image_features(images, "inception"), ours)


# Errors


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(4, 3, 8, 8),
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(4, 1, 8, 8, dtype=torch.uint8),
        torch.zeros(4, 3, 8, 9, dtype=torch.uint8),
    ],
    ids=["float", "one", "no batch", "grey", "not square"],
)
def test_pictures_that_cannot_be_measured(bad):
    good = torch.zeros(40, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(
        ValueError, match=r"^images_a must be uint8 \(N, 3, S, S\) with N >= 2, not"
    ):
        frechet_distance(bad, good)
    with pytest.raises(
        ValueError, match=r"^images_b must be .* with N >= 20, not \w+ \([\d, ]+\)$"
    ):
        kernel_distance(good, bad)
    with pytest.raises(ValueError, match="^references must be uint8"):
        nearest_neighbours(good, bad)
    if len(bad) > 1:
        with pytest.raises(ValueError, match="^images must be uint8"):
            judge(bad)


def test_arguments_that_make_no_sense():
    images = torch.zeros(20, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="features must be 'judge', 'inception' or a function"):
        frechet_distance(images, images, features="vgg")
    with pytest.raises(ValueError, match="subsets must be a whole number of at least 2"):
        kernel_distance(images, images, subsets=1)
    with pytest.raises(ValueError, match=r"with N >= 10, not uint8 \(9, 3, 8, 8\)"):
        frechet_distance(images[:9], images, extrapolate=True)
    with pytest.raises(ValueError, match="an entry for each of 20 images, not 1"):
        prompt_accuracy(images, [Tiger()])
    with pytest.raises(ValueError, match="'stripes', which cannot be judged: there are fur, back"):
        prompt_accuracy(images[:1], [{"stripes": 3}])
    with pytest.raises(ValueError, match="ask for fur 'pink': it must be one of orange, white"):
        prompt_accuracy(images[:1], [{"fur": "pink"}])
    with pytest.raises(ValueError, match=r"attributes: tilt must be a finite number \(got 'left'"):
        prompt_accuracy(images[:1], [{"tilt": "left"}])
