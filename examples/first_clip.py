"""A first clip from Python: loads the bundled model, samples with progress, writes a GIF.

python examples/first_clip.py "a panda on a swing" panda.gif
"""

import sys
from pathlib import Path

from core.bundled import BUNDLED
from core.io.clips.write import write_clip
from core.io.pictures import to_frames, upscale
from core.samplers import SamplerState
from video.video_model import VideoModel


def show(state: SamplerState) -> None:
    """Prints the progress after a step; `state.x0` is the model's current prediction of the clip."""
    print(f"\rstep {state.step} of {state.steps}", end="", file=sys.stderr, flush=True)


def main(prompt: str, out: str) -> None:
    """Samples a clip of the prompt and writes it to the file `out`."""
    model = VideoModel.load(BUNDLED / "video")

    # (1,3,16,64,64) in [-1, 1]. One seed per prompt; a clip depends on its own seed only.
    clips = model.sample([prompt], frames=16, steps=40, guidance=4.0, seeds=[0], on_step=show)
    print(file=sys.stderr)

    frames = to_frames(clips[0].numpy())  # (16,64,64,3), uint8
    write_clip(Path(out), upscale(frames, 6), fps=8)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
