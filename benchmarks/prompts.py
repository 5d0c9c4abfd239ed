"""What reading prompts is worth: samples of people's wordings, judged with and without the reader.

    python -m benchmarks.prompts

Every third wording of one figure in `tests/core/toybox/wordings.txt` is drawn by the bundled image model and
judged for subject and action. Without the reader the model gets the wording itself, with a color and a place.
"""

from __future__ import annotations

from pathlib import Path

import torch

from core.bundled import BUNDLED
from core.models.image_model import ImageModel
from core.models.nearest_wording import nearest_wording
from core.toybox.completion import complete
from core.toybox.prompts import PromptReading, read_prompt
from dreamlift.evaluation.judge import LABELS, Judge

WORDINGS = Path(__file__).parents[1] / "tests/core/toybox/wordings.txt"
STEPS, GUIDANCE, AZIMUTH, ELEVATION = 12, 3.0, 30.0, 13.0


def wordings(every: int = 3) -> list[tuple[str, str, str]]:
    """Prompt, subject and action of every n-th wording of one figure."""
    lines = [line for line in WORDINGS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    rows = [line.split(" | ") for line in lines]
    single = [row for row in rows if not {"pair", "couple", "brush"} & set(row[3:])]
    return [(row[0], row[1], row[2]) for row in single[1::every]]


@torch.no_grad()
def judged(model: ImageModel, judge: Judge, reading: PromptReading, seed: int) -> tuple[str, str]:
    """Subject and action of a sample, as the judge sees them."""
    image = model.sample(
        [reading.text],
        steps=STEPS,
        guidance=GUIDANCE,
        sampler="dpm-solver++",
        negative=reading.negative,
        seeds=[seed],
        azimuth=AZIMUTH if reading.azimuth is None else reading.azimuth,
        elevation=ELEVATION if reading.elevation is None else reading.elevation,
    )
    logits = judge(image)
    subject, action = (LABELS[head][int(logits[head].argmax())] for head in ("subject", "action"))
    return subject, action


def main() -> None:
    """Prints the shares of samples with the right subject, the right action, and both."""
    torch.set_num_threads(1)
    model, judge = ImageModel.load(BUNDLED / "image"), Judge.load(BUNDLED / "judge")
    rows = wordings()
    for name in ("without", "with"):
        right = torch.zeros(len(rows), 2, dtype=torch.bool)
        for seed, (prompt, subject, action) in enumerate(rows):
            reading = PromptReading(prompt, complete(prompt, seed))
            if name == "with":
                reading = read_prompt(prompt, seed, nearest=nearest_wording)
            found = judged(model, judge, reading, seed)
            right[seed] = torch.tensor([found[0] == subject, found[1] == action])
        names = ("subject", "action", "both")
        shares = [*right.float().mean(0).tolist(), right.all(1).float().mean().item()]
        counts = ", ".join(f"{part} {share:.1%}" for part, share in zip(names, shares, strict=True))
        print(f"{name:8} {len(rows)} prompts: {counts}")


if __name__ == "__main__":
    main()
