"""The text-to-video model: the image model lifted into time, saved and loaded as a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from core.attributes import encode_attributes
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.io.weights import NoInitialization, load_weights
from core.models.autoencoder import Autoencoder
from core.models.image_folder import first_stage_state, split_first_stage
from core.models.image_model import decode_latents, load_weak_version
from core.models.text_encoder import TextEncoder
from core.samplers import noise_like
from core.sampling import Constraint, StepCallback, make_generators, sample_latents
from core.sampling_options import SamplerName, SamplingOptions
from video.cascade.interpolation import FrameInterpolation
from video.nn.space_time_unet import EachFrame
from video.nn.windows import CircularWindows
from video.sampling.clip_tensors import clip_attributes, frame_by_frame, mixed_noise, phase_step_to
from video.sampling.extension import OVERLAP, SCALE, GivenFrames, partial_timesteps, sample_windows
from video.sampling.prompt_schedule import PromptSchedule, fade_weights
from video.sampling.recognition import Appearance, recognize
from video.video_folder import VideoModelConfig, read_video_folder, save_video_folder


class VideoModel:
    """Draws clips of prompts."""

    def __init__(
        self,
        config: VideoModelConfig,
        denoiser: Denoiser,
        text: TextEncoder | None = None,
        first_stage: Autoencoder | None = None,
        interpolation: FrameInterpolation | None = None,
        weak: Denoiser | None = None,
    ) -> None:
        """denoiser: of clips, on the device to be used, made by `config.denoiser()` or `config.inflate(...)`.

        interpolation: temporal super-resolution of clips of this first stage.
        weak: a weaker version of the denoiser that guides `sample`, see `ClassifierFreeGuidance`. One that
            sees every frame alone makes errors in time too, which guidance then leads away from.

        Raises ValueError unless there is a first stage exactly where the image model's config has one.
        """
        if (first_stage and first_stage.config) != config.image.first_stage:
            raise ValueError("the first stage is not the one of the config")
        self.config = config
        self.denoiser = denoiser.eval()
        self.device = next(denoiser.parameters()).device
        self.first_stage = first_stage.to(self.device).eval() if first_stage else None
        self.text = text or TextEncoder(self.device)
        self.interpolation = interpolation
        self.weak = weak

    def sample(
        self,
        prompts: Sequence[str],
        *,
        frames: int = 16,
        steps: int = 40,
        guidance: float = 2.0,
        negative: str = "",
        seeds: Sequence[int] | None = None,
        azimuth: Tensor | float | None = None,
        elevation: Tensor | float | None = None,
        phase: Tensor | float | None = 0.0,
        last_phase: float | None = None,
        shadow: Tensor | bool | None = None,
        noise_share: float | None = None,
        image: Tensor | None = None,
        last_image: Tensor | None = None,
        image_scale: float = SCALE,
        clip: Tensor | None = None,
        strength: float = 1.0,
        loop: bool = False,
        extension_scale: float = SCALE,
        overlap: int = OVERLAP,
        changes: Sequence[tuple[float, str]] = (),
        doublings: int = 0,
        sampler: SamplerName | None = None,
        eta: float = 0.0,
        guidance_interval: tuple[float, float] | None = None,
        guidance_rescale: float = 0.0,
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """Clips (B,3,frames,size,size) in [-1, 1] of B prompts.

        frames: more than the window of the config are sampled window by window, see `sample_windows`.
        steps, guidance, sampler, eta, guidance_interval, guidance_rescale: as in `SamplingOptions`.
        negative: the negative prompt.
        seeds: one per clip, 0, 1, ... unless given; a clip depends on its own seed only.
        azimuth, elevation (degrees), shadow: the same in all frames, scalars or (B,); None: not given.
        phase: of the first frame in the action's loop, in [0, 1); each later frame is 1/loop further. None:
            not given.
        last_phase: of the last frame, in [0, 1), where it is known; the frames between then differ by what
            comes closest to 1/loop.
        noise_share: share of the initial noise's variance that all frames have in common, in [0, 1); the
            model's unless given.
        image, last_image: (B,3,size,size) or (1,...) in [-1, 1], the first and the last frame;
            `ReconstructionGuidance` of scale `image_scale` makes the others agree with them, which takes
            about three times as long.
        clip, strength: (B,3,frames,size,size) or (1,...) in [-1, 1]; sampling starts from this clip, noised
            to `strength`, in (0, 1], of the way to pure noise. At 1 nothing of the clip is left.
        loop: the last frame is followed by the first. The phase goes through as many whole loops of the
            action as come closest to the number of frames.
        extension_scale, overlap: guidance between windows, 0 for replacement, and frames that they share.
        changes: (frame, prompt): the text of all clips from that frame on, in place of theirs; ascending.
        doublings: how many times `interpolation` draws a frame between every two; F frames become 2F - 1,
            and 2F with `loop`.
        on_step: called after every step; its states hold pixels or latents, for `decode`.

        Raises UserError for empty prompts and impossible frames, options, shares, seeds, images or clips.
        """
        self.config.image.check_guidance(guidance, negative)
        options = SamplingOptions(steps, guidance, sampler, eta, guidance_interval, guidance_rescale)
        if frames < 1:
            raise UserError(f"A clip must have at least one frame, not {frames}.")
        share = self.config.noise_share if noise_share is None else noise_share
        if not 0 <= share < 1:
            raise UserError(f"The share of noise common to all frames must be in [0, 1), not {share}.")
        count = len(prompts)
        channels, height, width = self.config.image.shape
        generators = make_generators(prompts, seeds)
        common = noise_like((count, channels, 1, height, width), generators)
        own = noise_like((count, channels, frames, height, width), generators)
        noise = mixed_noise(common, own, share).to(self.device)
        phase_step: Tensor | float = 1 / self.config.loop
        if loop:
            phase_step = max(1, round(frames / self.config.loop)) / frames
        elif last_phase is not None and phase is not None and frames > 1:
            phase_step = phase_step_to(last_phase, phase, frames - 1, self.config.loop)
        attributes = clip_attributes(
            count, frames, phase_step, phase, azimuth=azimuth, elevation=elevation, shadow=shadow
        ).to(self.device)
        if not self.config.image.reads_attributes:
            attributes = torch.zeros_like(attributes)
        condition = Condition(*self.text(prompts), attributes)
        away = self._text_condition(negative)
        given = self._given(image, last_image, clip if strength < 1 else None, (count, frames), image_scale)
        timesteps = None
        if given.start is not None:
            timesteps = partial_timesteps(self.denoiser.schedule.timesteps, steps, strength)
        denoiser, window = self.denoiser, self.config.window
        if loop:
            network = CircularWindows(denoiser.network, window, window // 2)
            denoiser, window = denoiser.with_network(network), frames
        schedule = None
        if changes:
            texts = [condition, *(self._text_condition(text) for _, text in changes)]
            schedule = PromptSchedule(texts, fade_weights([0, *(frame for frame, _ in changes)], frames))

        def sample_window(
            noise: Tensor, condition: Condition, constrain: Constraint | None, on_step: StepCallback | None
        ) -> Tensor:
            return sample_latents(
                denoiser,
                noise,
                condition,
                away,
                options,
                generators,
                weak=self.weak,
                on_step=on_step,
                constrain=constrain,
                timesteps=timesteps,
            )

        x = sample_windows(
            sample_window,
            noise,
            condition,
            size=window,
            overlap=overlap,
            scale=extension_scale,
            given=given,
            prompts=schedule,
            on_step=on_step,
        )
        for _ in range(doublings if self.interpolation else 0):
            assert self.interpolation is not None
            x = self.interpolation.sample(x, range(count) if seeds is None else seeds, loop=loop)
        return self.decode(x)

    def read(self, prompt: str) -> str:
        """As `TextEncoder.read`."""
        return self.text.read(prompt)

    def decode(self, x: Tensor) -> Tensor:
        """Clips (B,3,F,size,size) in [-1, 1] of denoised x (B,C,F,h,w); without gradient."""
        return frame_by_frame(lambda frames: decode_latents(frames, self.first_stage), x)

    @torch.no_grad()
    def encode(self, clips: Tensor) -> Tensor:
        """Clips (B,3,F,size,size) in [-1, 1] as the network denoises them, (B,C,F,h,w); without gradient."""
        clips = clips.to(self.device)
        return frame_by_frame(self.first_stage.to_latents, clips) if self.first_stage else clips

    @torch.no_grad()
    def recognize(
        self,
        prompt: str,
        frames: Tensor,
        indices: Sequence[int] = (0,),
        camera: tuple[float, float] | None = None,
    ) -> Appearance:
        """What given frames of a clip show, see `video.sampling.recognition`.

        prompt: what the clip is about.
        frames: (1,3,K,size,size) in [-1, 1]. indices: their K places in the clip.
        camera: azimuth and elevation in degrees, where they are known.
        """
        offsets = torch.tensor([*indices]) / self.config.loop

        def texts(prompts: Sequence[str], attributes: Tensor) -> Condition:
            return Condition(*self.text(prompts), attributes.to(self.device))

        def view(azimuth: float | None, elevation: float | None, phase: float | None) -> Tensor:
            moments = None if phase is None else phase + offsets
            rows = encode_attributes(len(offsets), azimuth=azimuth, elevation=elevation, phase=moments)
            return rows[None]

        return recognize(self.denoiser, self.encode(frames), prompt, texts, view, camera)

    def _text_condition(self, text: str) -> Condition:
        """The condition of one text, without attributes."""
        return Condition(*self.text([text]), encode_attributes(1).to(self.device))

    def _given(
        self,
        first: Tensor | None,
        last: Tensor | None,
        clip: Tensor | None,
        shape: tuple[int, int],
        scale: float,
    ) -> GivenFrames:
        """The given frames, encoded. shape: (B,F) of the clips. Raises UserError where they do not fit it."""
        count, frames = shape
        size = self.config.image.size
        for image in (first, last):
            if image is not None and (image.shape[1:] != (3, size, size) or len(image) not in (1, count)):
                raise UserError(f"The image must be (1,3,{size},{size}), not {tuple(image.shape)}.")
        if clip is not None and (clip.shape[1:] != (3, frames, size, size) or len(clip) not in (1, count)):
            raise UserError(f"The clip must be (1,3,{frames},{size},{size}), not {tuple(clip.shape)}.")
        if last is not None and not 2 <= frames <= self.config.window:
            raise UserError(
                f"A clip with a given last frame must have 2 to {self.config.window} frames, not {frames}."
            )
        places = [(image, at) for image, at in ((first, 0), (last, frames - 1)) if image is not None]
        return GivenFrames(
            known=torch.cat([self.encode(image[:, :, None]) for image, _ in places], 2) if places else None,
            frames=tuple(at for _, at in places),
            start=None if clip is None else self.encode(clip),
            scale=scale,
        )

    def save(self, folder: Path, base: Path | None = None) -> None:
        """Writes config.json and model.safetensors (float16).

        base: the folder of an image model; image weights that equal its own are then left out, and it must
        stay where it is, seen from `folder`. Raises UserError when it is not a model.
        """
        tensors = self.denoiser.network.state_dict() | first_stage_state(self.first_stage)
        save_video_folder(folder, self.config, tensors, base)

    @classmethod
    def load(cls, folder: Path, device: str | torch.device = "cpu") -> VideoModel:
        """The video model of a folder, or its image model with the bundled temporal layers; in float32.

        A weak version next to it, or next to the image model that it rests on, guides frame by frame.

        Raises UserError when it, or the image model it rests on, is missing, damaged or does not fit.
        """
        config, tensors, image = read_video_folder(folder)
        network, first_stage = split_first_stage(config.image.first_stage, tensors, folder)
        with NoInitialization():
            denoiser = config.denoiser()
        load_weights(denoiser.network, network, folder, assign=True)
        model = cls(config, denoiser.to(device), first_stage=first_stage)
        weak = load_weak_version(model, image)
        model.weak = weak and weak.with_network(EachFrame(weak.network))
        return model
