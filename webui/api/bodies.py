"""What `txt2img` and `img2img` are sent. Names are AUTOMATIC1111's; what is left out, or null, is the model's own.

Fields that are not known are ignored there, and here; those that would have changed the picture are named in the reply.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

NOT_HERE = (
    "alwayson_scripts", "hr_checkpoint_name", "hr_sampler_name", "hr_scheduler", "infotext", "refiner_checkpoint",
    "restore_faces", "s_churn", "script_name", "seed_resize_from_h", "seed_resize_from_w", "tiling",
)  # fmt: skip
"""Fields that change the picture there and do nothing here."""
OFF = (None, "", 0, -1, False, [], {}, "None", "Use same checkpoint", "Use same sampler", "Use same scheduler")
"""Values of theirs that ask for nothing."""


class Body(BaseModel):
    """What both calls have."""

    model_config = ConfigDict(extra="allow")

    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] = []
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0.0
    sampler_name: str = ""
    sampler_index: str = ""
    scheduler: str = ""
    steps: int = 0
    cfg_scale: float = 0.0
    distilled_cfg_scale: float = 0.0
    width: int = 0
    height: int = 0
    batch_size: int = 1
    n_iter: int = 1
    override_settings: dict[str, Any] = {}
    override_settings_restore_afterwards: bool = True
    send_images: bool = True
    save_images: bool = False

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given

    def not_honoured(self) -> list[str]:
        """Fields that ask for something that is not done here."""
        given = self.model_extra or {}
        return [name for name in NOT_HERE if given.get(name) not in OFF]

    def echo(self) -> dict[str, Any]:
        """The request as the reply repeats it."""
        return self.model_dump()


class TextBody(Body):
    """Of `txt2img`."""

    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_upscaler: str = "Latent"
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_prompt: str = ""
    hr_negative_prompt: str = ""
    denoising_strength: float = 0.75


class ImageBody(Body):
    """Of `img2img`."""

    init_images: list[str] = []
    resize_mode: Literal[0, 1, 2] = 0
    denoising_strength: float = 0.75
    mask: str = ""
    mask_blur: int = 4
    inpainting_fill: Literal[0, 1, 2, 3] = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: bool = False
    include_init_images: bool = False

    def echo(self) -> dict[str, Any]:
        return {**super().echo(), **({} if self.include_init_images else {"init_images": None, "mask": None})}
