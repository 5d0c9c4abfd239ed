"""R-Precision against a ranking in NumPy, and its place in the evaluation of images."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from core.bundled import BUNDLED
from core.models.unclip.contrastive import ContrastiveConfig, ContrastiveModel
from dreamlift.evaluation.distribution_metrics import r_precision
from dreamlift.evaluation.evaluate_samples import evaluate_images
from dreamlift.evaluation.judge import Judge
from dreamlift.evaluation.measuring import Instruments
from dreamlift.evaluation.options import EvaluationOptions


def test_it_is_the_share_that_ranks_its_own_text_first() -> None:
    generator = torch.Generator().manual_seed(0)
    texts = F.normalize(torch.randn(40, 6, generator=generator), dim=1)
    texts[7] = texts[3]  # two images of one text
    images = F.normalize(texts + 0.4 * torch.randn(40, 6, generator=generator), dim=1)
    found = r_precision(images, texts).numpy()
    ranked = np.argsort(-(images.numpy() @ texts.numpy().T), axis=1, kind="stable")
    first = [row if row != 7 else 3 for row in range(40)]
    expected = ranked[:, 0] == np.array(first)
    assert 0 < expected.sum() < 40
    assert np.array_equal(found, expected)


def test_equal_prompts_have_equal_embeddings() -> None:
    torch.manual_seed(0)
    model = ContrastiveModel(
        ContrastiveConfig(size=16, widths=(32,), blocks=(1,), attention=(True,), embedding=8)
    )
    instruments = Instruments(Judge.load(BUNDLED / "judge"), contrastive=model)
    texts = instruments.embed_prompts(["a fox", "a panda on a swing", "a fox"])
    assert torch.equal(texts[0], texts[2])
    assert not torch.equal(texts[0], texts[1])
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(3))


def test_an_evaluation_with_a_contrastive_model_reports_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ContrastiveConfig(size=64, widths=(32,), blocks=(1,), attention=(True,), embedding=8)
    ContrastiveModel(config).save(tmp_path / "contrastive")
    options = EvaluationOptions(
        model=BUNDLED / "image",
        judge=None,
        contrastive=tmp_path / "contrastive",
        size=64,
        out=tmp_path,
        count=3,
        held_out=False,
        steps=1,
        guidance=1.0,
        seed=0,
        batch=3,
        device="cpu",
    )
    report = evaluate_images(options)
    shares = report.accuracy["R-Precision"]
    assert shares.samples.count == shares.renders.count == 3
